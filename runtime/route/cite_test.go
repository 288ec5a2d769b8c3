package route

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// citing is a table that notes beside which dead letters each of its commits stands.
type citing struct {
	next    processor.Positions
	spans   map[processor.Source]kfs.Span
	commits []string // the marks, sorted, separated by blanks
	fails   error    // the next commit
}

func (c *citing) Committed(context.Context) (processor.Positions, error) {
	return maps.Clone(c.next), nil
}

func (c *citing) Stage(_ context.Context, b processor.Batch) error {
	span, ok := c.spans[b.Source]
	if !ok {
		span.Base = b.Span.Base
	}
	c.spans[b.Source] = kfs.Span{Base: span.Base, Next: b.Span.Next}
	return nil
}

func (c *citing) Seal(context.Context) (processor.Staged, error) {
	spans := c.spans
	c.spans = map[processor.Source]kfs.Span{}
	return processor.Staged{Spans: spans}, nil
}

func (c *citing) Commit(_ context.Context, _, to processor.Positions, staged []processor.Staged) error {
	if err := c.fails; err != nil {
		c.fails = nil
		return err
	}
	maps.Copy(c.next, to)
	var marks []string
	for _, s := range staged {
		if len(s.Data) > 0 {
			marks = append(marks, string(s.Data))
		}
	}
	c.commits = append(c.commits, strings.Join(marks, " "))
	return nil
}

func (c *citing) Discard(context.Context, []processor.Staged) error { return nil }

func (c *citing) Cite(marks map[processor.Source]string) (processor.Staged, bool, error) {
	var all []string
	for source, mark := range marks {
		all = append(all, fmt.Sprintf("%d:%s", source.Partition, mark))
	}
	slices.Sort(all)
	return processor.Staged{Data: []byte(strings.Join(all, " "))}, true, nil
}

func (c *citing) Bereft(gone func(string) bool) (src processor.Source, span kfs.Span, ok bool, err error) {
	return processor.Source{Partition: 7}, span, slices.ContainsFunc(c.commits, gone), nil
}

// TestCite: each of several tables tells beside which dead letters it stands when it moves over their span, be it without rows and later. What
// has failed is decided again, and tells nothing.
func TestCite(t *testing.T) {
	ctx := t.Context()
	lake := map[string]*citing{}
	s := NewSink(Config{
		Route: routeOf(t, "db.{field:k}"), Tables: NewTables(10), Allocator: memory.DefaultAllocator,
		Open: func(_ context.Context, name, _ string) (processor.Sink, error) {
			if lake[name] == nil {
				lake[name] = &citing{next: processor.Positions{}, spans: map[processor.Source]kfs.Span{}}
			}
			return lake[name], nil
		},
		List: func(context.Context) ([]string, error) { return slices.Sorted(maps.Keys(lake)), nil },
	})
	at := processor.Positions{}
	records := func(source processor.Source, base int64, tables []string) arrow.RecordBatch {
		var rows []string
		for i, table := range tables {
			rows = append(rows, fmt.Sprintf(`{"kafka_topic": "events", "kafka_partition": %d, "kafka_offset": %d, "k": "%s"}`, source.Partition, base+int64(i), table))
		}
		return rowsOf(t, []arrow.Field{{Name: "k", Type: arrow.BinaryTypes.String, Nullable: true}}, rows...)
	}
	// commit commits a record of each of some tables, at the next offsets of a partition, or one that is in none.
	commit := func(partition int32, mark string, tables ...string) error {
		t.Helper()
		source := processor.Source{Topic: "events", Partition: partition}
		span := kfs.Span{Base: at[source], Next: at[source] + max(1, int64(len(tables)))}
		if err := s.Stage(ctx, processor.Batch{Source: source, Span: span, Records: records(source, span.Base, tables)}); err != nil {
			t.Fatal(err)
		}
		sealed, err := s.Seal(ctx)
		if err != nil {
			t.Fatal(err)
		}
		staged := []processor.Staged{sealed}
		if mark != "" {
			cited, ok, err := s.Cite(map[processor.Source]string{source: mark})
			if !ok || err != nil {
				t.Fatal(ok, err)
			}
			staged = append(staged, cited)
		}
		err = s.Commit(ctx, processor.Positions{source: span.Base}, processor.Positions{source: span.Next}, staged)
		if err == nil {
			at[source] = span.Next
		}
		return err
	}
	want := func(what string, x, y string) {
		t.Helper()
		for name, want := range map[string]string{"db.x": x, "db.y": y} {
			if got := lake[name].commits[len(lake[name].commits)-1]; got != want {
				t.Errorf("%s: the last commit to %s stands beside %q, want %q", what, name, got, want)
			}
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(commit(0, "a", "x", "y"))
	want("rows for both", "0:a", "0:a")
	must(commit(0, "b", "x"))
	must(commit(0, ""))
	want("rows for one", "0:b", "0:a")
	must(commit(1, "c", "y"))
	want("rows of another source", "0:b", "1:c")
	_, err := s.CatchUp(ctx, true)
	must(err)
	want("the other moves over the same span", "", "0:b")
	must(commit(0, "d"))
	_, err = s.CatchUp(ctx, true)
	must(err)
	want("nothing but dead letters", "0:d", "0:d")
	lake["db.x"].fails = errors.New("away")
	if err := commit(0, "e", "x"); err == nil {
		t.Error("a commit that fails is none")
	}
	if _, err := s.Committed(ctx); err != nil {
		t.Fatal(err)
	}
	must(commit(0, "", "x", "y"))
	want("decided again", "", "")
	if source, _, ok, err := s.Bereft(func(mark string) bool { return mark == "1:c" }); !ok || err != nil || source.Partition != 7 {
		t.Errorf("bereft: %v, %t, %v", source, ok, err)
	}
	if _, _, ok, err := s.Bereft(func(string) bool { return false }); ok || err != nil {
		t.Errorf("bereft of nothing: %t, %v", ok, err)
	}
}
