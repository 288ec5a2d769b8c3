package s3

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"golang.org/x/sys/unix"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

const bucket = "firn-test"

// found is what the SDK would find in an environment.
func found() aws.Config {
	return aws.Config{Credentials: credentials.NewStaticCredentialsProvider("firn", "firnfirnfirn", "")}
}

func open(t *testing.T, cfg Config, found aws.Config) *Store {
	t.Helper()
	s, err := New(cfg, found)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeBucket makes the bucket of a Store, for Firn never does.
func makeBucket(ctx context.Context, s *Store) error {
	_, err := s.client.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &s.bucket})
	return err
}

// TestStore runs the suite on a fake in this process. What the fake does otherwise than S3 is that a suffix longer than the object is
// an error (416), which get.go takes care of, and that it does not look at checksums.
func TestStore(t *testing.T) {
	for _, signed := range []bool{false, true} {
		name := map[bool]string{false: "unsigned", true: "signed"}[signed]
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store {
				server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
				t.Cleanup(server.Close)
				s := open(t, Config{Bucket: bucket, Endpoint: server.URL, SignPayload: signed}, found())
				if err := makeBucket(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				return blob.Prefix(s, "name/space/")
			})
		})
	}
}

// clearAWS hides what the machine has for the SDK.
func clearAWS(t *testing.T) {
	for _, entry := range os.Environ() {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	t.Setenv("AWS_CONFIG_FILE", nothing)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nothing)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestOpen(t *testing.T) {
	clearAWS(t)
	if _, err := Open(t.Context(), "s3://firn-test/ns?region=eu-west-3"); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "firn")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "firnfirnfirn")
	if _, err := Open(t.Context(), "s3://firn-test/ns"); err == nil || !strings.Contains(err.Error(), "region=") {
		t.Errorf("without a region: %v", err)
	}
	if _, err := Open(t.Context(), "s3://firn-test?regoin=x"); err == nil || !strings.Contains(err.Error(), "regoin") {
		t.Errorf("with a misspelt parameter: %v", err)
	}
	server := httptest.NewServer(gofakes3.New(s3mem.New(), gofakes3.WithAutoBucket(true)).Server())
	defer server.Close()
	for name, url := range map[string]string{"AWS_REGION": "?endpoint=" + server.URL, "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "/"} {
		t.Setenv(name, map[bool]string{true: "eu-west-3", false: server.URL}[name == "AWS_REGION"])
		s, err := Open(t.Context(), "s3://firn-test/ns"+url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), name, nil, true); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Setenv(name, "")
	}
	direct := open(t, Config{Bucket: bucket, Endpoint: server.URL}, found())
	var got []string
	for page, err := range direct.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			got = append(got, o.Key)
		}
	}
	if want := "ns/AWS_ENDPOINT_URL ns/AWS_ENDPOINT_URL_S3 ns/AWS_REGION"; strings.Join(got, " ") != want {
		t.Errorf("the bucket holds %q, want %s", got, want)
	}
}

// TestSink is a server that takes everything, for BenchmarkPut, which runs it as a process of its own. Alone it does nothing.
func TestSink(t *testing.T) {
	if os.Getenv(sinkProcess) == "" {
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(listener.Addr())
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("ETag", `"v"`)
	})}
	go server.Serve(listener)
	io.Copy(io.Discard, os.Stdin) // until the benchmark has ended
	server.Close()
}

const sinkProcess = "FIRN_TEST_SINK"

// BenchmarkPut tells what an 8 MiB Put costs this process, with and without a signature over the body.
func BenchmarkPut(b *testing.B) {
	cmd := exec.CommandContext(b.Context(), os.Args[0], "-test.run=^TestSink$")
	cmd.Env = append(os.Environ(), sinkProcess+"=1")
	in, inErr := cmd.StdinPipe()
	out, outErr := cmd.StdoutPipe()
	if err := errors.Join(inErr, outErr, cmd.Start()); err != nil {
		b.Fatal(err)
	}
	defer cmd.Wait()
	defer in.Close()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	body := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	for _, signed := range []bool{false, true} {
		b.Run(map[bool]string{false: "unsigned", true: "signed"}[signed], func(b *testing.B) {
			s, err := New(Config{Bucket: bucket, Endpoint: "http://" + strings.TrimSpace(address), SignPayload: signed}, found())
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			begin := cpuTime()
			for b.Loop() {
				if _, err := s.Put(b.Context(), "object", body, true); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*len(body))/1e6/(cpuTime()-begin).Seconds(), "MB/cpu-s")
		})
	}
}

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
