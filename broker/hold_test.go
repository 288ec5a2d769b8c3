package broker

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs"
)

// TestHoldLimit has a broker keep records for a job that has not read them, as long as it was told to beyond retention.ms, and no longer.
func TestHoldLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWhole(t, 1)
		w.harmless, w.holdLimit = true, time.Hour
		w.begin(1)
		defer func() { w.end(w.brokers[1], false) }()
		c := w.client(kgo.DefaultProduceTopic("events"))
		defer c.Close()
		admin := kadm.NewClient(c)
		if _, err := admin.CreateTopic(t.Context(), 1, 1, map[string]*string{"retention.ms": kadm.StringPtr("60000")}, "events"); err != nil {
			t.Fatal(err)
		}
		if err := c.ProduceSync(t.Context(), kgo.StringRecord("a"), kgo.StringRecord("b")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		body, err := kfs.EncodeJob(&kfs.Job{Version: kfs.JobVersion, Name: "slow", Topics: []string{"events"}, Tables: []kfs.JobTable{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.store.Put(t.Context(), kfs.JobKey("slow"), body, true); err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			after time.Duration
			start int64
		}{{30 * time.Minute, 0}, {40 * time.Minute, 2}} {
			time.Sleep(step.after)
			starts, err := admin.ListStartOffsets(t.Context(), "events")
			if err != nil {
				t.Fatal(err)
			}
			if at, ok := starts.Lookup("events", 0); !ok || at.Err != nil || at.Offset != step.start {
				t.Errorf("after another %v the log starts at %d, %v; want %d", step.after, at.Offset, at.Err, step.start)
			}
		}
	})
}
