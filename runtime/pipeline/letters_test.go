package pipeline

import (
	"context"
	"errors"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// TestDecidedElsewhere holds what a life has seen of the dead-letter table against where that stands when a group begins and ends somewhere.
func TestDecidedElsewhere(t *testing.T) {
	source := processor.Source{Topic: "events", ID: kfs.TopicID{1}}
	for _, c := range []struct {
		name       string
		seen, next int64
		moved      bool
	}{
		{"no letter was ever there", 0, 0, false},
		{"as it was seen, within the group", 7, 7, false},
		{"as it was seen, before the group", 3, 3, false},
		{"come to before the group", 0, 5, false},
		{"come into the group", 0, 6, true},
		{"come further in the group", 6, 7, true},
		{"rolled back within the group", 7, 6, true},
		{"rolled back to before the group, whose rows may be committed", 5, 1, true},
		{"rolled back to nothing", 5, 0, true},
	} {
		spans := map[processor.Source]kfs.Span{source: {Base: 5, Next: 8}}
		err := decidedElsewhere(processor.Positions{source: c.next}, processor.Positions{source: c.seen}, spans)
		if moved := errors.Is(err, processor.ErrMoved); moved != c.moved || err != nil && !moved {
			t.Errorf("%s: seen at %d, now at %d, a group %s: %v", c.name, c.seen, c.next, spans[source], err)
		}
	}
}

// falling is a dead-letter table that another engine rolls back right after each commit.
type falling struct{ *fakeSink }

func (f falling) Commit(ctx context.Context, from, to processor.Positions, staged []processor.Staged) error {
	err := f.fakeSink.Commit(ctx, from, to, staged)
	f.table.mu.Lock()
	defer f.table.mu.Unlock()
	for source, at := range from {
		f.table.next[source] = at
	}
	return err
}

// TestLettersConfirmed: rows are not committed beside dead letters that are gone already, however good the answer of their commit was.
func TestLettersConfirmed(t *testing.T) {
	source := processor.Source{Topic: "events", ID: kfs.TopicID{1}}
	for _, falls := range []bool{false, true} {
		table := newFakeTable("letters")
		box := newLetterBox(&Config{Allocator: memory.DefaultAllocator}, func(context.Context) (processor.Sink, error) {
			if falls {
				return falling{table.open()}, nil
			}
			return table.open(), nil
		})
		letters := []decode.DeadLetter{{Source: source, Offset: 3, Class: "syntax"}}
		to, _, err := box.commit(t.Context(), map[processor.Source]kfs.Span{source: {Base: 2, Next: 5}}, letters, processor.Positions{})
		if falls && !errors.Is(err, processor.ErrMoved) || !falls && (err != nil || to[source] != 5) {
			t.Errorf("rolled back: %t: %v, %v", falls, to, err)
		}
	}
}
