package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// Usage is what a namespace holds, by its own keys, checkpoints and manifests: no broker is asked.
type Usage struct {
	At         time.Time        `json:"at"` // by the store's clock
	Objects    int64            `json:"objects"`
	Bytes      int64            `json:"bytes"`
	Journals   []JournalUsage   `json:"journals"`
	Partitions []PartitionUsage `json:"partitions"` // that take anything, by topic and number
	Other      Amount           `json:"other"`      // keys of none of these
	Snapshots  []SnapshotHold   `json:"snapshots"`  // restore points
	Jobs       []JobHold        `json:"jobs"`
	Requests   Requests         `json:"requests"` // that finding this out has taken
}

// Amount is objects and their bytes.
type Amount struct {
	Objects int64 `json:"objects"`
	Bytes   int64 `json:"bytes"`
}

func (a *Amount) add(bytes int64) { a.Objects++; a.Bytes += bytes }

// Requests are counts of requests.
type Requests struct {
	Lists int64 `json:"list"` // pages
	Gets  int64 `json:"get"`
}

// JournalUsage is one journal.
type JournalUsage struct {
	Journal  uint32    `json:"journal"`
	Live     Amount    `json:"live"`           // objects with something that is neither settled nor trimmed, or that no checkpoint covers yet
	Released Amount    `json:"released"`       // objects that wait to be deleted
	Held     Amount    `json:"held"`           // those of them that wait for restore points to be deleted
	Since    time.Time `json:"since,omitzero"` // when the newest released run was known to be released; zero if a checkpoint has still to say so
	Meta     Amount    `json:"meta"`           // checkpoints, index pages, the hint
	Day      Amount    `json:"day"`            // objects of the last day
}

// PartitionUsage is one partition.
type PartitionUsage struct {
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"id"`
	Partition int32       `json:"partition"`
	Ended     bool        `json:"ended,omitempty"` // the topic is deleted
	LogStart  int64       `json:"log_start"`
	Next      int64       `json:"next"`
	Journal   int64       `json:"journal_bytes"` // in live objects of the journal
	Segments  Amount      `json:"segments"`      // settled, with indexes
	Waiting   Amount      `json:"waiting"`       // segments that lie before the log start or that no journal lists, with indexes
	Held      Amount      `json:"held"`          // those of them that wait for restore points to be deleted
	Day       Amount      `json:"day"`           // segments and indexes of the last day
}

// JobHold is a job and what it holds.
type JobHold struct {
	Job   string `json:"job"`
	Err   string `json:"error,omitempty"` // why its object cannot be read: it holds everything
	Bytes int64  `json:"bytes"`           // of partitions from where it may still read on, at most: ranges count whole
}

// SnapshotHold is a restore point and what only restore points hold.
type SnapshotHold struct {
	Name    string    `json:"name"`
	Err     string    `json:"error,omitempty"` // why it cannot be read: it holds everything
	Created time.Time `json:"created,omitzero"`
	Held    Amount    `json:"held"` // what waits to be deleted until this restore point is, with the others that need it
}

// usage is a Usage in the making.
type usage struct {
	Usage
	holds      []snapshotNeeds
	store      blob.Store
	partitions map[kfs.PartitionID]*PartitionUsage
	listed     map[string]kfs.SettledSegment // by key
	ranges     map[kfs.PartitionID][]sized   // of the journals and of listed segments, in order
}

// sized is a range of a partition and its bytes.
type sized struct {
	span    kfs.Span
	bytes   int64
	journal bool // in a journal object
}

// Use finds out what a namespace holds. It lists all keys, and reads each journal's newest checkpoint with its index pages, the ends of the
// objects behind it, and the objects of jobs.
func Use(ctx context.Context, store blob.Store) (*Usage, error) {
	u := &usage{store: store, partitions: map[kfs.PartitionID]*PartitionUsage{}, listed: map[string]kfs.SettledSegment{}, ranges: map[kfs.PartitionID][]sized{}}
	u.Journals, u.Snapshots, u.Jobs, u.Usage.Partitions = []JournalUsage{}, []SnapshotHold{}, []JobHold{}, []PartitionUsage{}
	found := map[uint32]*journalKeys{}
	var rest []blob.Info // segments, indexes, and what is none of the kinds
	for page, err := range store.List(ctx, "", "") {
		if err != nil {
			return nil, fmt.Errorf("list: %w", err)
		}
		u.Requests.Lists++
		u.At = page.ServerTime
		for _, o := range page.Objects {
			u.Objects++
			u.Bytes += o.Size
			if number, ok := journalOf(o.Key); ok {
				j := found[number]
				if j == nil {
					j = &journalKeys{}
					found[number] = j
				}
				j.keys = append(j.keys, o)
				continue
			}
			rest = append(rest, o)
		}
	}
	numbers := make([]uint32, 0, len(found))
	for number := range found {
		numbers = append(numbers, number)
	}
	slices.Sort(numbers)
	if err := u.snapshots(ctx, rest); err != nil {
		return nil, err
	}
	for _, number := range numbers {
		if err := u.journal(ctx, number, found[number]); err != nil {
			return nil, err
		}
	}
	for _, o := range rest {
		u.key(o)
	}
	if err := u.jobs(ctx, rest); err != nil {
		return nil, err
	}
	for _, p := range u.partitions {
		u.Usage.Partitions = append(u.Usage.Partitions, *p)
	}
	slices.SortFunc(u.Usage.Partitions, func(a, b PartitionUsage) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), slices.Compare(a.ID[:], b.ID[:]), cmp.Compare(a.Partition, b.Partition))
	})
	return &u.Usage, nil
}

// journalKeys are the keys of one journal.
type journalKeys struct{ keys []blob.Info }

// get reads a whole object, or its end.
func (u *usage) get(ctx context.Context, key string, r blob.Range) ([]byte, blob.Info, error) {
	u.Requests.Gets++
	return blob.ReadAll(ctx, u.store, key, r, maxObject)
}

// partition finds a partition.
func (u *usage) partition(id kfs.PartitionID, name string) *PartitionUsage {
	p, ok := u.partitions[id]
	if !ok {
		p = &PartitionUsage{Topic: name, ID: id.Topic, Partition: id.Partition}
		u.partitions[id] = p
	}
	if p.Topic == "" {
		p.Topic = name
	}
	return p
}

// journal counts one journal.
func (u *usage) journal(ctx context.Context, number uint32, found *journalKeys) error {
	c, err := u.checkpoint(ctx, number, found)
	if err != nil {
		return err
	}
	j := JournalUsage{Journal: number}
	for _, o := range found.keys {
		_, sequence, ok := kfs.ParseObjectKey(o.Key)
		switch {
		case !ok:
			j.Meta.add(o.Size)
			continue
		case c != nil && released(c, sequence):
			j.Released.add(o.Size)
			if u.hold(o.Size, func(n *snapshotNeeds) bool { return n.object(number, sequence) }) {
				j.Held.add(o.Size)
			}
		default:
			j.Live.add(o.Size)
			if c == nil || sequence > c.Sequence {
				if err := u.behind(ctx, o); err != nil {
					return err
				}
			}
		}
		if u.At.Sub(o.Modified) < 24*time.Hour {
			j.Day.add(o.Size)
		}
	}
	if c != nil && j.Released.Objects > 0 {
		since := int64(0)
		for _, r := range c.Released {
			since = r.Since
		}
		if since > 0 {
			j.Since = time.UnixMilli(since).UTC()
		}
	}
	u.Journals = append(u.Journals, j)
	return nil
}

// checkpoint loads a journal's newest checkpoint and what it indexes; nil if there is none.
func (u *usage) checkpoint(ctx context.Context, number uint32, found *journalKeys) (*kfs.Checkpoint, error) {
	newest := ""
	for _, o := range found.keys {
		if _, _, ok := kfs.ParseCheckpointKey(o.Key); ok {
			newest = o.Key
		}
	}
	if newest == "" {
		return nil, nil
	}
	body, _, err := u.get(ctx, newest, blob.All)
	if err != nil {
		return nil, err
	}
	c, err := kfs.DecodeCheckpoint(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", newest, err)
	}
	for i := range c.Partitions {
		s := &c.Partitions[i]
		p := u.partition(s.ID(), s.Name)
		p.Ended, p.LogStart, p.Next = s.Ended, s.LogStart, s.Next
		u.list(s.ID(), s.Settled)
	}
	var objects []kfs.Object
	for _, ref := range c.Pages {
		key := kfs.PageKey(number, ref.First, ref.Last)
		body, _, err := u.get(ctx, key, blob.All)
		if err != nil {
			return nil, err
		}
		page, err := kfs.DecodePage(body)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		objects = append(objects, page.Objects...)
	}
	for _, o := range append(objects, c.Objects...) {
		if !released(c, o.Sequence) {
			u.segments(o.Segments)
		}
	}
	return c, nil
}

// behind counts an object that no checkpoint covers.
func (u *usage) behind(ctx context.Context, o blob.Info) error {
	for n := int64(kfs.TailSize); ; {
		body, info, err := u.get(ctx, o.Key, blob.Last(n))
		if errors.Is(err, blob.ErrNotFound) {
			return nil // deleted since it was listed
		}
		if err != nil {
			return err
		}
		m, _, need, err := kfs.OpenTail(body, info.Size)
		if err != nil {
			return fmt.Errorf("%s: %w", o.Key, err)
		}
		if need > n {
			n = need
			continue
		}
		u.segments(m.Segments)
		for i := range m.Segments {
			s := &m.Segments[i]
			u.partition(s.ID(), s.Name).Next = s.Span.Next
		}
		for _, e := range m.Entries {
			u.entry(e)
		}
		return nil
	}
}

// segments counts segments of a journal object.
func (u *usage) segments(all []kfs.Segment) {
	for i := range all {
		s := &all[i]
		p := u.partition(s.ID(), s.Name)
		p.Journal += s.Length
		u.ranges[s.ID()] = append(u.ranges[s.ID()], sized{s.Span, s.Length, true})
	}
}

func (u *usage) entry(e kfs.Entry) {
	switch e := e.(type) {
	case kfs.Trim:
		p := u.partition(kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}, "")
		p.LogStart = max(p.LogStart, e.LogStart)
	case kfs.Settled:
		u.list(kfs.PartitionID{Topic: e.Topic, Partition: e.Partition}, e.Segments)
	case kfs.Ended:
		for id, p := range u.partitions {
			if id.Topic == e.Topic {
				p.Ended, p.LogStart = true, p.Next
			}
		}
	}
}

func (u *usage) list(id kfs.PartitionID, segments []kfs.SettledSegment) {
	for _, s := range segments {
		u.listed[s.Key] = s
		u.ranges[id] = append(u.ranges[id], sized{s.Span, s.Length, false})
	}
}

// key counts a key that is no journal's.
func (u *usage) key(o blob.Info) {
	segment := o.Key
	if name, ok := strings.CutSuffix(o.Key, ".index"); ok {
		segment = name + ".kfs"
	}
	topic, name, number, _, ok := kfs.ParseSegmentKey(segment)
	if !ok {
		u.Other.add(o.Size)
		return
	}
	p := u.partition(kfs.PartitionID{Topic: topic, Partition: number}, name)
	if s, ok := u.listed[segment]; ok && !p.Ended && s.Span.Next > p.LogStart {
		p.Segments.add(o.Size)
	} else {
		p.Waiting.add(o.Size)
		if u.hold(o.Size, func(n *snapshotNeeds) bool { return n.segment(segment) }) {
			p.Held.add(o.Size)
		}
	}
	if u.At.Sub(o.Modified) < 24*time.Hour {
		p.Day.add(o.Size)
	}
}

// jobs reads what jobs hold.
func (u *usage) jobs(ctx context.Context, rest []blob.Info) error {
	for _, o := range rest {
		name, ok := kfs.ParseJobKey(o.Key)
		if !ok {
			continue
		}
		hold := JobHold{Job: name}
		body, _, err := u.get(ctx, o.Key, blob.All)
		if err != nil && !errors.Is(err, blob.ErrNotFound) {
			return err
		}
		from := func(string, kfs.PartitionID) (int64, bool) { return 0, true }
		job, err := kfs.DecodeJob(body)
		if err != nil {
			hold.Err = err.Error()
		} else {
			from = job.Holds()
		}
		for id, p := range u.partitions {
			at, ok := from(p.Topic, id)
			at = max(at, p.LogStart)
			settled := int64(0)
			for _, r := range u.ranges[id] {
				if !r.journal {
					settled = max(settled, r.span.Next)
				}
			}
			for _, r := range u.ranges[id] {
				if ok && !p.Ended && r.span.Next > at && (!r.journal || r.span.Next > settled) {
					hold.Bytes += r.bytes
				}
			}
		}
		u.Jobs = append(u.Jobs, hold)
	}
	return nil
}
