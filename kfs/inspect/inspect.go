// Package inspect looks into a namespace from outside: it lists what is stored, prints records, and verifies that everything fits
// together. It reads and never writes, needs no broker, and believes nothing that it has not checked.
//
// It works while a broker writes: objects that come later are simply not seen. Memory is bounded: a few objects ahead are in memory,
// at most readAhead bytes or one object, and verifying keeps some dozens of bytes for each object and each partition.
package inspect

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	readAhead  = 64 << 20      // bytes of objects in memory at a time; a larger object is there alone
	concurrent = 8             // requests in flight
	maxObject  = math.MaxInt32 // bytes; no part of the format writes larger objects
)

// Kind is what an object is, by its key.
type Kind string

// The kinds of objects in a namespace.
const (
	KindObject     Kind = "object"     // of a journal
	KindCheckpoint Kind = "checkpoint" // of a journal
	KindPage       Kind = "page"       // of a journal's index
	KindSegment    Kind = "segment"    // settled, format version 1
	KindIndex      Kind = "index"      // of a settled segment
	KindHint       Kind = "hint"       // head.json
	KindJob        Kind = "job"
	KindOther      Kind = "other"
)

// kindOf judges by the key alone. Segments are recognized in the namespaces of Firn and of KafScale.
func kindOf(key string) Kind {
	if _, _, ok := kfs.ParseObjectKey(key); ok {
		return KindObject
	}
	if _, _, ok := kfs.ParseCheckpointKey(key); ok {
		return KindCheckpoint
	}
	if _, _, _, ok := kfs.ParsePageKey(key); ok {
		return KindPage
	}
	name := key[strings.LastIndexByte(key, '/')+1:]
	switch {
	case strings.HasPrefix(name, "segment-") && strings.HasSuffix(name, ".kfs"):
		return KindSegment
	case strings.HasPrefix(name, "segment-") && strings.HasSuffix(name, ".index"):
		return KindIndex
	case strings.HasPrefix(key, kfs.JournalsPrefix) && name == "head.json":
		return KindHint
	case strings.HasPrefix(key, "jobs/") && strings.HasSuffix(name, ".json"):
		return KindJob
	}
	return KindOther
}

// objects flattens a listing.
func objects(ctx context.Context, store blob.Store, prefix, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for page, err := range store.List(ctx, prefix, after) {
			if err != nil {
				yield(blob.Info{}, fmt.Errorf("list %q: %w", prefix, err))
				return
			}
			for _, info := range page.Objects {
				if !yield(info, nil) {
					return
				}
			}
		}
	}
}

// Journals lists the numbers of the journals that are there, a request for each.
func Journals(ctx context.Context, store blob.Store) iter.Seq2[uint32, error] {
	return func(yield func(uint32, error) bool) {
		after := ""
		for {
			first, err := firstKey(ctx, store, kfs.JournalsPrefix, after)
			if err != nil || first == "" {
				if err != nil {
					yield(0, err)
				}
				return
			}
			journal, ok := journalOf(first)
			if !ok {
				after = first
				continue
			}
			if !yield(journal, nil) {
				return
			}
			after = strings.TrimSuffix(kfs.JournalPrefix(journal), "/") + "0" // behind the slash in byte order
		}
	}
}

func firstKey(ctx context.Context, store blob.Store, prefix, after string) (string, error) {
	for info, err := range objects(ctx, store, prefix, after) {
		return info.Key, err
	}
	return "", nil
}

// journalOf gives the journal that a key belongs to.
func journalOf(key string) (journal uint32, ok bool) {
	digits, _, ok := strings.Cut(strings.TrimPrefix(key, kfs.JournalsPrefix), "/")
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil {
		return 0, false
	}
	return uint32(n), n < kfs.MaxJournals && strings.HasPrefix(key, kfs.JournalPrefix(uint32(n)))
}

// file is an object, or the part of it that was asked for.
type file struct {
	blob.Info
	body []byte
}

// readAll gets the objects of a listing in its order, several at a time. part selects bytes of each.
func readAll(ctx context.Context, store blob.Store, infos iter.Seq2[blob.Info, error], part blob.Range) iter.Seq2[file, error] {
	type result struct {
		file
		weight int64
		err    error
	}
	return func(yield func(file, error) bool) {
		var wg sync.WaitGroup
		defer wg.Wait()
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		budget := semaphore.NewWeighted(readAhead)
		queue := make(chan chan result, concurrent)
		wg.Go(func() {
			defer close(queue)
			for info, err := range infos {
				slot := make(chan result, 1)
				var weight int64
				if err == nil {
					_, n, _ := part.Resolve(info.Size) // a part beyond the object fails when it is read
					weight = min(n, readAhead)
					err = budget.Acquire(ctx, weight)
				}
				select {
				case queue <- slot:
				case <-ctx.Done():
					return
				}
				if err != nil {
					slot <- result{err: err}
					return
				}
				wg.Go(func() {
					body, _, err := blob.ReadAll(ctx, store, info.Key, part, maxObject)
					slot <- result{file{info, body}, weight, err}
				})
			}
		})
		for slot := range queue {
			r := <-slot
			if !yield(r.file, r.err) || r.err != nil {
				return
			}
			budget.Release(r.weight)
		}
		if err := ctx.Err(); err != nil {
			yield(file{}, err)
		}
	}
}

// manifest opens the end of a journal object and reads more of it where needed.
func manifest(ctx context.Context, store blob.Store, tail file) (*kfs.Manifest, uint32, error) {
	m, crc, need, err := kfs.OpenTail(tail.body, tail.Size)
	if err != nil || need == 0 {
		return m, crc, err
	}
	body, info, err := blob.ReadAll(ctx, store, tail.Key, blob.Last(need), maxObject)
	if err != nil {
		return nil, 0, err
	}
	m, crc, need, err = kfs.OpenTail(body, info.Size)
	if err == nil && need > 0 {
		err = fmt.Errorf("%w: it changed while it was read", kfs.ErrCorrupt)
	}
	return m, crc, err
}
