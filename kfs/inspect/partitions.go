package inspect

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Partition is where a partition's log begins and ends.
type Partition struct {
	kfs.PartitionID
	Name    string // the topic's
	Journal uint32
	Start   int64 // the first offset that may be read
	Next    int64 // the next offset
	Ended   bool  // the topic is deleted
}

// Ends is the ends of all partitions of a namespace at one time, and when their records came.
type Ends struct {
	store      blob.Store
	partitions map[kfs.PartitionID]*Partition
	settled    map[kfs.PartitionID][]kfs.SettledSegment
	journals   map[uint32]*recent
}

// recent is what is known of a journal's live objects.
type recent struct {
	pages   []kfs.PageRef
	objects []kfs.Object // behind the pages
}

// ReadEnds reads the ends of all partitions: of each journal the newest checkpoint and the end of every object behind it, some hundred at most.
// Damage is an error (kfs.ErrCorrupt, kfs.ErrVersion).
func ReadEnds(ctx context.Context, store blob.Store) (*Ends, error) {
	e := &Ends{store: store, partitions: map[kfs.PartitionID]*Partition{}, settled: map[kfs.PartitionID][]kfs.SettledSegment{}, journals: map[uint32]*recent{}}
	for journal, err := range Journals(ctx, store) {
		if err == nil {
			err = e.read(ctx, journal)
		}
		if err != nil {
			return nil, err
		}
	}
	return e, nil
}

func (e *Ends) read(ctx context.Context, journal uint32) error {
	r := &recent{}
	e.journals[journal] = r
	newest := ""
	for info, err := range objects(ctx, e.store, kfs.CheckpointPrefix(journal), "") {
		if err != nil {
			return err
		}
		if _, _, ok := kfs.ParseCheckpointKey(info.Key); ok {
			newest = info.Key
		}
	}
	after := ""
	if newest != "" {
		body, _, err := blob.ReadAll(ctx, e.store, newest, blob.All, maxObject)
		if err != nil {
			return err
		}
		ck, err := kfs.DecodeCheckpoint(body)
		if err == nil {
			err = sameCheckpoint(newest, ck)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", newest, err)
		}
		after = kfs.ObjectKey(journal, ck.Sequence)
		r.pages, r.objects = ck.Pages, ck.Objects
		for _, p := range ck.Partitions {
			e.settled[p.ID()] = p.Settled
			e.partitions[p.ID()] = &Partition{PartitionID: p.ID(), Name: p.Name, Journal: journal, Start: p.LogStart, Next: p.Next, Ended: p.Ended}
		}
	}
	for tail, err := range readAll(ctx, e.store, journalObjects(ctx, e.store, journal, after), blob.Last(kfs.TailSize)) {
		if err != nil {
			return err
		}
		m, _, err := manifest(ctx, e.store, tail)
		if err == nil {
			err = sameObject(tail.Key, m)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", tail.Key, err)
		}
		e.apply(r, m)
	}
	return nil
}

func (e *Ends) apply(r *recent, m *kfs.Manifest) {
	r.objects = append(r.objects, kfs.Object{Sequence: m.Sequence, Created: m.Created, Segments: m.Segments})
	for i := range m.Segments {
		s := &m.Segments[i]
		p := e.partitions[s.ID()]
		if p == nil {
			p = &Partition{PartitionID: s.ID(), Name: s.Name, Journal: m.Journal, Start: s.Span.Base}
			e.partitions[s.ID()] = p
		}
		p.Next = s.Span.Next
	}
	for _, entry := range m.Entries {
		switch entry := entry.(type) {
		case kfs.Trim:
			if p := e.partitions[kfs.PartitionID{Topic: entry.Topic, Partition: entry.Partition}]; p != nil {
				p.Start = max(p.Start, entry.LogStart)
			}
		case kfs.Ended:
			for id, p := range e.partitions {
				if id.Topic == entry.Topic {
					p.Ended, p.Start = true, p.Next
				}
			}
		}
	}
}

// All are the partitions, by topic name, topic id and number.
func (e *Ends) All() []Partition {
	all := make([]Partition, 0, len(e.partitions))
	for _, p := range e.partitions {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Topic[:], b.Topic[:]), cmp.Compare(a.Partition, b.Partition))
	})
	return all
}

// Find is one partition; ok is false if it has no records and never had any.
func (e *Ends) Find(id kfs.PartitionID) (Partition, bool) {
	if p, ok := e.partitions[id]; ok {
		return *p, true
	}
	return Partition{}, false
}

// Written is when the object that holds a record was made, in Unix milliseconds of its writer's clock: about when the record was acknowledged. ok is false if no
// live object holds it: it has not come yet, or it is in a segment, or trimmed. It reads index pages where it must.
func (e *Ends) Written(ctx context.Context, id kfs.PartitionID, offset int64) (at int64, ok bool, err error) {
	p, found := e.partitions[id]
	if !found || offset >= p.Next {
		return 0, false, nil
	}
	r := e.journals[p.Journal]
	if at, ok = created(r.objects, id, offset); ok {
		return at, ok, nil
	}
	for _, ref := range slices.Backward(r.pages) {
		objects, err := e.page(ctx, p.Journal, ref)
		if err != nil {
			return 0, false, err
		}
		if at, ok = created(objects, id, offset); ok {
			return at, ok, nil
		}
	}
	return 0, false, nil
}

// page reads an index page.
func (e *Ends) page(ctx context.Context, journal uint32, ref kfs.PageRef) ([]kfs.Object, error) {
	key := kfs.PageKey(journal, ref.First, ref.Last)
	body, _, err := blob.ReadAll(ctx, e.store, key, blob.All, maxObject)
	if err != nil {
		return nil, err
	}
	page, err := kfs.DecodePage(body)
	if err == nil {
		err = samePage(key, page)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return page.Objects, nil
}

func created(objects []kfs.Object, id kfs.PartitionID, offset int64) (int64, bool) {
	for i := range objects {
		for j := range objects[i].Segments {
			if s := &objects[i].Segments[j]; s.ID() == id && s.Span.Contains(offset) {
				return objects[i].Created, true
			}
		}
	}
	return 0, false
}
