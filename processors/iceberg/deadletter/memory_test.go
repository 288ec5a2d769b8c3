package deadletter_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/compute"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// peak is an allocator that knows the most that was held of it.
type peak struct {
	memory.Allocator
	now, most atomic.Int64
}

func (p *peak) add(n int) {
	now := p.now.Add(int64(n))
	for most := p.most.Load(); now > most && !p.most.CompareAndSwap(most, now); most = p.most.Load() {
	}
}

func (p *peak) Allocate(n int) []byte {
	p.add(n)
	return p.Allocator.Allocate(n)
}

func (p *peak) Reallocate(n int, b []byte) []byte {
	p.add(n - len(b))
	return p.Allocator.Reallocate(n, b)
}

func (p *peak) Free(b []byte) {
	p.add(-len(b))
	p.Allocator.Free(b)
}

// TestLargeLetters reads letters that compress well, so that one small file has more of them than memory may, and marks one of them.
func TestLargeLetters(t *testing.T) {
	const n, each, most = 400, 50_000, 12 << 20 // 20 MB; how far the library reads ahead is left to chance
	l, mem := newLake(t, catalogtest.NewFake()), &peak{Allocator: memory.DefaultAllocator}
	opened, err := iceberg.New(iceberg.Config{Catalog: catalog.New(l.client), Options: catalog.Options{Job: "job", Sleep: awake}, FileBytes: 1 << 20, Allocator: mem}).Open(t.Context(), processors.Table{Name: letters, DeadLetters: true})
	if err != nil {
		t.Fatal(err)
	}
	s := opened.(*iceberg.Sink)
	defer s.Close()
	if _, err := s.Committed(t.Context()); err != nil {
		t.Fatal(err)
	}
	for at := range int64(n) {
		batch := decode.DeadLetterBatch("", "job", []decode.DeadLetter{{Source: source, Offset: at, Value: bytes.Repeat([]byte{byte(at)}, each), Class: decode.InvalidJSON}}, memory.DefaultAllocator)
		if err := s.Stage(t.Context(), processor.Batch{Source: source, Span: kfs.Span{Base: at, Next: at + 1}, Records: batch}); err != nil {
			t.Fatal(err)
		}
		batch.Release()
	}
	staged, err := s.Seal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), processor.Positions{source: 0}, processor.Positions{source: n}, []processor.Staged{staged}); err != nil {
		t.Fatal(err)
	}
	reading := &peak{Allocator: memory.DefaultAllocator}
	read := 0
	for letter, err := range deadletter.Read(compute.WithAllocator(t.Context(), reading), l.load(letters), deadletter.Selection{}) {
		if err != nil {
			t.Fatal(err)
		}
		if read++; len(letter.Value) != each || letter.Value[0] != byte(letter.Offset) {
			t.Fatalf("letter %d has %d bytes", letter.Offset, len(letter.Value))
		}
	}
	if held := reading.most.Load(); read != n || held == 0 || held > most {
		t.Errorf("%d letters were read, and %d bytes held, want at most %d", read, held, most)
	}
	mem.most.Store(0)
	if marked, err := s.Resolve(t.Context(), map[processor.Source][]int64{source: {7}}, time.UnixMilli(1)); err != nil || marked != 1 {
		t.Fatalf("%d letters were marked: %v", marked, err)
	}
	if held := mem.most.Load(); held == 0 || held > most {
		t.Errorf("marking a letter has held %d bytes, want at most %d", held, most)
	}
}

// TestPasses gives letters of three places, which lie in the table by turns, to somebody with little memory: each once, in order.
func TestPasses(t *testing.T) {
	places := []processor.Source{{Topic: "events", ID: kfs.TopicID{1}, Partition: 0}, {Topic: "events", ID: kfs.TopicID{1}, Partition: 1}, {Topic: "events", ID: kfs.TopicID{2}, Partition: 0}}
	l := newLake(t, catalogtest.NewFake())
	wanted := map[processor.Source][]int64{}
	for base := int64(0); base < 40; base += 10 {
		for _, place := range places {
			l.commitOf(place, letters, base, base+10, deadOf(place, base+1, base+3, base+7))
			wanted[place] = append(wanted[place], base+1, base+3)
		}
	}
	for _, most := range []int{1, 2000, 5000, 1 << 20} {
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			got, calls := map[processor.Source][]int64{}, 0
			p := &deadletter.Passes{Table: l.load(letters), Wanted: wanted, Bytes: most}
			err := p.Each(t.Context(), places, func(place processor.Source, letters []deadletter.Letter) error {
				calls++
				var offsets []int64
				for _, letter := range letters {
					offsets = append(offsets, letter.Offset)
				}
				if !slices.IsSorted(offsets) || (len(offsets)-1)*256 > most {
					t.Errorf("letters %v are given", offsets)
				}
				got[place] = append(got[place], offsets...)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for place := range got {
				slices.Sort(got[place])
			}
			if !maps.EqualFunc(got, wanted, slices.Equal) {
				t.Errorf("given were %v", got)
			}
			if most == 1<<20 && calls != len(places) || most == 1 && calls != 24 {
				t.Errorf("%d calls", calls)
			}
		})
	}
}

// TestRetryOfMany retries letters of several partitions and commits that do not fit into memory together.
func TestRetryOfMany(t *testing.T) {
	l := newLake(t, catalogtest.NewFake())
	l.fill()
	other := source
	other.Partition = 4
	l.commitOf(other, letters, 0, 5, deadOf(other, 0, 1, 2, 3, 4))
	l.commitOf(other, events, 0, 5, rows(0, 0))
	r := l.retry(l.client)
	told := 0
	r.Bytes, r.Told = 600, func(_ string, done, total int) { told = max(told, done*100/total) }
	all, err := r.Run(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Letters != 9 || all[0].Repaired != 4 || all[0].Dead != 4 || all[0].Ahead != 1 || told != 100 {
		t.Errorf("%+v, told up to %d %%", all, told)
	}
	l.verified()
}
