package kfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// Snapshot is a restore point: where all journals stood at one time, and what it needs of them, which is not deleted while it is there. It is
// put once, as JSON, at SnapshotKey, after the states that it names.
//
// The journals were read to their ends one after the other, journal 0 last. So what was acknowledged before Created is in it, whatever the
// journal; a topic of which another journal holds records is in journal 0's state unless it was deleted meanwhile; and producer ids that
// records carry have been given out.
type Snapshot struct {
	Version  int               `json:"version"` // SnapshotVersion
	Name     string            `json:"snapshot"`
	ID       TopicID           `json:"id"`      // random: the same name may be used again
	Created  int64             `json:"created"` // when reading began, Unix milliseconds by the store's clock
	Cluster  ClusterID         `json:"cluster"`
	Lineage  TopicID           `json:"lineage"`
	Topics   int               `json:"topics"`
	Journals []SnapshotJournal `json:"journals"` // those that had begun, in order of number
}

// SnapshotJournal is where a restore point cuts a journal, and what it needs of it.
type SnapshotJournal struct {
	Journal   uint32 `json:"journal"`
	Sequence  uint64 `json:"sequence"`   // of the last object that counts
	ObjectCRC uint32 `json:"object_crc"` // that object's Object CRC
	From      uint64 `json:"from"`       // the first object that is needed, and so are all behind it up to Sequence; Sequence+1 if none is
	Length    int64  `json:"length"`     // of the object at SnapshotStateKey, a checkpoint
	CRC       uint32 `json:"crc"`        // CRC-32C in its footer; see MetaChecksum

	// What it comes to, for people.
	Partitions int   `json:"partitions"`    // of topics that are there
	Records    int64 `json:"records"`       // offsets between their log starts and ends
	Bytes      int64 `json:"bytes"`         // of the objects from From to Sequence
	Segments   int   `json:"segments"`      // settled
	Settled    int64 `json:"settled_bytes"` // in them
}

// SnapshotVersion is the version of Snapshot that is written and read.
const SnapshotVersion = 1

// MaxSnapshotBytes bounds the object of a restore point, in bytes.
const MaxSnapshotBytes = 16 << 20

// DecodeSnapshot reads the object of the restore point of that name. Errors are ErrVersion and ErrCorrupt, also for fields that version 1 does
// not have, and for another name.
func DecodeSnapshot(body []byte, name string) (*Snapshot, error) {
	var s Snapshot
	if err := decodeJSON(body, "restore point", MaxSnapshotBytes, SnapshotVersion, &s); err != nil {
		return nil, err
	}
	if s.Name != name {
		return nil, corrupt("it says that it is restore point %q", s.Name)
	}
	return &s, nil
}

// EncodeSnapshot is the object of a restore point; the same Validate runs as when it is read.
func EncodeSnapshot(s *Snapshot) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("restore point: %w", err)
	}
	return json.Marshal(s)
}

// Validate checks the restore point by itself.
func (s *Snapshot) Validate() error {
	if s.Version != SnapshotVersion {
		return fmt.Errorf("version %d is not %d", s.Version, SnapshotVersion)
	}
	if err := ValidateSnapshotName(s.Name); err != nil {
		return err
	}
	switch {
	case s.ID.IsZero() || s.Cluster.IsZero() || s.Lineage.IsZero():
		return fmt.Errorf("id %s, cluster %s, lineage %s", s.ID, s.Cluster, s.Lineage)
	case s.Created <= 0 || s.Topics < 0:
		return fmt.Errorf("created at %d, %d topics", s.Created, s.Topics)
	case len(s.Journals) == 0 || s.Journals[0].Journal != 0:
		return errors.New("journal 0 is missing")
	}
	for i := range s.Journals {
		j := &s.Journals[i]
		switch {
		case j.Journal >= MaxJournals || i > 0 && j.Journal <= s.Journals[i-1].Journal:
			return fmt.Errorf("journal %d is not in order below %d", j.Journal, MaxJournals)
		case j.From > j.Sequence && j.From-1 != j.Sequence || j.Length <= 0:
			return fmt.Errorf("journal %d: objects from %d to %d, a state of %d bytes", j.Journal, j.From, j.Sequence, j.Length)
		case j.Partitions < 0 || j.Records < 0 || j.Bytes < 0 || j.Segments < 0 || j.Settled < 0:
			return fmt.Errorf("journal %d: %d partitions, %d records in %d bytes and %d segments of %d bytes", j.Journal, j.Partitions, j.Records, j.Bytes, j.Segments, j.Settled)
		}
	}
	return nil
}

// Find is what the restore point says of a journal; nil if the journal had not begun.
func (s *Snapshot) Find(journal uint32) *SnapshotJournal {
	for i := range s.Journals {
		if s.Journals[i].Journal == journal {
			return &s.Journals[i]
		}
	}
	return nil
}

// NewSnapshotJournal makes what a restore point says of a journal from the journal's state: a checkpoint without pages, of which every object
// from its first to its sequence is needed. body is that checkpoint, encoded.
func NewSnapshotJournal(c *Checkpoint, body []byte) SnapshotJournal {
	j := SnapshotJournal{
		Journal: c.Journal, Sequence: c.Sequence, ObjectCRC: c.ObjectCRC, From: c.Sequence + 1, Length: int64(len(body)), CRC: MetaChecksum(body),
	}
	if len(c.Objects) > 0 {
		j.From = c.Objects[0].Sequence
	}
	for i := range c.Objects {
		j.Bytes += c.Objects[i].Size
	}
	for i := range c.Partitions {
		if p := &c.Partitions[i]; !p.Ended {
			j.Partitions++
			j.Records += p.Next - p.LogStart
		}
	}
	for _, s := range c.NeededSegments() {
		j.Segments++
		j.Settled += s.Length
	}
	return j
}

// Open reads the state of a journal and checks that it is the one that the restore point means.
func (j *SnapshotJournal) Open(body []byte) (*Checkpoint, error) {
	if crc := MetaChecksum(body); int64(len(body)) != j.Length || crc != j.CRC {
		return nil, corrupt("%d bytes with CRC %08x, the restore point says %d with %08x", len(body), crc, j.Length, j.CRC)
	}
	c, err := DecodeCheckpoint(body)
	if err != nil {
		return nil, err
	}
	if again := NewSnapshotJournal(c, body); again != *j {
		return nil, corrupt("it is a state that comes to %+v, the restore point says %+v", again, *j)
	}
	if len(c.Pages) > 0 {
		return nil, corrupt("it names %d index pages: a restore point needs none", len(c.Pages))
	}
	for i := range c.Objects {
		if want := j.From + uint64(i); c.Objects[i].Sequence != want {
			return nil, corrupt("it names object %d where %d is expected", c.Objects[i].Sequence, want)
		}
	}
	if n := len(c.Objects); n > 0 && c.Objects[n-1].Sequence != j.Sequence {
		return nil, corrupt("its objects end with %d, the journal with %d", c.Objects[n-1].Sequence, j.Sequence)
	}
	return c, nil
}

// NeededSegments are the listed settled segments of partitions that are there which do not lie wholly before the log start.
func (c *Checkpoint) NeededSegments() iter.Seq2[*PartitionState, *SettledSegment] {
	return func(yield func(*PartitionState, *SettledSegment) bool) {
		for i := range c.Partitions {
			p := &c.Partitions[i]
			for k := range p.Settled {
				if s := &p.Settled[k]; !p.Ended && s.Span.Next > p.LogStart && !yield(p, s) {
					return
				}
			}
		}
	}
}

// ValidateSnapshotName refuses names that a restore point cannot have: those that ValidateTopicName refuses, and those that end with ".json".
func ValidateSnapshotName(name string) error {
	if err := ValidateTopicName(name); err != nil {
		return fmt.Errorf("name of the restore point: %w", err)
	}
	if strings.HasSuffix(name, jsonSuffix) {
		return fmt.Errorf("name of the restore point: %q ends with %s", name, jsonSuffix)
	}
	return nil
}

const jsonSuffix = ".json"

// SnapshotKey is the key of a restore point. name must have passed ValidateSnapshotName: any other is a bug of the caller, and panics.
func SnapshotKey(name string) string {
	mustBeName(name)
	return SnapshotsPrefix + name + jsonSuffix
}

// SnapshotStatesPrefix is what the keys of the states of a restore point, and of others that had or were to have its name, begin with.
func SnapshotStatesPrefix(name string) string {
	mustBeName(name)
	return SnapshotsPrefix + name + "/"
}

// SnapshotStateKey is the key of the state of a journal at a restore point: a checkpoint. It panics as SnapshotKey does.
func SnapshotStateKey(name string, id TopicID, journal uint32) string {
	return fmt.Sprintf("%s%s/%04d.kfm", SnapshotStatesPrefix(name), id, journal)
}

// ParseSnapshotKey takes the key of a restore point apart; ok is false for any other key.
func ParseSnapshotKey(key string) (name string, ok bool) {
	name, under := strings.CutPrefix(key, SnapshotsPrefix)
	name, ok = strings.CutSuffix(name, jsonSuffix)
	if !under || !ok || ValidateSnapshotName(name) != nil {
		return "", false
	}
	return name, true
}

// ParseSnapshotStateKey takes the key of a state at a restore point apart; ok is false for any other key.
func ParseSnapshotStateKey(key string) (name string, id TopicID, journal uint32, ok bool) {
	rest, _ := strings.CutPrefix(key, SnapshotsPrefix)
	parts := strings.Split(rest, "/")
	if len(parts) != 3 || ValidateSnapshotName(parts[0]) != nil {
		return "", id, 0, false
	}
	id, err := ParseTopicID(parts[1])
	if err != nil {
		return "", id, 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSuffix(parts[2], ".kfm"), 10, 32)
	if err != nil || key != SnapshotStateKey(parts[0], id, uint32(n)) { // each key has one spelling
		return "", id, 0, false
	}
	return parts[0], id, uint32(n), true
}
