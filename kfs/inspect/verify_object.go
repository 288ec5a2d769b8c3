package inspect

import (
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/record"
)

// object verifies a journal object by itself, down to its record batches. The manifest is nil if it cannot be read; then nothing is
// known of what the object holds.
func (v *Verifier) object(f file) (m *kfs.Manifest, crc uint32) {
	v.summary.Objects++
	defer v.done(f.Size)
	m, crc, _, err := kfs.OpenTail(f.body, int64(len(f.body)))
	if err != nil {
		v.find(f.Key, 0, "%w", err)
		return nil, 0
	}
	if err := sameObject(f.Key, m); err != nil {
		v.find(f.Key, 0, "%w", err)
		return nil, 0
	}
	if err := m.CheckHeader(f.body); err != nil {
		v.find(f.Key, 0, "%w", err)
	}
	for i := range m.Segments {
		s := &m.Segments[i]
		body := s.Bytes(f.body)
		if err := s.Check(body); err != nil {
			v.find(f.Key, s.Position, "%w", err)
			continue
		}
		v.batches(f.Key, s, body)
	}
	return m, crc
}

// batches compares the record batches of a segment with what the manifest says of them.
func (v *Verifier) batches(key string, s *kfs.Segment, body []byte) {
	at := s.Position
	find := func(format string, args ...any) {
		v.find(key, at, "%s/%d %s: "+format, append([]any{s.Name, s.Partition, s.Span}, args...)...)
	}
	next, records, latest := s.Span.Base, int64(0), int64(-1)
	var producers []kfs.ProducerBatch
	for batch, err := range record.Batches(body) {
		if err != nil {
			find("%w", err)
			return
		}
		h, _ := record.ParseHeader(batch) // Batches has parsed it
		if err := record.Verify(batch); err != nil {
			find("batch at offset %d: %w", h.BaseOffset, err)
		}
		if h.BaseOffset != next {
			find("batch at offset %d stands where offset %d belongs", h.BaseOffset, next)
		}
		if h.IsTransactional() || h.IsControl() {
			find("batch at offset %d is transactional", h.BaseOffset)
		}
		if h.HasProducer() {
			producers = append(producers, kfs.ProducerBatch{
				ProducerID: h.ProducerID, ProducerEpoch: h.ProducerEpoch, FirstSequence: h.BaseSequence, LastSequence: h.LastSequence(),
				BaseOffset: h.BaseOffset, LastOffset: h.LastOffset(), MaxTimestamp: h.MaxTimestamp,
			})
		}
		v.summary.Batches++
		v.summary.Records += int64(h.Records)
		records += int64(h.Records)
		latest = max(latest, h.MaxTimestamp)
		next = h.LastOffset() + 1
		at += int64(len(batch))
	}
	at = s.Position
	if next != s.Span.Next {
		find("its batches end at offset %d", next)
	}
	if records != int64(s.Records) {
		find("its batches hold %d records, the manifest says %d", records, s.Records)
	}
	if latest != s.MaxTimestamp {
		find("the latest time of its batches is %d, the manifest says %d", latest, s.MaxTimestamp)
	}
	if !slices.Equal(producers, s.Producers) {
		find("the manifest's producer batches are not those of its batches")
	}
}
