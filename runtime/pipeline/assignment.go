package pipeline

import (
	"context"
	"errors"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// Assignment says which source partitions this process reads, where several work on one job. It is only about who does what: should two
// processes believe that a partition is theirs, the tables' own positions still let each offset in once.
type Assignment interface {
	// Share is what this process reads now: which turn it is, whether it reads a partition, and a channel that is closed when the next
	// turn has begun.
	Share() (turn uint64, reads func(kfs.PartitionID) bool, changed <-chan struct{})
	// Found says how many partitions, or more, a topic has that the job reads; 0 if the topic is gone and this process has read it to its end.
	Found(topic kfs.TopicID, partitions int32)
	// Settled says that of what this process has read before a turn, and does not read in it, nothing is held or being committed: others
	// may go on from the tables' positions.
	Settled(turn uint64)
}

// Team is an Assignment that knows the processes that share the job.
type Team interface {
	Assignment
	// Self is the id of this process among Workers.
	Self() string
	// Workers are the live ones, with which of these tables each commits to; in order of their ids.
	Workers(tables []string) []kfs.JobWorker
}

// everything is the share of a process that is alone.
type everything struct{}

func (everything) Share() (uint64, func(kfs.PartitionID) bool, <-chan struct{}) {
	return 0, func(kfs.PartitionID) bool { return true }, nil
}
func (everything) Found(kfs.TopicID, int32) {}
func (everything) Settled(uint64)           {}

// shared reports whether other processes may work on the job.
func (c *Config) shared() bool { return c.Assignment != everything{} }

// ofShare is the positions of what is read.
func ofShare(all processor.Positions, reads func(kfs.PartitionID) bool) processor.Positions {
	own := processor.Positions{}
	for source, next := range all {
		if reads(id(source)) {
			own[source] = next
		}
	}
	return own
}

// errReassigned ends a life of a table whose share has changed. What the life had read is committed.
var errReassigned = errors.New("the share of this process has changed")

// enter begins a life of the table: what it reads is settled from now on, as long as it lives.
func (t *table) enter() (reads func(kfs.PartitionID) bool, changed <-chan struct{}) {
	t.mu.Lock()
	t.turn, reads, changed = t.job.cfg.Assignment.Share()
	t.lives = true
	t.status.forget(reads)
	t.countHalted()
	t.mu.Unlock()
	t.job.followed()
	return reads, changed
}

// wants is what the reader of a journal takes from now on.
func (j *Job) wants(journal uint32) func(kfs.PartitionID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	turn, reads, _ := j.cfg.Assignment.Share()
	j.turns[journal] = turn
	return reads
}

// behind reports whether a reader leaves out what a life of a table of that turn reads: its session began with an older share.
func (j *Job) behind(turn uint64) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, began := range j.turns {
		if began < turn {
			return true
		}
	}
	return false
}

// leave ends it.
func (t *table) leave() {
	t.mu.Lock()
	t.lives = false
	t.mu.Unlock()
	t.job.followed()
}

// keepFollowing settles turns of which no table has anything, until ctx has ended.
func (j *Job) keepFollowing(ctx context.Context) {
	for {
		_, _, changed := j.cfg.Assignment.Share()
		j.followed()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// followed says which turn all tables have come to. One that begins meanwhile begins with a turn that is no older.
func (j *Job) followed() {
	turn, _, _ := j.cfg.Assignment.Share()
	j.mu.Lock()
	tables := j.openTables()
	j.mu.Unlock()
	for _, t := range tables {
		t.mu.Lock()
		if t.lives {
			turn = min(turn, t.turn)
		}
		t.mu.Unlock()
	}
	j.cfg.Assignment.Settled(turn)
}
