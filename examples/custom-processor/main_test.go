//go:build integration

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/firn-io/firn/examples/custom-processor/postgres/postgrestest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestIntegrationKilled kills the program again and again while records come. Every offset ends in the table once.
func TestIntegrationKilled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	dir := t.TempDir()
	store, err := file.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	t.Setenv("DATABASE_URL", postgrestest.Start(t))
	program := filepath.Join(dir, "custom-processor")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	start := func(args ...string) *exec.Cmd {
		c := exec.Command(program, append([]string{"-f", "job.yaml", "--store", filepath.Join(dir, "store")}, args...)...)
		c.Stderr = t.Output()
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	db, err := pgx.Connect(t.Context(), os.Getenv("DATABASE_URL"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.Background())

	events := tailtest.Topic("users", 1, 0, 0)
	journal := tailtest.Journal{Store: store}
	journal.Append(t, []kfs.Entry{kfs.Cluster{ID: kfs.TopicID{9}, Lineage: kfs.TopicID{8}, Journals: 1}, events})
	want := 0
	for round := range 8 {
		c := start()
		for range 20 {
			var values []string
			for range 50 {
				values = append(values, fmt.Sprintf(`{"id":%d,"email":"user%d@example.com"}`, want, want))
				want++
			}
			journal.Append(t, nil, tailtest.Values(events, int32(random.IntN(2)), values...))
		}
		// The first rows of a round, or a while after them, or not even those.
		if round%3 > 0 {
			waitForRows(t, db, want-1000)
		}
		timer := time.NewTimer(time.Duration(random.IntN(300)) * time.Millisecond)
		<-timer.C
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		c.Wait()
	}
	if err := start("--until", "latest").Wait(); err != nil {
		t.Fatal(err)
	}
	var rows, distinct, readable int
	if err := db.QueryRow(t.Context(), `select count(*), count(distinct (partition, "offset")), count(*) filter (where "row"->>'email' like '%@%') from app.users`).
		Scan(&rows, &distinct, &readable); err != nil {
		t.Fatal(err)
	}
	if rows != want || distinct != want || readable != 0 {
		t.Errorf("%d rows, %d offsets, %d addresses that can be read; %d records were sent", rows, distinct, readable, want)
	}
}

// waitForRows waits until the table has more rows than that.
func waitForRows(t *testing.T, db *pgx.Conn, more int) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		var n int
		if err := db.QueryRow(t.Context(), `select count(*) from app.users`).Scan(&n); err == nil && n > more {
			return
		}
		<-tick.C
	}
	t.Fatalf("there are not more than %d rows after a minute", more)
}
