package deadletter

import (
	"cmp"
	"context"
	"slices"

	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/runtime/processor"
)

// Passes reads letters whole, place by place, in bounded memory however many there are and in whatever order they lie.
type Passes struct {
	Table  *table.Table
	Select Selection
	// Wanted are the offsets of the letters by the place in which they lie, a topic's name, its id if letters say it, and a partition; ascending,
	// each once.
	Wanted map[processor.Source][]int64
	Bytes  int // of letters that are held at a time, about; 128 MiB if 0
}

// heldBytes bounds the letters that are held at a time.
const heldBytes = 128 << 20

// Each gives the letters of some places to do, each letter once. Those of a call are in order of offset, and do may keep them; a place whose letters
// do not fit into memory comes several times. The table is read once for as many places as fit. An error of do ends it.
func (p *Passes) Each(ctx context.Context, places []processor.Source, do func(place processor.Source, letters []Letter) error) error {
	for len(places) > 0 {
		n, err := p.pass(ctx, places, do)
		if err != nil {
			return err
		}
		places = places[n:]
	}
	return nil
}

// pass reads the table once, and gives the letters of the first of the places, as many as fit. Those of the last ones are let go as soon as they do not.
func (p *Passes) pass(ctx context.Context, places []processor.Source, do func(processor.Source, []Letter) error) (n int, err error) {
	index := make(map[processor.Source]int, len(places))
	held := make([]held, len(places))
	for i, place := range places {
		index[place], held[i].wanted = i, p.Wanted[place]
	}
	n = len(places)
	most, bytes := cmp.Or(p.Bytes, heldBytes), 0
	for l, err := range Read(ctx, p.Table, p.Select) {
		if err != nil {
			return 0, err
		}
		i, ok := index[processor.Source{Topic: l.Topic, ID: l.TopicID, Partition: l.Partition}]
		if !ok || i >= n || !held[i].add(l) {
			continue
		}
		for bytes += l.size(); bytes > most && n > 1; n-- {
			bytes -= held[n-1].bytes
			held[n-1].letters = nil
		}
		if bytes > most {
			if err := held[0].flush(places[0], do); err != nil {
				return 0, err
			}
			bytes = 0
		}
	}
	for i := range n {
		if err := held[i].flush(places[i], do); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// held is letters of one place.
type held struct {
	wanted  []int64
	taken   []bool // of wanted
	letters []Letter
	bytes   int
}

// add takes a letter, and reports whether it is wanted and was not there before.
func (h *held) add(l Letter) bool {
	at, ok := slices.BinarySearch(h.wanted, l.Offset)
	if h.taken == nil {
		h.taken = make([]bool, len(h.wanted))
	}
	if !ok || h.taken[at] {
		return false
	}
	h.taken[at] = true
	h.letters, h.bytes = append(h.letters, l), h.bytes+l.size()
	return true
}

func (h *held) flush(place processor.Source, do func(processor.Source, []Letter) error) error {
	if len(h.letters) == 0 {
		return nil
	}
	slices.SortFunc(h.letters, func(a, b Letter) int { return cmp.Compare(a.Offset, b.Offset) })
	letters := h.letters
	h.letters, h.bytes = nil, 0
	return do(place, letters)
}

// letterBytes is what a letter takes beside its bytes, about.
const letterBytes = 256

// size is what a letter takes in memory, about.
func (l *Letter) size() int {
	n := letterBytes + len(l.Key) + len(l.Value) + len(l.Message)
	for _, h := range l.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}
