//go:build integration

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// startBroker runs firn broker on a folder; kafka is where it listens, port 0 for any.
func startBroker(t *testing.T, store, kafka string) *process {
	t.Helper()
	return start(t, "broker", "--store", "file://"+store, "--kafka", kafka)
}

// TestIntegrationKcatResumes: a group of kcat commits, the broker is killed, and the next member goes on where the first one stopped.
func TestIntegrationKcatResumes(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	firn := startBroker(t, store, "127.0.0.1:0")
	address := firn.where["kafka"]
	want := readLines(t, earthquakes)
	if _, err := run(t, "kcat", "-b", address, "-t", "quakes", "-P", "-z", "zstd", "-l", earthquakes); err != nil {
		t.Fatal(err)
	}
	consume := func(args ...string) []string {
		t.Helper()
		out, err := run(t, "kcat", append([]string{"-b", address, "-G", "readers", "-q", "-X", "auto.offset.reset=earliest"}, args...)...)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	}
	got := consume("-c", "100", "quakes")
	if len(got) != 100 {
		t.Fatalf("the first member reads %d lines", len(got))
	}
	firn.kill()
	startBroker(t, store, address)
	got = append(got, consume("-c", fmt.Sprint(len(want)-100), "quakes")...)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("both members have read %d lines, %d different ones, want %d", len(got), len(slices.Compact(got)), len(want))
	}
}

func TestIntegrationKcatOffsetsByTime(t *testing.T) {
	t.Parallel()
	firn := startBroker(t, t.TempDir(), "127.0.0.1:0")
	client := newClient(t, firn, kgo.DefaultProduceTopic("times"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for i := range 3 {
		record := kgo.StringRecord(fmt.Sprint(i))
		record.Timestamp = time.UnixMilli(int64(1_000_000 * (i + 1)))
		if err := client.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	for ask, want := range map[string]string{"-2": "0", "-1": "3", "0": "0", "1000000": "0", "1000001": "1", "2000000": "1", "2999999": "2", "3000001": "-1"} {
		out, err := run(t, "kcat", "-b", firn.where["kafka"], "-Q", "-t", "times:0:"+ask)
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Fields(out); len(words) == 0 || words[len(words)-1] != want {
			t.Errorf("offset for %s: %q, want %s", ask, out, want)
		}
	}
	out, err := run(t, "kcat", "-b", firn.where["kafka"], "-C", "-t", "times", "-p", "0", "-o", "s@1500000", "-o", "e@2500000", "-e", "-q")
	if err != nil || out != "1\n" {
		t.Errorf("between two times: %q, %v", out, err)
	}
}

func TestIntegrationPythonClients(t *testing.T) {
	t.Parallel()
	firn := startBroker(t, t.TempDir(), "127.0.0.1:0")
	for _, client := range []string{"confluent", "kafka-python"} {
		t.Run(client, func(t *testing.T) {
			if out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/clients.py", client, firn.where["kafka"]); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestIntegrationLibrdkafkaSurvives: an idempotent producer that is not ours loses nothing and repeats nothing while the broker is
// killed and comes back, three times.
func TestIntegrationLibrdkafkaSurvives(t *testing.T) {
	t.Parallel()
	store := t.TempDir()
	firn := startBroker(t, store, "127.0.0.1:0")
	address := firn.where["kafka"]
	var errs bytes.Buffer
	cmd := exec.CommandContext(t.Context(), fromEnv(t, "FIRN_PYTHON"), "testdata/clients.py", "survivor", address)
	cmd.Stderr = &errs
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	says := bufio.NewScanner(out)
	if !says.Scan() {
		t.Fatalf("the producer does not begin: %v\n%s", cmd.Wait(), errs.String())
	}
	for range 3 {
		<-time.After(1500 * time.Millisecond)
		firn.kill()
		firn = startBroker(t, store, address)
	}
	in.Close()
	for says.Scan() {
		t.Log(says.Text())
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, tail(errs.String(), 15))
	}
}
