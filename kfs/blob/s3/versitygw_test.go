//go:build integration

package s3

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

// TestIntegrationVersityGateway runs the suite on an S3 server that is not ours and whose store is a directory. The program is versitygw in PATH or
// what FIRN_VERSITYGW names.
func TestIntegrationVersityGateway(t *testing.T) {
	endpoint := startVersityGateway(t)
	tests := 0
	for _, signed := range []bool{false, true} {
		name := map[bool]string{false: "unsigned", true: "signed"}[signed]
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store {
				tests++
				s := open(t, Config{Bucket: fmt.Sprintf("%s-%d", bucket, tests), Endpoint: endpoint, SignPayload: signed}, found())
				if err := makeBucket(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				return s
			}, "DeleteAndPut") // the gateway removes an empty directory while it puts an object there, and answers 409
		})
	}
}

func startVersityGateway(t *testing.T) (endpoint string) {
	t.Helper()
	program := os.Getenv("FIRN_VERSITYGW")
	if program == "" {
		program = "versitygw"
	}
	address := freeAddress(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "--port", address, "--access", "firn", "--secret", "firnfirnfirn", "--quiet", "posix", t.TempDir())
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; install versitygw, or set FIRN_VERSITYGW", err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("versitygw: %s", &output)
		}
	})
	endpoint = "http://" + address
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if answer, err := http.Get(endpoint); err == nil {
			answer.Body.Close()
			return endpoint
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("versitygw has ended: %s", &output)
		}
	}
}

// freeAddress asks the kernel for a port that nobody uses.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
