//go:build integration

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestIntegrationRoutedKill kills a job whose records name their tables, ten times in the middle of its commits, while records of old and
// new kinds come. Each record must be in the table that it names, once, or a dead letter, and `firn verify --deep` must find it so.
func TestIntegrationRoutedKill(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorkbench(t)
	events := tailtest.Topic("events", 1, 0)
	w.journal.Append(t, []kfs.Entry{events})
	job := filepath.Join(w.dir, "job.yaml")
	const text = "name: shop\nsource: {topics: [events]}\ntable: {name: \"lake.{topic}_{field:kind}\", max: 12}\ncommit: {freshness: 300ms}\n"
	if err := os.WriteFile(job, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	const dead = "shop_dead_letter"
	want := map[string]map[int64]string{dead: {}}
	next := int64(0)
	for life := range 10 {
		firn := launch(t, "process", "-f", job, "--data", w.dir)
		until := time.Now().Add(500*time.Millisecond + time.Duration(random.Int64N(int64(2*time.Second))))
		for time.Now().Before(until) {
			var values []string
			for range 1 + random.IntN(5) {
				kind := fmt.Sprintf("k%d", random.IntN(life/2+2)) // a new one comes with every other life
				if random.IntN(10) == 0 {
					values = append(values, fmt.Sprintf(`{"id":%d}`, next))
					want[dead][next] = ""
				} else {
					values = append(values, fmt.Sprintf(`{"id":%d,"kind":%q}`, next, kind))
					if want["events_"+kind] == nil {
						want["events_"+kind] = map[int64]string{}
					}
					want["events_"+kind][next] = fmt.Sprintf(`{"id":%d,"kind":%q}`, next, kind)
				}
				next++
			}
			w.journal.Append(t, nil, tailtest.Values(events, 0, values...))
			<-time.After(time.Duration(random.Int64N(int64(60 * time.Millisecond))))
		}
		select {
		case <-firn.done:
			t.Fatalf("firn ended by itself: %v\n%s", firn.err, tail(firn.log.String(), 60))
		default:
		}
		firn.kill()
	}
	if out, err := run(t, fromEnv(t, "FIRN_BIN"), "process", "-f", job, "--data", w.dir, "--until", "latest"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%d records in %d tables", next, len(want)-1)
	for table, rows := range want {
		if table == dead {
			letters := w.rows("lake." + dead)
			if len(letters) != len(rows) {
				t.Errorf("%d dead letters, want %d", len(letters), len(rows))
			}
			for offset := range rows {
				if letters[offset] == "" {
					t.Errorf("offset %d is no dead letter", offset)
				}
			}
			continue
		}
		w.want("lake."+table, rows)
	}
	out, err := run(t, fromEnv(t, "FIRN_BIN"), "verify", "--deep", "-f", job, "--data", w.dir)
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("verify: %v", err)
	}
}
