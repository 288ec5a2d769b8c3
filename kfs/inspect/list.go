package inspect

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Row is one object of a namespace. What an object of its kind does not have is zero.
type Row struct {
	Key        string  `json:"key"`
	Kind       Kind    `json:"kind"`
	Bytes      int64   `json:"bytes"`
	Created    int64   `json:"created_ms,omitempty"` // Unix milliseconds: the writer's clock, else the store's
	Journal    *uint32 `json:"journal,omitempty"`
	Sequence   *uint64 `json:"sequence,omitempty"`
	Epoch      *int32  `json:"epoch,omitempty"`
	Partitions int     `json:"partitions,omitempty"`
	Records    int64   `json:"records,omitempty"`
	Entries    int     `json:"entries,omitempty"`
	Damage     string  `json:"damage,omitempty"` // why it cannot be read; then the rest is not known
}

// Rows lists a namespace in order of key: for each data object it reads the end, for each checkpoint and page the whole. Damage is in
// the row; an error of the store ends the sequence.
func Rows(ctx context.Context, store blob.Store) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for tail, err := range readAll(ctx, store, objects(ctx, store, "", ""), blob.Last(kfs.TailSize)) {
			if err != nil {
				yield(Row{}, err)
				return
			}
			row := Row{Key: tail.Key, Kind: kindOf(tail.Key), Bytes: tail.Size, Created: tail.Modified.UnixMilli()}
			err := row.fill(ctx, store, tail)
			switch {
			case errors.Is(err, kfs.ErrCorrupt) || errors.Is(err, kfs.ErrVersion):
				row.Damage, err = err.Error(), nil
			case err != nil:
				err = fmt.Errorf("%s: %w", tail.Key, err)
			}
			if !yield(row, err) || err != nil {
				return
			}
		}
	}
}

func (r *Row) fill(ctx context.Context, store blob.Store, tail file) error {
	switch r.Kind {
	case KindObject:
		m, _, err := manifest(ctx, store, tail)
		if err != nil {
			return err
		}
		r.ofManifest(m)
		return sameObject(tail.Key, m)
	case KindCheckpoint:
		body, err := whole(ctx, store, tail)
		if err != nil {
			return err
		}
		c, err := kfs.DecodeCheckpoint(body)
		if err != nil {
			return err
		}
		r.Journal, r.Sequence, r.Epoch, r.Created, r.Partitions = &c.Journal, &c.Sequence, &c.Epoch, c.Created, len(c.Partitions)
		return sameCheckpoint(tail.Key, c)
	case KindPage:
		body, err := whole(ctx, store, tail)
		if err != nil {
			return err
		}
		p, err := kfs.DecodePage(body)
		if err != nil {
			return err
		}
		r.Journal, r.Sequence = &p.Journal, &p.First
		return samePage(tail.Key, p)
	case KindSegment:
		if _, _, err := kfs.ParseSegmentFooter(tail.body); err != nil {
			return err
		}
		head, _, err := blob.ReadAll(ctx, store, tail.Key, blob.Bytes(0, kfs.SegmentHeaderSize), maxObject)
		if err != nil {
			return err
		}
		h, err := kfs.ParseSegmentHeader(head)
		if err != nil {
			return err
		}
		r.Created, r.Partitions, r.Records = h.Created, 1, int64(h.Records)
	}
	return nil
}

func (r *Row) ofManifest(m *kfs.Manifest) {
	r.Journal, r.Sequence, r.Epoch, r.Created = &m.Journal, &m.Sequence, &m.Epoch, m.Created
	r.Partitions, r.Entries = len(m.Segments), len(m.Entries)
	for i := range m.Segments {
		r.Records += int64(m.Segments[i].Records)
	}
}

// whole gives all bytes of an object of which the end was read.
func whole(ctx context.Context, store blob.Store, tail file) ([]byte, error) {
	if int64(len(tail.body)) == tail.Size {
		return tail.body, nil
	}
	body, _, err := blob.ReadAll(ctx, store, tail.Key, blob.All, maxObject)
	return body, err
}

// sameObject, sameCheckpoint and samePage refuse an object that stands under the key of another.
func sameObject(key string, m *kfs.Manifest) error {
	if journal, sequence, ok := kfs.ParseObjectKey(key); ok && (journal != m.Journal || sequence != m.Sequence) {
		return fmt.Errorf("%w: it is object %d of journal %d", kfs.ErrCorrupt, m.Sequence, m.Journal)
	}
	return nil
}

func sameCheckpoint(key string, c *kfs.Checkpoint) error {
	if journal, sequence, ok := kfs.ParseCheckpointKey(key); ok && (journal != c.Journal || sequence != c.Sequence) {
		return fmt.Errorf("%w: it is checkpoint %d of journal %d", kfs.ErrCorrupt, c.Sequence, c.Journal)
	}
	return nil
}

func samePage(key string, p *kfs.Page) error {
	if journal, first, last, ok := kfs.ParsePageKey(key); ok && (journal != p.Journal || first != p.First || last != p.Last) {
		return fmt.Errorf("%w: it is page [%d, %d] of journal %d", kfs.ErrCorrupt, p.First, p.Last, p.Journal)
	}
	return nil
}
