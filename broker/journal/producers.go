package journal

import (
	"cmp"
	"math"
	"slices"

	"github.com/firn-io/firn/kfs"
)

// rememberedBatches is how many batches a partition remembers of a producer, to answer retries: as many as Kafka does.
const rememberedBatches = 5

// producer is what a partition knows of an idempotent producer. It is a value: copies are independent.
type producer struct {
	epoch   int16
	count   int
	batches [rememberedBatches]kfs.ProducerBatch // the first count, oldest first
	seen    int64                                // when its last batch was written, or read by this owner: the store's clock, Unix milliseconds
}

// ActiveProducer is an idempotent producer that a partition knows.
type ActiveProducer struct {
	ID           int64
	Epoch        int16
	LastSequence int32 // -1 if no batch of its epoch is remembered
	Seen         int64 // when its last batch was written, or found by this owner at takeover: the store's clock, Unix milliseconds
}

// Producers are the idempotent producers of a partition that are not forgotten yet, in order of id.
func (j *Journal) Producers(id kfs.PartitionID) []ActiveProducer {
	j.index.mu.RLock()
	defer j.index.mu.RUnlock()
	p, ok := j.index.partitions[id]
	if !ok {
		return nil
	}
	active := make([]ActiveProducer, 0, len(p.producers))
	for id, pr := range p.producers {
		a := ActiveProducer{ID: id, Epoch: pr.epoch, LastSequence: -1, Seen: pr.seen}
		if pr.count > 0 {
			a.LastSequence = pr.batches[pr.count-1].LastSequence
		}
		active = append(active, a)
	}
	slices.SortFunc(active, func(a, b ActiveProducer) int { return cmp.Compare(a.ID, b.ID) })
	return active
}

// verdict is what becomes of a batch.
type verdict uint8

const (
	accepted  verdict = iota
	duplicate         // it is there already
	outOfOrder
	fencedEpoch
)

// check judges a batch against what is known; of a duplicate it gives the offset at which it is. A producer that is not known (it is
// new, or was forgotten after a long time) may begin anywhere.
func (p *producer) check(b *kfs.ProducerBatch) (verdict, int64) {
	switch {
	case b.ProducerEpoch < p.epoch:
		return fencedEpoch, 0
	case b.ProducerEpoch > p.epoch:
		if b.FirstSequence != 0 {
			return outOfOrder, 0
		}
		return accepted, 0
	}
	for i := range p.batches[:p.count] {
		if have := &p.batches[i]; have.FirstSequence == b.FirstSequence && have.LastSequence == b.LastSequence {
			return duplicate, have.BaseOffset
		}
	}
	if p.count > 0 && b.FirstSequence != nextSequence(p.batches[p.count-1].LastSequence) {
		return outOfOrder, 0
	}
	return accepted, 0
}

// add remembers a batch that was accepted.
func (p *producer) add(b kfs.ProducerBatch) {
	if b.ProducerEpoch != p.epoch {
		*p = producer{epoch: b.ProducerEpoch, seen: p.seen}
	}
	if p.count == rememberedBatches {
		copy(p.batches[:], p.batches[1:])
		p.count--
	}
	p.batches[p.count] = b
	p.count++
}

// nextSequence is the sequence after s: they wrap to 0 behind the largest int32.
func nextSequence(s int32) int32 {
	if s == math.MaxInt32 {
		return 0
	}
	return s + 1
}
