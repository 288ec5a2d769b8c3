package tail_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
	"github.com/firn-io/firn/runtime/tail"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestPartsOfObjects counts the requests for an object of ten partitions of 200 KiB, by which of them are wanted: after the first, whose shape
// nobody knows, no more than the manifest and four ranges, and the whole where it is wanted by half.
func TestPartsOfObjects(t *testing.T) {
	for name, c := range map[string]struct {
		wanted []int32
		gets   int   // of each object but the first
		most   int64 // percent of the object's bytes that they read
	}{
		"one":                  {[]int32{3}, 2, 12},
		"neighbours":           {[]int32{2, 3, 4}, 2, 32},
		"at both ends":         {[]int32{0, 9}, 3, 22},
		"four apart":           {[]int32{0, 3, 5, 8}, 5, 42},
		"none":                 {nil, 1, 2},
		"five apart are half":  {[]int32{0, 2, 4, 6, 8}, 1, 100},
		"all":                  {[]int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 1, 100},
		"half, side by side":   {[]int32{0, 1, 2, 3, 4}, 1, 100},
		"nearly half, by gaps": {[]int32{0, 2, 5, 7}, 5, 42},
	} {
		t.Run(name, func(t *testing.T) {
			trace := blobtest.NewTrace(blob.NewMemory(time.Now))
			topic := tailtest.Topic("events", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
			j := &tailtest.Journal{Store: trace}
			const objects = 10
			sizes := make([]int64, objects)
			for i := range objects {
				var records []tailtest.Records
				for p := range int32(10) {
					records = append(records, tailtest.Values(topic, p, strings.Repeat(fmt.Sprintf("%d %d.", i, p), 200<<10/4)))
				}
				var entries []kfs.Entry
				if i == 0 {
					entries = []kfs.Entry{topic}
				}
				j.Append(t, entries, records...)
				_, info, err := trace.Get(t.Context(), kfs.ObjectKey(0, uint64(i)), blob.Last(1))
				if err != nil {
					t.Fatal(err)
				}
				sizes[i] = info.Size
			}
			wants := map[int32]bool{}
			for _, p := range c.wanted {
				wants[p] = true
			}
			read := &readBytes{Store: trace}
			f := tail.New(tail.Config{Store: read, Match: func(string) bool { return true }, Wants: func(id kfs.PartitionID) bool { return wants[id.Partition] }})
			defer f.Close()
			if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
				t.Fatal(err)
			}
			trace.Take()
			for n := range objects {
				o, err := f.Next(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if len(o.Pieces) != len(c.wanted) || o.Size != sizes[n] {
					t.Fatalf("%d pieces of %d bytes, want %d of %d", len(o.Pieces), o.Size, len(c.wanted), sizes[n])
				}
				for i, p := range o.Pieces {
					if p.Err != nil || p.ID.Partition != c.wanted[i] || int64(len(p.Records)) < 200<<10 {
						t.Fatalf("piece %d is partition %d with %d bytes: %v", i, p.ID.Partition, len(p.Records), p.Err)
					}
				}
				o.Release()
			}
			f.Close()
			// The first object is read whole, and what was asked for ahead beside it.
			gets := map[string]int{}
			for line := range strings.Lines(trace.Take()) {
				if verb, rest, _ := strings.Cut(line, " "); verb == blobtest.Get {
					key, _, _ := strings.Cut(rest, " ")
					gets[key]++
				}
			}
			for i := 2; i < objects; i++ {
				if n := gets[kfs.ObjectKey(0, uint64(i))]; n != c.gets {
					t.Errorf("object %d took %d GETs, want %d", i, n, c.gets)
				}
				if bytes := read.bytes[kfs.ObjectKey(0, uint64(i))]; bytes > sizes[i]*c.most/100 {
					t.Errorf("object %d took %d bytes of %d, want at most %d %%", i, bytes, sizes[i], c.most)
				}
			}
		})
	}
}

// readBytes counts the bytes of what is read, by key.
type readBytes struct {
	blob.Store

	mu    sync.Mutex // guards what follows
	bytes map[string]int64
}

func (c *readBytes) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	body, info, err := c.Store.Get(ctx, key, r)
	if err != nil {
		return nil, info, err
	}
	_, n, err := r.Resolve(info.Size)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bytes == nil {
		c.bytes = map[string]int64{}
	}
	c.bytes[key] += n
	return body, info, err
}

// TestDamagedPart shows that the bytes of a range are held against the manifest's checksum, and that a part that does not come is asked for again.
func TestDamagedPart(t *testing.T) {
	store := blob.NewMemory(time.Now)
	topic := tailtest.Topic("events", 1, 0, 0, 0, 0)
	j := &tailtest.Journal{Store: store}
	for i := range 6 {
		var records []tailtest.Records
		for p := range int32(4) {
			records = append(records, tailtest.Values(topic, p, strings.Repeat(fmt.Sprint(i, p), 100<<10)))
		}
		var entries []kfs.Entry
		if i == 0 {
			entries = []kfs.Entry{topic}
		}
		j.Append(t, entries, records...)
	}
	inRange := func(op blobtest.Op) bool { return op.Verb == blobtest.Get && op.Range.Len > 0 }
	failed := 0
	faulty := blobtest.NewFault(store, func(op blobtest.Op) blobtest.Action {
		switch {
		case inRange(op) && op.Key == kfs.ObjectKey(0, 3):
			return blobtest.Corrupt
		case inRange(op) && op.Key == kfs.ObjectKey(0, 4) && failed == 0:
			failed++
			return blobtest.FailBefore
		}
		return blobtest.Pass
	})
	f := tail.New(tail.Config{Store: faulty, Match: func(string) bool { return true }, Wants: func(id kfs.PartitionID) bool { return id.Partition == 2 }})
	defer f.Close()
	if err := errors.Join(f.Open(t.Context()), f.Seek(t.Context(), nil)); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < 6; {
		o, err := f.Next(t.Context())
		if err != nil {
			if i != 4 || failed != 1 || errors.Is(err, kfs.ErrCorrupt) {
				t.Fatalf("object %d: %v", i, err)
			}
			failed++
			continue
		}
		if damaged := i == 3; errors.Is(o.Pieces[0].Err, kfs.ErrCorrupt) != damaged {
			t.Errorf("object %d: %v", i, o.Pieces[0].Err)
		}
		o.Release()
		i++
	}
	if failed != 2 {
		t.Errorf("the request that failed was seen %d times", failed)
	}
}
