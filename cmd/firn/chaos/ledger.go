package chaos

import (
	"fmt"
	"slices"
	"sync"
)

// Producer is what a topic's producer promises. Each partition has one producer, which numbers its records from 0.
type Producer uint8

const (
	// Idempotent: each record once, in the order of their numbers, without a gap.
	Idempotent Producer = iota
	// Plain: a record may be there several times, for it was sent again when nobody knew whether it had arrived. Each first copy is in order.
	Plain
)

// Partition is a partition of a topic.
type Partition struct {
	Topic  string
	Number int32
}

// String is topic/number.
func (p Partition) String() string { return fmt.Sprintf("%s/%d", p.Topic, p.Number) }

// Ledger holds what producers were told against what consumers read, whoever reads and whenever. It is safe for concurrent use.
type Ledger struct {
	mu         sync.Mutex // guards what follows
	producers  map[string]Producer
	partitions map[Partition]*pages
	wrong      []error // found on the way
	more       int     // beyond maxWrong
}

// maxWrong bounds the findings that are kept; further ones are counted.
const maxWrong = 20

// pages are the books of one partition.
type pages struct {
	told   map[int64]int64 // record number: the offset that its producer was told
	read   map[int64]entry // by offset
	unread int             // acknowledged, and read by nobody yet
	start  int64           // offsets below it may be gone
}

type entry struct {
	number int64
	reader string
}

// NewLedger begins the books.
func NewLedger() *Ledger {
	return &Ledger{producers: map[string]Producer{}, partitions: map[Partition]*pages{}}
}

// Expect says what the producer of a topic promises; by default it is Idempotent.
func (l *Ledger) Expect(topic string, producer Producer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.producers[topic] = producer
}

func (l *Ledger) of(p Partition) *pages {
	if l.partitions[p] == nil {
		l.partitions[p] = &pages{told: map[int64]int64{}, read: map[int64]entry{}}
	}
	return l.partitions[p]
}

func (l *Ledger) find(format string, args ...any) {
	if len(l.wrong) >= maxWrong {
		l.more++
		return
	}
	l.wrong = append(l.wrong, fmt.Errorf(format, args...))
}

// Told notes that a record was acknowledged.
func (l *Ledger) Told(p Partition, number, offset int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.of(p)
	if at, again := b.told[number]; again {
		l.find("%s: record %d was acknowledged at offset %d and at %d", p, number, at, offset)
		return
	}
	b.told[number] = offset
	if _, ok := b.read[offset]; !ok {
		b.unread++
	}
}

// Failed notes that a record was refused: in these tests none may be.
func (l *Ledger) Failed(p Partition, number int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.find("%s: record %d was not acknowledged: %w", p, number, err)
}

// Read notes what a reader has found.
func (l *Ledger) Read(reader string, p Partition, offset, number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.of(p)
	if before, ok := b.read[offset]; ok {
		if before.number != number {
			l.find("%s: at offset %d %s has read record %d, and %s record %d", p, offset, before.reader, before.number, reader, number)
		}
		return
	}
	b.read[offset] = entry{number, reader}
	if at, ok := b.told[number]; ok && at == offset {
		b.unread--
	}
}

// Trimmed notes that what lies below an offset may be gone.
func (l *Ledger) Trimmed(p Partition, start int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of(p).start = max(l.of(p).start, start)
}

// Acknowledged is how many records of a topic were.
func (l *Ledger) Acknowledged(topic string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, b := range l.partitions {
		if p.Topic == topic {
			n += len(b.told)
		}
	}
	return n
}

// Seen is how many offsets of all topics somebody has read.
func (l *Ledger) Seen() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.partitions {
		n += len(b.read)
	}
	return n
}

// Unread is an error while something that was acknowledged in the topics has been read by nobody.
func (l *Ledger) Unread(topics ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, b := range l.partitions {
		if b.unread == 0 || !slices.Contains(topics, p.Topic) {
			continue
		}
		for number, offset := range b.told {
			if e, ok := b.read[offset]; (!ok || e.number != number) && offset >= b.start {
				return fmt.Errorf("%s: %d acknowledged records were not read, among them %d at offset %d", p, b.unread, number, offset)
			}
		}
	}
	return nil
}

// Check compares the books, when partitions were read in full: from their log starts to their ends, which are given. It gives everything
// that is wrong, also what was found on the way.
func (l *Ledger) Check(ends map[Partition]int64) []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]Partition, 0, len(l.partitions))
	for p := range l.partitions {
		all = append(all, p)
	}
	slices.SortFunc(all, func(a, b Partition) int {
		if a.Topic != b.Topic {
			return slices.Compare([]byte(a.Topic), []byte(b.Topic))
		}
		return int(a.Number - b.Number)
	})
	for _, p := range all {
		l.check(p, l.partitions[p], ends[p])
	}
	if l.more > 0 {
		return append(slices.Clone(l.wrong), fmt.Errorf("and %d more", l.more))
	}
	return slices.Clone(l.wrong)
}

// check compares the books of one partition.
func (l *Ledger) check(p Partition, b *pages, end int64) {
	for number, offset := range b.told {
		e, ok := b.read[offset]
		switch {
		case offset < b.start:
		case !ok:
			l.find("%s: record %d was acknowledged at offset %d, where nothing is", p, number, offset)
		case e.number != number:
			l.find("%s: record %d was acknowledged at offset %d, where record %d is", p, number, offset, e.number)
		}
	}
	for offset := range b.read {
		if offset >= end {
			l.find("%s: offset %d was read, and the end is %d", p, offset, end)
		}
	}
	l.order(p, b, end)
}

// order checks that offsets are without holes, and that records are in order.
func (l *Ledger) order(p Partition, b *pages, end int64) {
	next := int64(-1) // the number that must come; -1: whatever comes first behind a log start
	if b.start == 0 {
		next = 0
	}
	for offset := b.start; offset < end; offset++ {
		e, ok := b.read[offset]
		switch {
		case !ok:
			l.find("%s: offset %d is missing before the end %d", p, offset, end)
			return
		case next < 0, e.number == next:
			next = e.number + 1
		case e.number < next && l.producers[p.Topic] == Plain:
		case e.number < next:
			l.find("%s: record %d of an idempotent producer is at offset %d, and was before", p, e.number, offset)
			return
		default:
			l.find("%s: record %d is at offset %d, before %d", p, e.number, offset, next)
			return
		}
	}
}
