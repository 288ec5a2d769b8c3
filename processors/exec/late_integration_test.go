//go:build integration

package exec

import (
	"strings"
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
