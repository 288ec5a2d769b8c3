package catalog

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// The bounds of one Commit.
const (
	maxSends = 6                     // of one and the same request
	maxLoads = 16                    // of the table, foreign commits in between included
	minWait  = 50 * time.Millisecond // before the table is loaded again, doubled each time
	maxWait  = 5000 * time.Millisecond
)

// Options are what a job tells of itself. Job is required.
type Options struct {
	Job     string // the job's name: its receipts are told from others' by it
	Writer  string // who commits; shown in receipts
	Lineage string // of the source; empty is not compared
	Config  string // hash of the job's configuration
	Replay  bool   // what to do when the table's position moved back: false halts, true starts again from there

	// Known is what the job remembers of the table from outside of it; the zero value is nothing.
	Known Known
	// Store takes a progress that is too large for a table property. It is the source's store, relative to the namespace.
	Store blob.Store
	// Highs reads the greatest offset of each of the sources from the table's files; a source without rows is left out. It is asked only where expiry has removed the receipts.
	Highs func(ctx context.Context, t *table.Table, sources []string) (map[string]int64, error)
	// Sound tells why the job must not go on in a table of this metadata, nil if it may. It may be nil.
	Sound func(table.Metadata) error

	// Upkeep bounds what the method of that name leaves.
	Upkeep Upkeep

	Now   func() time.Time                                 // time.Now if nil
	Sleep func(ctx context.Context, d time.Duration) error // between tries; a timer if nil
	Rand  io.Reader                                        // crypto/rand if nil
}

// Known is what was seen of a table in its own ancestry.
type Known struct {
	Table     string           `json:"table"`     // its uuid; empty if it was never seen
	Positions map[string]int64 `json:"positions"` // the next offset per source
}

// Group is staged files with the ranges that they came from, admitted whole or not at all.
type Group struct {
	Ranges map[string]Advance
	Files  []iceberg.DataFile
	// Fits tells why the files do not fit a table of this metadata, nil if they do. It may be nil.
	Fits func(table.Metadata) error
	// Beside tells why the group must not come beside the sources that the job has a position of in the table, nil if it may. It may be nil.
	Beside func(positions map[string]int64) error
	// Letters are the commits of the dead-letter table beside which rows of some sources stand, see Committer.Bereft.
	Letters map[string]Mark

	rewrite func(context.Context, *table.Table) (*Rewrite, error)
	repair  func(context.Context, *table.Table) error // tells why the files must not be added to this head
}

// Committer commits for one job to one table. Its methods must not be called concurrently; committers of other processes, and
// foreign writers, may commit at the same time.
type Committer struct {
	catalog  *Catalog
	ident    table.Identifier
	opts     Options
	known    Known
	identity string                    // of the table that known is of
	seen     *view                     // of the last call of Position
	sources  map[string]SourceProgress // likewise
	sequence int64                     // of the snapshot that the last Commit has added
}

// Committer is the commit protocol for one job and one table, namespace.table. The table need not exist yet.
func (c *Catalog) Committer(name string, opts Options) (*Committer, error) {
	ident, err := ParseIdentifier(name)
	if err != nil {
		return nil, err
	}
	if opts.Job == "" {
		return nil, fmt.Errorf("table %s: the job has no name", name)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.Upkeep = opts.Upkeep.withDefaults()
	if opts.Sleep == nil {
		opts.Sleep = sleep
	}
	if opts.Rand == nil {
		opts.Rand = rand.Reader
	}
	known := Known{Table: opts.Known.Table, Positions: maps.Clone(opts.Known.Positions)}
	if known.Positions == nil {
		known.Positions = map[string]int64{}
	}
	return &Committer{catalog: c, ident: ident, opts: opts, known: known}, nil
}

// Name is the table's name, namespace.table.
func (c *Committer) Name() string { return strings.Join(c.ident, ".") }

// Known is what was seen of the table so far.
func (c *Committer) Known() Known {
	return Known{Table: c.known.Table, Positions: maps.Clone(c.known.Positions)}
}

// Identity is the table's UUID as it was last seen, "" if it was not; of a table that took another's place after a rebuild, it is the other's.
func (c *Committer) Identity() string { return c.identity }

// Load reads the table as it is now. ErrNoTable if it does not exist.
func (c *Committer) Load(ctx context.Context) (*table.Table, error) {
	return c.catalog.load(ctx, c.ident)
}

// sound refuses a table that the job must not go on in.
func (c *Committer) sound(t *table.Table) error {
	if c.opts.Sound == nil {
		return nil
	}
	if err := c.opts.Sound(t.Metadata()); err != nil {
		return fmt.Errorf("table %s: %w", c.Name(), err)
	}
	return nil
}

// Create makes the table if it does not exist, and gives the one that is there.
func (c *Committer) Create(ctx context.Context, schema *iceberg.Schema, spec *iceberg.PartitionSpec, props map[string]string) (*table.Table, error) {
	return c.catalog.create(ctx, c.ident, schema, spec, props)
}

// Position reads the table's own record of progress: the next offset of every source that the job has committed here. ErrNoTable if
// the table does not exist; a HaltError where a person must decide; what Options.Sound says. It gives the table as it was read, too.
func (c *Committer) Position(ctx context.Context) (map[string]int64, *table.Table, error) {
	t, err := c.Load(ctx)
	if err == nil {
		err = c.sound(t)
	}
	if err != nil {
		return nil, nil, err
	}
	v, err := c.view(ctx, t, nil)
	if err != nil {
		return nil, nil, err
	}
	// An attempt without ranges runs the same checks as a commit and then has nothing to send.
	a := c.attempt(Group{}, "")
	eff := a.step(event{loaded: v})
	if eff.do == doHighs {
		highs, err := c.highs(ctx, t, a.pos.unproven)
		if err != nil {
			return nil, nil, err
		}
		eff = a.step(event{highs: highs})
	}
	if eff.err != nil && !(c.opts.Replay && errors.Is(eff.err, ErrMoved)) {
		return nil, nil, fmt.Errorf("position of table %s: %w", c.Name(), eff.err)
	}
	c.known, c.identity, c.seen, c.sources = Known{Table: v.table, Positions: a.pos.nexts()}, v.identity, v, a.pos.sources
	return a.pos.nexts(), t, nil
}

// Lost gives the offsets of a source, up to that of the greatest row, that the job had accounted for here and, by the last call of Position, has
// not any more: the branch was rolled back since, and the table's property still tells, until the job has come there again.
func (c *Committer) Lost(source string) kfs.Span {
	p := c.sources[source]
	return kfs.Span{Base: p.Next, Next: max(p.Next, p.Reached)}
}

// Config is the configuration that the job had when it moved a source to the position that the last call of Position gave: of the newest
// receipt that names the source. It is "" if that receipt has expired.
func (c *Committer) Config(source string) string {
	if c.seen == nil {
		return ""
	}
	return c.seen.config(c.opts.Job, source)
}

// Commit makes a group visible and moves the position over its ranges, in one atomic step. Errors: ErrMoved, ErrRestage and ErrPaused (nothing
// was committed), ErrUnknownOutcome, ErrNoTable, *HaltError; any other error says that the table could not be loaded or that the
// files of the commit could not be written, and nothing was committed.
func (c *Committer) Commit(ctx context.Context, g Group) error {
	id, err := uuid.NewRandomFromReader(c.opts.Rand)
	if err != nil {
		return fmt.Errorf("commit id: %w", err)
	}
	a := c.attempt(g, id.String())
	err = c.run(ctx, a, g)
	if errors.Is(err, ErrMoved) {
		c.saw(a)
	}
	if err != nil {
		return fmt.Errorf("commit to table %s: %w", c.Name(), err)
	}
	c.known.Table, c.identity = a.view.table, a.view.identity
	for source, r := range g.Ranges {
		c.known.Positions[source] = r.Span.Next
	}
	c.sequence = 0
	if a.sends > 0 && a.view.format > 1 {
		c.sequence = a.sequence + 1
	}
	return nil
}

// Sequence is the sequence number of the snapshot that the last successful Commit has added. It is 0 if that had nothing to add, and in tables
// of format version 1, which do not count.
func (c *Committer) Sequence() int64 { return c.sequence }

// saw remembers how far another writer is, so that it is noticed when the table stands where the group begins once more.
func (c *Committer) saw(a *attempt) {
	c.known.Table, c.identity = a.view.table, a.view.identity
	for source, next := range a.pos.nexts() {
		c.known.Positions[source] = max(c.known.Positions[source], next)
	}
}

func (c *Committer) attempt(g Group, id string) *attempt {
	return &attempt{
		job: c.opts.Job, config: c.opts.Config, commit: id, lineage: c.opts.Lineage,
		ranges: g.Ranges, beside: g.Beside, letters: g.Letters, known: c.known.Positions, uuid: c.known.Table, replay: c.opts.Replay,
		maxSends: maxSends, maxLoads: maxLoads,
	}
}

// run does what the protocol says until it stops.
func (c *Committer) run(ctx context.Context, a *attempt, g Group) error {
	var (
		t   *table.Table
		req *request
		ev  event
	)
	for {
		eff := a.step(ev)
		ev = event{}
		var err error
		switch eff.do {
		case doStop:
			return eff.err
		case doLoad:
			if t, ev.failed = c.Load(ctx); errors.Is(ev.failed, ErrNoTable) {
				return ev.failed
			}
			if ev.failed == nil {
				ev.loaded, ev.failed = c.view(ctx, t, g.Fits)
			}
		case doHighs:
			ev.highs, ev.failed = c.highs(ctx, t, a.pos.unproven)
		case doSend:
			receipt := a.receipt(eff.kind)
			receipt.Writer, receipt.Config = c.opts.Writer, c.opts.Config
			if g.repair != nil {
				if ev.refused = g.repair(ctx, t); ev.refused != nil {
					break
				}
			}
			var plan *Rewrite
			if g.rewrite != nil {
				if plan, ev.refused = g.rewrite(ctx, t); plan == nil {
					ev.void = ev.refused == nil
					break
				}
			}
			if req, err = c.request(ctx, t, &receipt, eff.base, g.Files, plan); err != nil {
				ev.unsent = err
				break
			}
			ev.replied, ev.failed = c.send(ctx, t, req)
		case doResend:
			ev.replied, ev.failed = c.send(ctx, t, req)
		case doWait:
			if err = c.wait(ctx, eff.try); err != nil && ctx.Err() == nil {
				return err
			}
		}
		if halt := (*HaltError)(nil); errors.As(ev.failed, &halt) {
			return ev.failed // the place of the table refuses it: it was not sent
		}
		if ctx.Err() != nil && !ev.replied {
			if a.inFlight != "" {
				return fmt.Errorf("%w: %w", ErrUnknownOutcome, context.Cause(ctx))
			}
			return context.Cause(ctx)
		}
	}
}

// send asks the catalog to apply the request.
func (c *Committer) send(ctx context.Context, t *table.Table, req *request) (bool, error) {
	bounded, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	meta, _, err := c.catalog.client.CommitTable(bounded, slices.Clone(c.ident), req.requirements, req.updates)
	if err != nil {
		return false, fmt.Errorf("send: %w", err)
	}
	c.catalog.dropOldMetadata(ctx, t, meta)
	return true, nil
}

// highs are the greatest offsets in the table's files.
func (c *Committer) highs(ctx context.Context, t *table.Table, sources []string) (map[string]int64, error) {
	if c.opts.Highs == nil {
		return nil, fmt.Errorf("table %s: the receipts have expired and nothing can read the offsets back", c.Name())
	}
	highs, err := c.opts.Highs(ctx, t, sources)
	if err != nil {
		return nil, fmt.Errorf("table %s: greatest offsets: %w", c.Name(), err)
	}
	if highs == nil {
		highs = map[string]int64{}
	}
	return highs, nil
}

// wait sleeps before try n+1, with jitter, so that two committers that met once do not meet again.
func (c *Committer) wait(ctx context.Context, n int) error {
	d := min(minWait<<min(n, 16), maxWait)
	var b [1]byte
	if _, err := io.ReadFull(c.opts.Rand, b[:]); err != nil {
		return fmt.Errorf("jitter: %w", err)
	}
	return c.opts.Sleep(ctx, d/2+d/2*time.Duration(b[0])/256)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// snapshotID draws the id of a new snapshot.
func (c *Committer) snapshotID() (int64, error) {
	var b [8]byte
	if _, err := io.ReadFull(c.opts.Rand, b[:]); err != nil {
		return 0, fmt.Errorf("snapshot id: %w", err)
	}
	return int64(binary.BigEndian.Uint64(b[:])&(math.MaxInt64-1)) + 1, nil
}

// view reads what the protocol looks at.
func (c *Committer) view(ctx context.Context, t *table.Table, fits func(table.Metadata) error) (v *view, err error) {
	meta := t.Metadata()
	v = &view{table: meta.TableUUID().String(), format: meta.Version(), sequence: meta.LastSequenceNumber(), complete: true,
		foreign: map[string]string{}, family: map[string]map[string]SourceProgress{}}
	v.identity, v.sealed = Identity(meta), meta.Properties()[sealedProperty]
	if p := pauseOf(meta.Properties()); p != nil && p.At(c.opts.Now()) {
		v.paused = p
	}
	if head := meta.CurrentSnapshot(); head != nil {
		v.head = head.SnapshotID
		var snapshots []table.Snapshot
		snapshots, v.complete = table.AncestorsOfChecked(head.SnapshotID, meta.SnapshotByID)
		if root := snapshots[len(snapshots)-1]; root.SequenceNumber > 1 {
			// It has become a root by expiry, for the first one of all has number 1, or 0 in format version 1; or it is the job's first, of a rebuild.
			v.complete = root.Summary != nil && root.Summary.Properties[keyKind] == string(KindStart) && root.Summary.Properties[keyJob] == c.opts.Job
		}
		for _, s := range snapshots {
			a := ancestor{snapshot: s.SnapshotID, sequence: s.SequenceNumber}
			if s.Summary != nil {
				a.summary = s.Summary.Properties
			}
			v.ancestry = append(v.ancestry, a)
		}
	}
	for key, value := range meta.Properties() {
		job, ok := strings.CutPrefix(key, progressPrefix)
		switch {
		case !ok:
		case job == c.opts.Job:
			progress, err := decodeProgress(ctx, c.opts.Store, value)
			if err != nil {
				return nil, fmt.Errorf("property %s: %w", key, err)
			}
			v.progress = progress
		case root(job) == root(c.opts.Job):
			progress, err := decodeProgress(ctx, c.opts.Store, value)
			if err != nil {
				return nil, fmt.Errorf("property %s: %w", key, err)
			}
			if progress.Table == v.table {
				v.family[job] = progress.Sources
			}
		default:
			found, err := streamsOf(value)
			if err != nil {
				return nil, fmt.Errorf("property %s: %w", key, err)
			}
			for _, stream := range found {
				v.foreign[stream] = job
			}
		}
	}
	if v.rebuilt, err = rebuiltOf(meta.Properties(), c.opts.Job); err != nil {
		return nil, err
	}
	if fits != nil {
		v.mismatch = fits(meta)
	}
	return v, nil
}
