package snapshot

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/namespace"
)

// ErrNotEmpty says that the place that is to be filled holds something that is not of this restore.
var ErrNotEmpty = errors.New("the place to restore into is not empty")

// RestoreConfig is what a restore needs. From, Name and Into must be set.
type RestoreConfig struct {
	From blob.Store // the namespace with the restore point
	Name string     // of the restore point
	Into blob.Store // an empty namespace, or one that an earlier run has left unfinished

	Parallel int              // copies at a time; default 16
	Progress func(Progress)   // called after each copy, one call at a time; default nobody looks
	Rand     io.Reader        // default crypto/rand
	Now      func() time.Time // default time.Now
	Log      *slog.Logger     // default discards
}

// Progress is how far a restore is.
type Progress struct {
	Objects, Copied    int   // in all, and those that are there
	Bytes, CopiedBytes int64 // indexes are not counted
}

// Plan is what a restore does.
type Plan struct {
	Snapshot *kfs.Snapshot
	Progress               // what is to be copied, and what an earlier run has
	Resumed  bool          // an earlier run has begun
	Cluster  kfs.ClusterID // what the namespace becomes; zero if no run has begun
	Lineage  kfs.TopicID
}

// Restore fills a namespace from a restore point. It is used once, by one goroutine.
type Restore struct {
	cfg    RestoreConfig
	plan   Plan
	states []*kfs.Checkpoint
	items  []item // what is to be copied
	marker *kfs.Restoring
	there  map[string]int64 // the sizes of what the place holds, by key
}

// NewRestore makes a Restore. It does no I/O.
func NewRestore(cfg RestoreConfig) *Restore {
	if cfg.Parallel <= 0 {
		cfg.Parallel = defaultParallel
	}
	if cfg.Progress == nil {
		cfg.Progress = func(Progress) {}
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Restore{cfg: cfg}
}

// Plan finds out what is to be done, and writes nothing. Errors are ErrNotFound, ErrNotEmpty, kfs.ErrCorrupt, kfs.ErrVersion, or a store's.
func (r *Restore) Plan(ctx context.Context) (*Plan, error) {
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	if err := r.look(ctx); err != nil {
		return nil, err
	}
	for _, it := range r.items {
		r.plan.Objects++
		r.plan.Bytes += it.size
		if it.isThere(r.there) {
			r.plan.Copied++
			r.plan.CopiedBytes += it.size
		}
	}
	return &r.plan, nil
}

// Run fills the namespace, after Plan. First it marks it, so that everybody else refuses it; then it copies what is not there yet, and gives each
// journal the checkpoint that it begins with, journal 0 last; then it marks the restore as ended. A run that has ended early is gone on with by another
// one of the same restore point. Two at the same time do no harm to each other while both copy, but that must not be made use of: the one that is
// slower could meet a cluster that is used already.
func (r *Restore) Run(ctx context.Context) error {
	if err := r.mark(ctx); err != nil {
		return err
	}
	if err := r.copyAll(ctx); err != nil {
		return err
	}
	if err := r.check(ctx, false); err != nil {
		return err
	}
	if err := r.begin(ctx); err != nil {
		return err
	}
	if err := r.check(ctx, true); err != nil {
		return err
	}
	return r.end(ctx)
}

// read reads the restore point and the states of its journals.
func (r *Restore) read(ctx context.Context) error {
	if err := namespace.Usable(ctx, r.cfg.From); err != nil {
		return fmt.Errorf("the store to restore from: %w", err)
	}
	s, err := Read(ctx, r.cfg.From, r.cfg.Name)
	if err != nil {
		return err
	}
	r.plan.Snapshot = s
	for i := range s.Journals {
		j := &s.Journals[i]
		key := kfs.SnapshotStateKey(s.Name, s.ID, j.Journal)
		body, _, err := blob.ReadAll(ctx, r.cfg.From, key, blob.All, maxState)
		if errors.Is(err, blob.ErrNotFound) {
			err = fmt.Errorf("the restore point names it, but it is not there: %w", kfs.ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		state, err := j.Open(body)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		r.states = append(r.states, state)
		r.items = append(r.items, itemsOf(state)...)
	}
	cluster, err := stateOf(r.states[0])
	if err == nil && (cluster.Cluster().ID != s.Cluster || cluster.Cluster().Lineage != s.Lineage) {
		err = fmt.Errorf("the state of journal 0 is of cluster %s, the restore point of %s: %w", cluster.Cluster().ID, s.Cluster, kfs.ErrCorrupt)
	}
	return err
}

// look finds out whether the place is empty, or an unfinished restore of the same restore point.
func (r *Restore) look(ctx context.Context) error {
	body, _, err := blob.ReadAll(ctx, r.cfg.Into, kfs.RestoringKey, blob.All, kfs.MaxRestoringBytes)
	switch {
	case errors.Is(err, blob.ErrNotFound):
	case err != nil:
		return fmt.Errorf("the place to restore into: %w", err)
	default:
		if r.marker, err = kfs.DecodeRestoring(body); err != nil {
			return fmt.Errorf("the place to restore into: %s: %w: if nothing in that place is needed, delete all of it", kfs.RestoringKey, err)
		}
		if r.marker.Ended {
			return fmt.Errorf("the place to restore into is cluster %s, restored from restore point %s: start its brokers, or choose a place where nothing is: %w",
				r.marker.Cluster, r.marker.Snapshot, ErrNotEmpty)
		}
		if s := r.plan.Snapshot; r.marker.ID != s.ID || r.marker.Source != s.Cluster {
			return fmt.Errorf("the place to restore into holds an unfinished restore of restore point %s of cluster %s, made otherwise: finish that one, or delete all of that place: %w",
				r.marker.Snapshot, r.marker.Source, ErrNotEmpty)
		}
		r.plan.Resumed, r.plan.Cluster, r.plan.Lineage = true, r.marker.Cluster, r.marker.Lineage
	}
	return r.list(ctx)
}

// list notes what the place holds. Nothing may be there that is not of this restore.
func (r *Restore) list(ctx context.Context) error {
	ours := map[string]bool{kfs.RestoringKey: true}
	for _, it := range r.items {
		ours[it.key] = true
	}
	for _, c := range r.states {
		ours[kfs.CheckpointKey(c.Journal, c.Sequence)] = true
	}
	r.there = map[string]int64{}
	for page, err := range r.cfg.Into.List(ctx, "", "") {
		if err != nil {
			return fmt.Errorf("the place to restore into: %w", err)
		}
		for _, o := range page.Objects {
			switch {
			case ours[o.Key] && r.marker != nil:
			case r.marker != nil:
				return fmt.Errorf("%s is not of this restore; if a broker or job was started too early, stop it, delete all of that place and begin anew: %w", o.Key, ErrNotEmpty)
			default:
				return fmt.Errorf("it holds %s: choose a place where nothing is: %w", o.Key, ErrNotEmpty)
			}
			r.there[o.Key] = o.Size
		}
	}
	return nil
}

// mark puts the marker, or finds it there; then it makes sure again that the place was empty before.
func (r *Restore) mark(ctx context.Context) error {
	if r.marker == nil {
		s := r.plan.Snapshot
		m := &kfs.Restoring{Version: kfs.RestoringVersion, Snapshot: s.Name, ID: s.ID, Source: s.Cluster, Began: r.cfg.Now().UnixMilli()}
		for _, id := range []*kfs.TopicID{&m.Cluster, &m.Lineage} {
			if _, err := io.ReadFull(r.cfg.Rand, id[:]); err != nil {
				return fmt.Errorf("drawing an id: %w", err)
			}
		}
		body, err := kfs.EncodeRestoring(m)
		if err != nil {
			return err
		}
		_, err = putSame(ctx, r.cfg.Into, kfs.RestoringKey, body)
		if errors.Is(err, errOther) {
			return fmt.Errorf("another restore into the same place has begun: %w", ErrNotEmpty)
		}
		if err != nil {
			return err
		}
		r.marker, r.plan.Cluster, r.plan.Lineage = m, m.Cluster, m.Lineage
	}
	return r.list(ctx)
}

// marked makes sure that the place is still marked for this restore.
func (r *Restore) marked(ctx context.Context) error {
	body, _, err := readAgain(ctx, r.cfg.Into, kfs.RestoringKey, kfs.MaxRestoringBytes)
	if errors.Is(err, blob.ErrNotFound) {
		return fmt.Errorf("%s is gone from the place to restore into: does somebody delete what is there? Nothing more was done", kfs.RestoringKey)
	}
	if err != nil {
		return err
	}
	m, err := kfs.DecodeRestoring(body)
	switch {
	case err != nil:
		return err
	case *m == r.ended():
		return errors.New("another run has finished this restore: the place is in use, and nothing more was done")
	case *m != *r.marker:
		return fmt.Errorf("the place is marked for another restore, of restore point %s: %w", m.Snapshot, ErrNotEmpty)
	}
	return nil
}

// check makes sure that all that is to be copied is there as it should be, with checkpoints if they have been put, and nothing else.
func (r *Restore) check(ctx context.Context, begun bool) error {
	if err := r.marked(ctx); err != nil {
		return err
	}
	if err := again(ctx, func() error { return r.list(ctx) }); err != nil {
		return err
	}
	for _, it := range r.items {
		if !it.isThere(r.there) {
			return fmt.Errorf("%s was copied, and is not there as it should be: run it again", it.key)
		}
	}
	for _, c := range r.states {
		key := kfs.CheckpointKey(c.Journal, c.Sequence)
		if _, ok := r.there[key]; begun && !ok {
			return fmt.Errorf("%s was put, and is not there: run it again", key)
		}
	}
	return nil
}

// begin gives each journal the checkpoint that it begins with, journal 0 last: before, there is no cluster.
func (r *Restore) begin(ctx context.Context) error {
	for i := len(r.states) - 1; i >= 0; i-- {
		c := *r.states[i]
		r.marker.Identify(&c)
		body, err := kfs.EncodeCheckpoint(&c)
		if err != nil {
			return err
		}
		if _, err := putSame(ctx, r.cfg.Into, kfs.CheckpointKey(c.Journal, c.Sequence), body); err != nil {
			return err
		}
	}
	return nil
}

// ended is what the marker becomes.
func (r *Restore) ended() kfs.Restoring {
	m := *r.marker
	m.Ended = true
	return m
}

// end marks the restore as ended: from now on the namespace is one like others.
func (r *Restore) end(ctx context.Context) error {
	m := r.ended()
	body, err := kfs.EncodeRestoring(&m)
	if err != nil {
		return err
	}
	err = again(ctx, func() error {
		_, err := r.cfg.Into.Put(ctx, kfs.RestoringKey, body, false)
		return err
	})
	if err != nil {
		return fmt.Errorf("all is there, but %s may not say so yet: run it again: %w", kfs.RestoringKey, err)
	}
	return nil
}
