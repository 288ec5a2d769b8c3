//go:build integration

package broker

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs/blob"
)

// kcat runs kcat, which is librdkafka, against a broker.
func (r *running) kcat(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t, 60*time.Second), "kcat", append([]string{"-b", r.Addr().String()}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat %v: %v\n%s", args, err, errs.String())
	}
	return string(out)
}

func lines(s string) []string { return strings.Split(strings.TrimSuffix(s, "\n"), "\n") }

func TestIntegrationKcat(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), nil)
	var want []string
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all"} {
			for _, idempotent := range []string{"false", "true"} {
				if idempotent == "true" && acks != "all" {
					continue
				}
				var in strings.Builder
				for i := range 200 {
					line := fmt.Sprintf("%s acks=%s idempotent=%s %d", codec, acks, idempotent, i)
					want = append(want, line)
					fmt.Fprintln(&in, line)
				}
				r.kcat(t, in.String(), "-P", "-t", "events", "-z", codec, "-X", "acks="+acks, "-X", "enable.idempotence="+idempotent)
			}
		}
	}
	got := lines(r.kcat(t, "", "-C", "-t", "events", "-o", "beginning", "-c", fmt.Sprint(len(want)), "-q"))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines come back of %d", len(got), len(want))
	}
	if out := r.kcat(t, "", "-L"); !strings.Contains(out, "topic \"events\" with 4 partitions") || !strings.Contains(out, "controller") {
		t.Errorf("metadata:\n%s", out)
	}
	if out := lines(r.kcat(t, "", "-C", "-t", "events", "-o", "-5", "-p", "0", "-e", "-q")); len(out) != 5 {
		t.Errorf("the last five of a partition are %v", out)
	}
	if out := r.kcat(t, "", "-Q", "-t", "events:0:0"); !strings.Contains(out, "offset 0") {
		t.Errorf("offset by time: %s", out)
	}
	if out := lines(r.kcat(t, "", "-G", "readers", "-X", "auto.offset.reset=earliest", "-c", fmt.Sprint(len(want)), "-q", "events")); len(out) != len(want) {
		t.Errorf("a group reads %d lines", len(out))
	}
}
