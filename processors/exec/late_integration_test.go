//go:build integration

package exec

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firn-io/firn/runtime/job"
)

// TestIntegrationLate: who does not answer in time has failed. It takes its time, for a busy machine must not make others late.
func TestIntegrationLate(t *testing.T) {
	if _, rejected, err := apply(t, "hang", 1, Settings{Timeout: job.Duration(5 * time.Second)}); err != nil || len(rejected) != 1 ||
		!strings.Contains(rejected[0].Message, "no answer within 5s") {
		t.Errorf("hang: %v, %v", rejected, err)
	}
}

// TestIntegrationHeld: programs that leave somebody behind who holds their output open keep nobody waiting longer than their time.
func TestIntegrationHeld(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	t.Cleanup(func() {
		text, err := os.ReadFile(pids)
		if err != nil {
			t.Error(err)
		}
		for line := range strings.Lines(string(text)) {
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatal(err)
			}
			syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if kept, rejected, err := apply(t, "held "+pids, 250, Settings{}); err != nil || kept != 250 || len(rejected) > 0 {
		t.Errorf("one that works: %d rows, %v, %v", kept, rejected, err)
	}
	if _, _, err := apply(t, "ended "+pids, 1, Settings{Timeout: job.Duration(time.Second)}); err == nil ||
		!strings.Contains(err.Error(), "does not answer a batch without rows either") {
		t.Errorf("one that ends: %v", err)
	}
}
