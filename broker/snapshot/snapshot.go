// Package snapshot makes restore points of a cluster, and brings a cluster back from one, by the bucket alone: no broker is asked, and none is
// kept waiting.
//
// A restore point is a cut through all journals. They are read to their ends one after the other, journal 0 last, while brokers go on. What it
// promises: every record, topic, setting and committed offset that was acknowledged before Create was called is in it, and nothing that was
// acknowledged after it has returned. Of what came in between some journals may have more than others:
//
//   - A topic that was created meanwhile is there; its partitions on journals that were read before have no records.
//   - A topic that was deleted meanwhile is gone if journal 0 had freed its name, and what other journals still held of it does not count;
//     else its deletion goes on in the restored cluster.
//   - An offset that a group committed beyond what was read of the partition counts as the partition's end: the group had read all that is there.
//   - Trims and settled segments count as far as each journal had them.
//
// A restore point holds what it needs against deletion, and only that. Making one needs no lock: what was needed at some time after the making
// began was not released before, and is not deleted before it has been released for grace, which is at least four times LIMIT. So a restore
// point that lands within LIMIT of its beginning, by the store's clock, is seen by every sweep that could touch what it needs, for a sweep's own
// time is that at which it asked for restore points. One that lands later is taken back.
//
//	s, err := snapshot.Create(ctx, cfg, "before-v2")
//	r, err := snapshot.NewRestore(snapshot.RestoreConfig{From: store, Name: "before-v2", Into: other})
//	plan, err := r.Plan(ctx)
//	err = r.Run(ctx)
package snapshot

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
)

const (
	maxState = 1 << 30 // bytes of a journal's state
	readers  = 8       // journals that are read at a time
	tries    = 5       // of a request whose outcome is not known
)

// What callers branch on.
var (
	ErrExists   = errors.New("there is a restore point of that name")
	ErrNotFound = errors.New("there is no restore point of that name")
)

// Config is what making restore points needs. All but Store may be left out.
type Config struct {
	Store blob.Store   // the namespace
	Rand  io.Reader    // default crypto/rand
	Log   *slog.Logger // default discards
}

func (c Config) withDefaults() Config {
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Create makes a restore point. It is there when Create returns without an error, and it is not with ErrExists, or if the namespace is damaged
// (kfs.ErrCorrupt, kfs.ErrVersion). After another error it may be there; then it holds, and List shows it.
func Create(ctx context.Context, cfg Config, name string) (*kfs.Snapshot, error) {
	if err := kfs.ValidateSnapshotName(name); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, journal.Limit, errTooLate)
	defer cancel()
	m := &making{Config: cfg.withDefaults(), snapshot: kfs.Snapshot{Version: kfs.SnapshotVersion, Name: name}}
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	states, err := m.read(ctx)
	if err != nil {
		return nil, err
	}
	if err := m.putStates(ctx, states); err != nil {
		return nil, err
	}
	if err := m.put(ctx); err != nil {
		return nil, err
	}
	if err := removeStates(ctx, m.Store, name, m.snapshot.ID); err != nil {
		m.Log.Warn("what others have left of the making of this restore point is still there", "err", err)
	}
	return &m.snapshot, nil
}

// making is a restore point in the making.
type making struct {
	Config
	snapshot kfs.Snapshot
}

var errTooLate = fmt.Errorf("a restore point must be made within %v, or what it needs might be gone: try again", journal.Limit)

// begin takes the time, and makes sure that the name is free.
func (m *making) begin(ctx context.Context) error {
	_, info, err := blob.ReadAll(ctx, m.Store, kfs.SnapshotKey(m.snapshot.Name), blob.All, kfs.MaxSnapshotBytes)
	switch {
	case err == nil:
		return fmt.Errorf("restore point %s: %w", m.snapshot.Name, ErrExists)
	case !errors.Is(err, blob.ErrNotFound):
		return err
	case info.ServerTime.IsZero():
		return errors.New("the store's answer has no time, which a restore point rests on")
	}
	m.snapshot.Created = info.ServerTime.UnixMilli()
	if _, err := io.ReadFull(m.Rand, m.snapshot.ID[:]); err != nil {
		return fmt.Errorf("drawing an id: %w", err)
	}
	return nil
}

// read reads all journals, and notes what of.
func (m *making) read(ctx context.Context) ([]*kfs.Checkpoint, error) {
	states, cluster, err := States(ctx, m.Config)
	if err != nil {
		return nil, err
	}
	m.snapshot.Cluster, m.snapshot.Lineage = cluster.Cluster().ID, cluster.Cluster().Lineage
	for _, t := range cluster.Topics() {
		if t.State == kfs.TopicLive {
			m.snapshot.Topics++
		}
	}
	return states, nil
}

// States reads all journals that have begun to their ends, journal 0 last, and makes one whole of them, as a restore point has it: in order of
// number, and the cluster's metadata. It writes nothing.
func States(ctx context.Context, cfg Config) ([]*kfs.Checkpoint, *metadata.State, error) {
	cfg = cfg.withDefaults()
	var numbers []uint32
	for number, err := range inspect.Journals(ctx, cfg.Store) {
		if err != nil {
			return nil, nil, err
		}
		if number != 0 {
			numbers = append(numbers, number)
		}
	}
	states := make([]*kfs.Checkpoint, len(numbers)+1)
	readInto := func(ctx context.Context, i int, number uint32) (err error) {
		states[i], _, err = journal.ReadState(ctx, journal.Config{Store: cfg.Store, Journal: number, Log: cfg.Log})
		return err
	}
	g, reading := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, number := range numbers {
		g.Go(func() error { return readInto(reading, i+1, number) })
	}
	if err := g.Wait(); err != nil {
		return nil, nil, err
	}
	if err := readInto(ctx, 0, 0); err != nil {
		return nil, nil, err
	}
	if states[0] == nil {
		return nil, nil, errors.New("there is no cluster here: journal 0 has not begun")
	}
	states = slices.DeleteFunc(states, func(c *kfs.Checkpoint) bool { return c == nil })
	cluster, err := stateOf(states[0])
	if err != nil {
		return nil, nil, err
	}
	cut(states, cluster)
	return states, cluster, nil
}

// stateOf is the cluster's metadata in a state of journal 0.
func stateOf(c *kfs.Checkpoint) (*metadata.State, error) {
	draft := new(metadata.State).Edit()
	for _, e := range c.Metadata {
		if err := draft.Apply(e); err != nil {
			return nil, fmt.Errorf("metadata of journal 0: %w: %w", kfs.ErrCorrupt, err)
		}
	}
	return draft.State(), nil
}

// putStates puts the states of journals, if absent, and reads each back.
func (m *making) putStates(ctx context.Context, states []*kfs.Checkpoint) error {
	for _, c := range states {
		body, err := kfs.EncodeCheckpoint(c)
		if err != nil {
			return err
		}
		if len(body) > maxState {
			return fmt.Errorf("the state of journal %d has %d bytes, at most %d fit into a restore point", c.Journal, len(body), maxState)
		}
		if _, err := putSame(ctx, m.Store, kfs.SnapshotStateKey(m.snapshot.Name, m.snapshot.ID, c.Journal), body); err != nil {
			return err
		}
		m.snapshot.Journals = append(m.snapshot.Journals, kfs.NewSnapshotJournal(c, body))
	}
	return nil
}

// put puts the restore point itself. It counts only if that was in time.
func (m *making) put(ctx context.Context) error {
	body, err := kfs.EncodeSnapshot(&m.snapshot)
	if err != nil {
		return err
	}
	key := kfs.SnapshotKey(m.snapshot.Name)
	at, err := putSame(ctx, m.Store, key, body)
	if errors.Is(err, errOther) {
		return fmt.Errorf("restore point %s: %w", m.snapshot.Name, ErrExists)
	}
	if err == nil && at.UnixMilli()-m.snapshot.Created <= journal.Limit.Milliseconds() {
		return nil
	}
	if err == nil {
		err = errTooLate
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTimeout)
	defer cancel()
	if deleteErr := m.Store.Delete(ctx, key); deleteErr != nil {
		return fmt.Errorf("%w; it may be there: delete it (%w)", err, deleteErr)
	}
	return err
}

// takeBackTimeout bounds the deleting of a restore point that must not count.
const takeBackTimeout = 30 * time.Second

// errOther says that a key holds other bytes than those that were to be put there.
var errOther = errors.New("the key holds something else")

// putSame puts an object if absent, and reads it back: nil means that these bytes are there. The time is the store's, when it was known that they
// are. An unknown outcome is found out, a few times.
func putSame(ctx context.Context, store blob.Store, key string, body []byte) (time.Time, error) {
	var last error
	for try := range tries {
		if try > 0 {
			if err := pause(ctx, try); err != nil {
				return time.Time{}, errors.Join(last, err)
			}
		}
		if _, last = store.Put(ctx, key, body, true); last != nil && !errors.Is(last, blob.ErrPrecondition) {
			continue
		}
		var got []byte
		var info blob.Info
		if got, info, last = blob.ReadAll(ctx, store, key, blob.All, maxState); last != nil {
			continue
		}
		if !bytes.Equal(got, body) {
			return info.ServerTime, fmt.Errorf("%s: %w", key, errOther)
		}
		return info.ServerTime, nil
	}
	return time.Time{}, last
}

// pauseFirst is the wait before a second try; it doubles.
const pauseFirst = 200 * time.Millisecond

// pause waits before a try.
func pause(ctx context.Context, try int) error {
	wait := time.NewTimer(pauseFirst << (try - 1))
	defer wait.Stop()
	select {
	case <-wait.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
