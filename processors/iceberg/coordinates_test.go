package iceberg

import (
	"errors"
	"strings"
	"testing"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

// TestCoordinatesAreNotMadeAnew has somebody else rename, and then drop, the column by which rows are known.
func TestCoordinatesAreNotMadeAnew(t *testing.T) {
	client := memory.New()
	s, mem := openSink(t, catalog.New(client), processors.Table{Name: "lake.events"}, nil)
	group := func(base, next int64) error {
		stage(t, s, events(mem, source0, base, next))
		return s.Commit(t.Context(), processor.Positions{source0: base}, processor.Positions{source0: next}, []processor.Staged{seal(t, s)})
	}
	if err := group(0, 10); err != nil {
		t.Fatal(err)
	}
	halts := func(change func(*table.UpdateSchema) *table.UpdateSchema, decide string) {
		t.Helper()
		alter(t, client, s, func(tx *table.Transaction) error { return change(tx.UpdateSchema(true, true)).Commit() })
		_, err := s.Committed(t.Context())
		var halt *processor.HaltError
		if !errors.As(err, &halt) || !strings.Contains(halt.Decide, decide) {
			t.Errorf("the position is read with %v, want a halt that says %q", err, decide)
		}
		s.stale = true // as after a commit of somebody else
		batch := events(mem, source0, 10, 20)
		defer batch.Records.Release()
		if err := s.Stage(t.Context(), batch); !errors.As(err, &halt) || !strings.Contains(halt.Decide, decide) {
			t.Errorf("rows are staged with %v, want a halt that says %q", err, decide)
		}
	}
	halts(func(u *table.UpdateSchema) *table.UpdateSchema {
		return u.RenameColumn([]string{"kafka_offset"}, "position")
	}, "rename it back")
	alter(t, client, s, func(tx *table.Transaction) error {
		return tx.UpdateSchema(true, false).RenameColumn([]string{"position"}, "kafka_offset").Commit()
	})
	if at, err := s.Committed(t.Context()); err != nil || at[source0] != 10 {
		t.Fatalf("with its name back: %v, %v", at, err)
	}
	if err := group(10, 20); err != nil {
		t.Fatal(err)
	}
	wantOffsets(t, s, map[int64]int64{0: 20})
	halts(func(u *table.UpdateSchema) *table.UpdateSchema { return u.DeleteColumn([]string{"kafka_offset"}) }, "schema 0")
}

// alter has somebody else change the sink's table.
func alter(t *testing.T, client *memory.Catalog, s *Sink, change func(*table.Transaction) error) {
	t.Helper()
	loaded, err := s.committer.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tx := loaded.NewTransaction()
	if err := change(tx); err != nil {
		t.Fatal(err)
	}
	commit, err := tx.TableCommit()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.CommitTable(t.Context(), loaded.Identifier(), commit.Requirements, commit.Updates); err != nil {
		t.Fatal(err)
	}
}
