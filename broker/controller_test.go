package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
)

// TestJudge says what clients hear of a change of which the outcome is open: never that this broker was not the right one, for then nothing would
// have been done.
func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		err       error
		overtaken bool
		code      int16
	}{
		"durable":                  {},
		"refused by a newer state": {err: metadata.ErrTopicExists, overtaken: true},
		"not in time":              {err: journal.ErrUnavailable, code: kerr.RequestTimedOut.Code},
		"the journal is gone":      {err: fmt.Errorf("journal 0: %w", journal.ErrNotOwner), code: kerr.RequestTimedOut.Code},
	} {
		overtaken, err := judge([]journal.Result{{}, {Err: c.err}})
		if overtaken != c.overtaken || api.Code(err) != c.code {
			t.Errorf("%s: overtaken %v, %v, code %d", name, overtaken, err, api.Code(err))
		}
		if c.code != 0 && !errors.Is(err, journal.ErrUnavailable) {
			t.Errorf("%s: %v is not that it is unavailable", name, err)
		}
	}
}
