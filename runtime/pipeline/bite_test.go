package pipeline

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestBites cuts random items: the bites are what the item was, in order, without a hole and none too small, and whatever is damaged is in
// the last one.
func TestBites(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	for range 2000 {
		it, starts := randomItem(t, r)
		damaged := -1
		if r.IntN(3) == 0 {
			batch := r.IntN(len(starts))
			damaged = starts[batch] + r.IntN(27) // base offset, length, magic, checksum, last offset
			it.records[damaged] ^= byte(1 + r.IntN(255))
		}
		size := 1 + r.IntN(600)
		var bites []item
		for bite := range it.bites(size) {
			bites = append(bites, bite)
		}
		var records []byte
		at, piece := it.span.Base, int64(-1)
		for i, bite := range bites {
			last := i == len(bites)-1
			if bite.span.Base != at || bite.span.Empty() || piece >= 0 && bite.piece.Base != piece || !last && len(bite.records) < size {
				t.Fatalf("seed %d: bite %d of %d begins at offset %d, has span %s of %s and %d bytes of at least %d", seed, i, len(bites), at, bite.span, bite.piece, len(bite.records), size)
			}
			at, piece = bite.span.Next, bite.piece.Next
			records = append(records, bite.records...)
			if !last {
				end := bite.piece.Base
				for batch, err := range record.Batches(bite.records) {
					h, headErr := record.ParseHeader(batch)
					if err := errors.Join(err, headErr); err != nil || h.BaseOffset != end {
						t.Fatalf("seed %d: bite %d holds a batch at %d where %d belongs: %v", seed, i, h.BaseOffset, end, err)
					}
					end = h.LastOffset() + 1
				}
				if end != bite.piece.Next {
					t.Fatalf("seed %d: bite %d holds batches up to %d and says %s", seed, i, end, bite.piece)
				}
			}
		}
		if at != it.span.Next {
			t.Fatalf("seed %d: the bites end at %d of %s", seed, at, it.span)
		}
		// What lies before the span, or behind it, need not be in a bite.
		if damaged < 0 && it.span == it.piece && string(records) != string(it.records) {
			t.Fatalf("seed %d: %d bytes in the bites of %d", seed, len(records), len(it.records))
		}
	}
	fault := item{span: kfs.Span{Base: 1, Next: 9}, piece: kfs.Span{Base: 1, Next: 9}, fault: errors.New("gone")}
	for bite := range fault.bites(1) {
		if bite.fault == nil || bite.span != fault.span {
			t.Errorf("a fault became %v", bite)
		}
	}
}

// randomItem makes an item of some batches, with the bytes at which they begin.
func randomItem(t *testing.T, r *rand.Rand) (it item, starts []int) {
	at := int64(r.IntN(1000))
	it.piece.Base = at
	for range 1 + r.IntN(20) {
		starts = append(starts, len(it.records))
		b := record.Builder{BaseOffset: at}
		n := 1 + r.IntN(5)
		for range n {
			b.Add(0, nil, make([]byte, r.IntN(100)))
		}
		var err error
		if it.records, err = b.AppendTo(it.records); err != nil {
			t.Fatal(err)
		}
		at += int64(n)
	}
	it.piece.Next = at
	it.span = it.piece
	if r.IntN(2) == 0 {
		it.span.Base += r.Int64N(it.piece.Len())
		it.span.Next -= r.Int64N(it.span.Len())
	}
	return it, starts
}

// TestDecodingGoesOnDuringACommit holds the first commit up: the worker decodes on meanwhile, though its decoders are full several times
// over, as long as there is memory.
func TestDecodingGoesOnDuringACommit(t *testing.T) {
	const objects = 60
	value := fmt.Appendf(nil, `{"text":"%s"}`, strings.Repeat("firn ", 200_000)) // a megabyte
	for _, c := range []struct {
		name        string
		memory      int64
		least, most int64 // of the records that are read during the commit
	}{
		{"enough memory", 512 << 20, objects, objects},
		{"too little", 32 << 20, 5, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, l := blob.NewMemory(nil), newLake(t)
				w := tailtest.Journal{Store: store}
				w.Append(t, []kfs.Entry{cluster, events})
				for range objects {
					w.Append(t, nil, tailtest.Records{Topic: events, Values: [][]byte{value}, Codec: record.Zstd})
				}
				table, release, held := l.table("db.events"), make(chan struct{}), false
				table.fault = func(op string) (error, error) {
					if op == "commit" && !held {
						held = true
						table.mu.Unlock()
						<-release
						table.mu.Lock()
					}
					return nil, nil
				}
				cfg := testConfig(t, store, l)
				cfg.MemoryBytes, cfg.FileSize = c.memory, 1 // a commit after the first item
				job, stop := start(t, cfg)
				synctest.Wait()
				if !held {
					t.Fatal("there is no commit")
				}
				if read := job.Status().Tables[0].Sources[0].Read; read < c.least || read > c.most {
					t.Errorf("%d of %d records are read during the commit, want %d to %d", read, objects, c.least, c.most)
				}
				if used, limit := job.memory.used, job.memory.limit; used > limit+4<<20 {
					t.Errorf("%d bytes of rows are held, the limit is %d", used, limit)
				}
				close(release)
				time.Sleep(time.Minute)
				wantOffsets(t, table, 0, 0, objects)
				if err := stop(); err != nil {
					t.Error(err)
				}
				if job.memory.used != 0 {
					t.Errorf("%d bytes of rows are held after the run", job.memory.used)
				}
			})
		})
	}
}
