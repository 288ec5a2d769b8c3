package inspect

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
)

// Selection says which records are wanted. The zero value is all of them.
type Selection struct {
	Topic     string // name or id; "" for all
	Partition int32  // -1 for all
	From      int64  // the first offset
	Max       int64  // how many records at most; 0 for all
}

// Record is one stored record and where it belongs. Its slices are valid until the next one.
type Record struct {
	Topic     string      // empty for a segment whose key does not tell
	TopicID   kfs.TopicID // zero for a segment whose key does not tell
	Partition int32
	record.Record
}

func (s Selection) wants(id kfs.TopicID, name string, partition int32, span kfs.Span) bool {
	return (s.Topic == "" || s.Topic == name || s.Topic == id.String()) &&
		(s.Partition < 0 || s.Partition == partition) && span.Next > s.From
}

// ObjectRecords gives the selected records of one object, a journal object or a settled segment. The whole object is checked first.
func ObjectRecords(ctx context.Context, store blob.Store, key string, want Selection) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		p := printer{want: want, yield: yield}
		body, _, err := blob.ReadAll(ctx, store, key, blob.All, maxObject)
		if err == nil {
			err = p.object(key, body)
		}
		p.end(err)
	}
}

// TopicRecords gives the selected records of a namespace: of each journal, settled segments first, as its newest checkpoint lists
// them, then what the journal objects hold behind them. Records of a partition come in order of offset. It shows what is stored, which
// may be more than a consumer gets: records below the log start, and both lives of a topic that was deleted and created again, each
// with its id.
func TopicRecords(ctx context.Context, store blob.Store, want Selection) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		p := printer{want: want, yield: yield}
		found := false
		for journal, err := range Journals(ctx, store) {
			found = true
			if err == nil {
				err = p.journal(ctx, store, journal)
			}
			if err != nil {
				p.end(err)
				return
			}
		}
		if !found {
			p.end(errors.New("no journals here: is this a namespace? (a single segment of a KafScale bucket can be given by its path)"))
		}
	}
}

// errEnough ends the walk when nobody wants more.
var errEnough = errors.New("enough records")

// printer yields records.
type printer struct {
	want   Selection
	yield  func(Record, error) bool
	count  int64
	reader record.Reader
}

func (p *printer) end(err error) {
	if err != nil && !errors.Is(err, errEnough) {
		p.yield(Record{}, err)
	}
}

func (p *printer) journal(ctx context.Context, store blob.Store, journal uint32) error {
	settled, err := p.settled(ctx, store, journal)
	if err != nil {
		return err
	}
	for tail, err := range readAll(ctx, store, journalObjects(ctx, store, journal, ""), blob.Last(kfs.TailSize)) {
		if err != nil {
			return err
		}
		m, _, err := manifest(ctx, store, tail)
		if err != nil {
			return fmt.Errorf("%s: %w", tail.Key, err)
		}
		for i := range m.Segments {
			s := &m.Segments[i]
			if !p.want.wants(s.Topic, s.Name, s.Partition, s.Span) || s.Span.Next <= settled[s.ID()] {
				continue
			}
			body, _, err := blob.ReadAll(ctx, store, tail.Key, blob.Bytes(s.Position, s.Length), maxObject)
			if err != nil {
				return err
			}
			if err := p.segment(s, body); err != nil {
				return fmt.Errorf("%s: %w", tail.Key, err)
			}
		}
	}
	return nil
}

// settled prints what the newest checkpoint says is settled, and gives the offset up to which each partition is.
func (p *printer) settled(ctx context.Context, store blob.Store, journal uint32) (map[kfs.PartitionID]int64, error) {
	settled := map[kfs.PartitionID]int64{}
	c, err := newestCheckpoint(ctx, store, journal)
	if c == nil || err != nil {
		return settled, err
	}
	for i := range c.Partitions {
		s := &c.Partitions[i]
		for _, segment := range s.Settled {
			settled[s.ID()] = segment.Span.Next
			if !p.want.wants(s.Topic, s.Name, s.Partition, segment.Span) {
				continue
			}
			body, _, err := blob.ReadAll(ctx, store, segment.Key, blob.All, maxObject)
			if err != nil {
				return nil, err
			}
			if err := p.object(segment.Key, body); err != nil {
				return nil, err
			}
		}
	}
	return settled, nil
}

// newestCheckpoint is nil if there is none.
func newestCheckpoint(ctx context.Context, store blob.Store, journal uint32) (*kfs.Checkpoint, error) {
	newest := ""
	for info, err := range objects(ctx, store, kfs.CheckpointPrefix(journal), "") {
		if err != nil {
			return nil, err
		}
		newest = info.Key
	}
	if newest == "" {
		return nil, nil
	}
	body, _, err := blob.ReadAll(ctx, store, newest, blob.All, maxObject)
	if err != nil {
		return nil, err
	}
	c, err := kfs.DecodeCheckpoint(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", newest, err)
	}
	return c, sameCheckpoint(newest, c)
}

// journalObjects lists the objects of a journal in order.
func journalObjects(ctx context.Context, store blob.Store, journal uint32, after string) iter.Seq2[blob.Info, error] {
	return func(yield func(blob.Info, error) bool) {
		for info, err := range objects(ctx, store, kfs.JournalPrefix(journal), after) {
			if err == nil {
				name := strings.TrimPrefix(info.Key, kfs.JournalPrefix(journal))
				if name > "9~" { // behind all digits come checkpoints and pages
					return
				}
				if _, _, ok := kfs.ParseObjectKey(info.Key); !ok {
					continue
				}
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

// object prints the records of a whole object.
func (p *printer) object(key string, body []byte) error {
	version, err := kfs.Version(body)
	if err != nil {
		return fmt.Errorf("%s: %w (records are in .kfs objects)", key, err)
	}
	if version == 1 {
		return within(key, p.settledSegment(key, body))
	}
	m, _, err := kfs.Open(body)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for i := range m.Segments {
		if s := &m.Segments[i]; p.want.wants(s.Topic, s.Name, s.Partition, s.Span) {
			if err := p.segment(s, s.Bytes(body)); err != nil {
				return within(key, err)
			}
		}
	}
	return nil
}

func within(key string, err error) error {
	if err == nil || errors.Is(err, errEnough) {
		return err
	}
	return fmt.Errorf("%s: %w", key, err)
}

func (p *printer) settledSegment(key string, body []byte) error {
	h, err := kfs.OpenSegment(body)
	if err != nil {
		return err
	}
	name, partition, id := segmentOwner(key)
	if name != "" && !p.want.wants(id, name, partition, h.Span) {
		return nil
	}
	return p.batches(Record{Topic: name, TopicID: id, Partition: partition}, body[kfs.SegmentHeaderSize:len(body)-kfs.SegmentFooterSize], kfs.SegmentHeaderSize)
}

// segmentOwner tells from the key whose segment it is: in a namespace of Firn, else by the last two folders, as KafScale has them.
func segmentOwner(key string) (name string, partition int32, id kfs.TopicID) {
	if id, name, partition, _, ok := kfs.ParseSegmentKey(key); ok {
		return name, partition, id
	}
	parts := strings.Split(key, "/")
	if len(parts) < 3 {
		return "", 0, id
	}
	if n, err := fmt.Sscanf(parts[len(parts)-2], "%d", &partition); n != 1 || err != nil {
		return "", 0, id
	}
	return parts[len(parts)-3], partition, id
}

func (p *printer) segment(s *kfs.Segment, body []byte) error {
	if err := s.Check(body); err != nil {
		return err
	}
	return p.batches(Record{Topic: s.Name, TopicID: s.Topic, Partition: s.Partition}, body, s.Position)
}

// batches prints the records of batches that begin at a byte of their object.
func (p *printer) batches(r Record, body []byte, position int64) error {
	at := position
	for batch, err := range record.Batches(body) {
		if err == nil {
			err = record.Verify(batch)
		}
		if err == nil {
			err = p.batch(r, batch)
		}
		if errors.Is(err, errEnough) {
			return err
		}
		if err != nil {
			return fmt.Errorf("%s/%d: batch at byte %d: %w", r.Topic, r.Partition, at, err)
		}
		at += int64(len(batch))
	}
	return nil
}

func (p *printer) batch(r Record, batch []byte) error {
	h, err := record.ParseHeader(batch)
	if err != nil || h.LastOffset() < p.want.From {
		return err
	}
	if err := p.reader.Reset(batch, record.DecompressedBytes); err != nil {
		return err
	}
	for {
		ok, err := p.reader.Next(&r.Record)
		if err != nil || !ok {
			return err
		}
		if r.Offset < p.want.From {
			continue
		}
		if !p.yield(r, nil) {
			return errEnough
		}
		if p.count++; p.count == p.want.Max {
			return errEnough
		}
	}
}
