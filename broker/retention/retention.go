// Package retention moves the log starts of partitions: what is older or larger than a topic's retention.ms and retention.bytes want to
// keep goes, as soon as it is due, by trims that the owner of a journal commits there. What is deleted of it, and when, is the journal's.
//
// It promises: nothing goes that the topic's settings keep. What a registered job may still read stays too, up to a limit; beyond that
// it goes, and a metric and the log say so. A job whose object cannot be read needs everything. What it never does: read a record, write
// where nothing changes, or ask the store for anything while no record is due.
//
// Each partition is judged by one pure function (decide.go); the jobs' objects are read seldom (holds.go). Time is the store's, as its
// last answer told it, so that a wrong clock of a broker trims nothing.
package retention

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

const (
	// every is how often the partitions of a journal are judged, and so the time within which a changed setting counts. Trims of a journal
	// go together: where nothing else is written they are one object at a time.
	every = 30 * time.Second
	// defaultLimit is how long beyond retention.ms a job can keep records.
	defaultLimit = 7 * 24 * time.Hour
	maxTrims     = 1000 // at a time
)

// Config is what a Keeper needs. Limit, Now, Log and Metrics may be left out.
type Config struct {
	Store blob.Store // the namespace
	// Metadata is the cluster's state, and the sequence of journal 0 up to which it is known.
	Metadata func() (*metadata.State, uint64)
	Limit    time.Duration // how long beyond retention.ms a job can keep records; default 7 days

	Now     func() time.Time      // default time.Now
	Log     *slog.Logger          // default discards
	Metrics prometheus.Registerer // default none
}

// Log is the journal whose partitions are judged: a journal.Journal.
type Log interface {
	// Partitions are those that may have records.
	Partitions() []kfs.PartitionID
	// Offsets are the log start and the next offset of a partition.
	Offsets(id kfs.PartitionID) (start, next int64)
	// Available is the number of bytes of a partition from an offset on.
	Available(id kfs.PartitionID, from int64) int64
	// Ranges are the ranges of a partition, oldest first.
	Ranges(id kfs.PartitionID) iter.Seq[journal.Range]
	// AppendEntries makes trims durable.
	AppendEntries(entries []kfs.Entry) *journal.Pending
}

var _ Log = (*journal.Journal)(nil)

// Keeper keeps the retention of the journals of one broker. Its methods are safe for concurrent use.
type Keeper struct {
	cfg     Config
	metrics *metrics
	turn    chan struct{} // holds a token while somebody reads the jobs
	known   atomic.Pointer[holds]
}

// New makes a Keeper. It does no I/O.
func New(cfg Config) *Keeper {
	if cfg.Limit == 0 {
		cfg.Limit = defaultLimit
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Keeper{cfg: cfg, metrics: newMetrics(cfg.Metrics), turn: make(chan struct{}, 1)}
}

// Run judges the partitions of a journal again and again until ctx ends.
func (k *Keeper) Run(ctx context.Context, number uint32, l Log) {
	gauge := k.metrics.held.WithLabelValues(fmt.Sprint(number))
	defer k.metrics.held.DeleteLabelValues(fmt.Sprint(number))
	ticks := time.NewTicker(every)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
		held, err := k.keep(ctx, l)
		switch {
		case err == nil:
			gauge.Set(float64(held))
		case ctx.Err() == nil && !errors.Is(err, journal.ErrNotOwner):
			k.cfg.Log.Warn("retention waits for the next turn", "journal", number, "err", err)
		}
	}
}

// due is a partition of which something goes.
type due struct {
	id      kfs.PartitionID
	topic   string
	verdict verdict
	job     string // that holds it
}

// keep commits the trims that are due. It gives the bytes that would go but for jobs.
func (k *Keeper) keep(ctx context.Context, l Log) (held int64, err error) {
	state, sequence := k.cfg.Metadata()
	if len(k.judge(state, l, k.known.Load(), false)) == 0 {
		return 0, nil
	}
	h, err := k.holds(ctx)
	if err != nil {
		return 0, err
	}
	var trims []kfs.Entry
	var going []due
	for _, d := range k.judge(state, l, h, true) {
		held += d.verdict.held
		if d.verdict.bytes > 0 && len(trims) < maxTrims {
			going = append(going, d)
			trims = append(trims, kfs.Trim{Topic: d.id.Topic, Partition: d.id.Partition, LogStart: d.verdict.start, Metadata: sequence})
		}
	}
	if len(trims) == 0 {
		return held, nil
	}
	results, err := l.AppendEntries(trims).Wait(ctx)
	if err != nil {
		return held, err
	}
	if err := results[0].Err; err != nil { // all or none
		return held, err
	}
	for _, d := range going {
		k.tell(d)
	}
	return held, nil
}

// judge judges all partitions; h may be nil, and counts for what is held only with jobs.
func (k *Keeper) judge(state *metadata.State, l Log, h *holds, jobs bool) []due {
	now := k.cfg.Now().UnixMilli()
	if h != nil {
		now += h.ahead
	}
	var all []due
	for _, id := range l.Partitions() {
		t, ok := state.TopicByID(id.Topic)
		if !ok || t.State != kfs.TopicLive || !t.Settings.Delete {
			continue
		}
		d := due{id: id, topic: t.Name}
		p := policy{age: t.Settings.RetentionMillis, bytes: t.Settings.RetentionBytes, limit: k.cfg.Limit}
		from := int64(nobody)
		if jobs {
			from, d.job = h.from(t.Name, id)
		}
		start, _ := l.Offsets(id)
		d.verdict = decide(start, l.Ranges(id), l.Available(id, start), p, from, now)
		if d.verdict.bytes > 0 || d.verdict.held > 0 {
			all = append(all, d)
		}
	}
	return all
}

// tell says what a trim has taken.
func (k *Keeper) tell(d due) {
	k.metrics.trims.Inc()
	k.metrics.bytes.Add(float64(d.verdict.bytes))
	log := k.cfg.Log.With("topic", d.topic, "partition", d.id.Partition)
	log.Debug("retention has moved the log start", "start", d.verdict.start, "bytes", d.verdict.bytes)
	if lost := d.verdict.overrun; !lost.Empty() {
		k.metrics.overrun.Add(float64(lost.Len()))
		log.Error("records went that a job had not read yet, or could want again: they were older than retention.ms and the limit for jobs together",
			"job", d.job, "offsets", lost.String(), "limit", k.cfg.Limit)
	}
}
