//go:build integration

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestIntegrationSeparateProcesses runs broker and processor apart, on an S3 server that is not ours and with a real etcd, which is
// replaced by an empty one in the middle: topics, offsets and records must all come from the bucket.
func TestIntegrationSeparateProcesses(t *testing.T) {
	t.Parallel()
	endpoint := startVersitygw(t, "firn")
	data := t.TempDir()
	store := "s3://firn/lake?endpoint=" + endpoint + "&region=us-east-1"
	lines := readLines(t, earthquakes)
	half := len(lines) / 2

	broker := func(etcd *embeddedEtcd) *process {
		return start(t, "broker", "--store", store, "--etcd", etcd.Addr(), "--journals", "3", "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	}
	etcd := newEtcd(t)
	b := broker(etcd)
	produceLines(t, b, "quakes", lines[:half])
	commitGroup(t, b, "quakes", "readers", half)
	processUntilLatest(t, store, data, "quakes")
	b.stop(t)
	etcd.Close()

	b = broker(newEtcd(t))
	produceLines(t, b, "quakes", lines[half:])
	commitGroup(t, b, "quakes", "readers", len(lines)-half) // goes on where the group stood
	processUntilLatest(t, store, data, "quakes")
	processUntilLatest(t, store, data, "quakes") // nothing is left to do, and nothing comes twice
	out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/check.py", "pyiceberg", filepath.Join(data, "catalog.db"), filepath.Join(data, "warehouse"), earthquakes, "default.quakes")
	if err != nil {
		t.Fatal(err)
	}
	t.Log(out)
	for _, command := range [][]string{{"kfs", "ls", store}, {"kfs", "verify", store}, {"kfs", "cat", store, "--topic", "quakes", "--partition", "0", "--max", "1"}} {
		if out, err := run(t, fromEnv(t, "FIRN_BIN"), command...); err != nil || out == "" {
			t.Errorf("firn %s %s printed %q: %v", command[0], command[1], out, err)
		}
	}
	b.stop(t)
}

func newEtcd(t *testing.T) *embeddedEtcd {
	t.Helper()
	etcd, err := startEtcd(t.Context(), filepath.Join(t.TempDir(), "etcd"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	return etcd
}

func produceLines(t *testing.T, broker *process, topic string, lines []string) {
	t.Helper()
	client := newClient(t, broker, kgo.DefaultProduceTopic(topic))
	defer client.Close()
	var records []*kgo.Record
	for _, line := range lines {
		records = append(records, kgo.StringRecord(line))
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// commitGroup consumes as a member of a group, expects exactly n records, and commits.
func commitGroup(t *testing.T, broker *process, topic, group string, n int) {
	t.Helper()
	client := newClient(t, broker, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(group), kgo.DisableAutoCommit(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), waitLimit)
	defer cancel()
	got := 0
	for got < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d of %d records consumed: %v", got, n, err)
		}
		got += fetches.NumRecords()
	}
	if got != n {
		t.Fatalf("%d records consumed, want %d", got, n)
	}
	if err := client.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

func processUntilLatest(t *testing.T, store, data, topic string) {
	t.Helper()
	job := filepath.Join(data, "job.yaml")
	if err := os.WriteFile(job, []byte(fmt.Sprintf("name: separate\nsource: {topics: [%s]}\n", topic)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, fromEnv(t, "FIRN_BIN"), "process", "-f", job, "--store", store, "--data", data, "--until", "latest"); err != nil {
		t.Fatal(err)
	}
}

// startVersitygw runs an S3 server that is not ours over a temporary folder, makes the bucket, and returns the server's URL.
func startVersitygw(t *testing.T, bucket string) string {
	t.Helper()
	_, url := versitygw(t, bucket)
	return url
}

func versitygw(t *testing.T, bucket string) (p *os.Process, url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	listener.Close()
	cmd := exec.Command("versitygw", "--port", addr, "--access", s3Key, "--secret", s3Secret, "--quiet", "posix", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: run this by `make integration`, which installs it", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + addr), Region: "us-east-1", UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3Key, s3Secret, ""),
	})
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	return cmd.Process, "http://" + addr
}
