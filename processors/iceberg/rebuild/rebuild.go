package rebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// Rebuild is a rebuild of a table of a job, from a log that others read. Its methods must not be called concurrently; processes that do
// the same at a time do no harm.
type Rebuild struct {
	Catalog *catalog.Catalog
	Store   blob.Store // of the source; see catalog.Options
	Job     string
	Config  string // hash of the job file that the rows are made with
	Writer  string // who commits; shown in receipts
	Table   string // namespace.table
	Letters string // the job's dead-letter table, likewise
	Prefix  string // of the coordinate columns; "kafka_" if empty
	To      Place  // where it is made; OnBranch if empty

	// Fill brings the records of sources, as far as the log has them, up to these offsets into the tables of lake, with their dead letters,
	// under the name of the job: from where lake's table stands, or else from the log's beginning.
	Fill func(ctx context.Context, lake *catalog.Catalog, to map[processor.Source]int64) error
	// Starts are where the log begins: where that is where the table stands there is nothing to fill.
	Starts map[processor.Source]int64

	Now   func() time.Time                           // time.Now if nil
	Sleep func(context.Context, time.Duration) error // see catalog.Options
}

// Place is where a rebuild is made.
type Place string

// The places.
const (
	OnBranch Place = "branch" // of the table, whose schema and partitioning it has
	InTable  Place = "table"  // of its own, which gets the table's name
)

// The bounds of a rebuild.
const (
	maxRounds      = 40               // while the table is paused: of commits that were under way, and of others'
	resumePatience = 10 * time.Second // to end a pause after an error
)

var (
	// ErrOther says that a rebuild with another job file has begun.
	ErrOther = errors.New("a rebuild with another job file has been begun")
	// ErrBusy says that the table was paused, and the rebuild has not come to where it stands all the same.
	ErrBusy = fmt.Errorf("the rebuild does not come to where the table stands: others commit to it while it is paused, or what is left takes longer than %s", catalog.MaxPause)
	// ErrSwapped says that the rebuild is swapped in, and only has to be finished.
	ErrSwapped = errors.New("the rebuild has been swapped in")
)

// id tells the rebuilds of a job's tables apart.
func (r *Rebuild) id() string {
	sum := sha256.Sum256([]byte(r.Table))
	return hex.EncodeToString(sum[:4])
}

// Name is what the store knows the rebuild by: job files cannot have such a name.
func (r *Rebuild) Name() string { return r.Job + ".rebuild." + r.id() }

// Branch is the branch of the table on which it is rebuilt.
const Branch = "firn_rebuild"

func (r *Rebuild) lettersBranch() string { return Branch + "_" + r.id() }

// Anew is the table that the table is rebuilt in, where that is not a branch of it.
func (r *Rebuild) Anew() string { return r.Table + "__rebuild" }

func (r *Rebuild) lettersAnew() string { return r.Letters + "__rebuild_" + r.id() }

// lake is the catalog in which the table and its dead letters are the rebuilt ones.
func (r *Rebuild) lake() *catalog.Catalog {
	if r.To == InTable {
		return r.Catalog.Aside(map[string]catalog.Aside{r.Table: {Table: r.Anew()}, r.Letters: {Table: r.lettersAnew()}})
	}
	return r.Catalog.Aside(map[string]catalog.Aside{r.Table: {Branch: Branch}, r.Letters: {Branch: r.lettersBranch()}})
}

// Begun tells where a rebuild has been begun that is not finished; "" if none has.
func (r *Rebuild) Begun(ctx context.Context) (Place, error) {
	for _, name := range []string{r.Anew(), r.lettersAnew()} {
		if a, err := r.account(ctx, r.Catalog, name); err != nil || a != nil {
			return InTable, err
		}
	}
	at := *r
	at.To = OnBranch
	for _, name := range []string{r.Table, r.Letters} {
		if a, err := r.account(ctx, at.lake(), name); err != nil || a != nil && a.Head != 0 {
			return OnBranch, err
		}
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil || live == nil || live.Rebuilt[r.Job] == nil || !live.Rebuilt[r.Job].Unfinished {
		return "", err
	}
	return OnBranch, nil // it has been swapped in, and had no dead letters
}

// sides are the catalog as readers see it, and the rebuild's.
func (r *Rebuild) sides() [2]*catalog.Catalog { return [2]*catalog.Catalog{r.Catalog, r.lake()} }

func (r *Rebuild) options() catalog.Options {
	return catalog.Options{Job: r.Job, Config: r.Config, Writer: r.Writer, Store: r.Store, Now: r.Now, Sleep: r.Sleep}
}

// Standing is how far a rebuild is.
type Standing struct {
	Begun   bool // something of it is there
	Sources []SourceStanding
	Paused  *catalog.Pause // of the table; nil if there is none, or it is over

	live, aside *catalog.Account
}

// SourceStanding is how far it is with a source.
type SourceStanding struct {
	Source processor.Source
	Table  kfs.Span // the offsets that the table accounts for, those of backfills included
	To     int64    // where the rebuild has to come: the end of that, or of the dead letters where they are ahead of their table
	At     int64    // where the rebuild stands; -1 if it has nothing of the source
}

// There reports whether the rebuild has come to where the table stands.
func (s *Standing) There() bool { return len(s.behind()) == 0 }

// Left counts the offsets that the rebuild does not have yet.
func (s *Standing) Left() int64 {
	n := int64(0)
	for _, source := range s.Sources {
		n += max(0, source.To-max(source.At, source.Table.Base))
	}
	return n
}

// stuck reports whether the rebuild stands where it stood before.
func (s *Standing) stuck(before *Standing) bool {
	return before != nil && slices.EqualFunc(s.Sources, before.Sources, func(a, b SourceStanding) bool { return a.Source == b.Source && a.At == b.At })
}

// behind is what is left to be done, by source.
func (s *Standing) behind() map[processor.Source]int64 {
	to := map[processor.Source]int64{}
	for _, source := range s.Sources {
		if source.At < source.To {
			to[source.Source] = source.To
		}
	}
	return to
}

// ends are the offsets up to which the rebuild is to have the sources.
func (s *Standing) ends() map[processor.Source]int64 {
	ends := map[processor.Source]int64{}
	for _, source := range s.Sources {
		ends[source.Source] = source.To
	}
	return ends
}

// Standing tells how far the rebuild is. ErrSwapped if it is swapped in and not finished, ErrOther if there is one with another job file;
// an error beside that says that the table cannot be rebuilt.
func (r *Rebuild) Standing(ctx context.Context) (*Standing, error) {
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return nil, err
	}
	aside, err := r.account(ctx, r.lake(), r.Table)
	if err != nil {
		return nil, err
	}
	if r.swapped(live, aside) {
		return nil, ErrSwapped
	}
	if live == nil {
		return nil, fmt.Errorf("%s: %w: there is nothing to rebuild; start the job", r.Table, catalog.ErrNoTable)
	}
	if r.To == InTable && aside != nil && (aside.Table == live.Table || aside.Identity != live.Identity) {
		return nil, fmt.Errorf("table %s is in the way: it is no rebuild of table %s", r.Anew(), r.Table)
	}
	progress := live.Progress[r.Job]
	if progress == nil || live.Head == 0 {
		return nil, fmt.Errorf("job %s has not begun on table %s: there is nothing to rebuild; start the job", r.Job, r.Table)
	}
	for _, other := range slices.Sorted(maps.Keys(live.Progress)) {
		if other != r.Job && !catalog.OwnBackfill(r.Job, other) {
			return nil, fmt.Errorf("job %s has filled table %s too: its rows would be lost", other, r.Table)
		}
	}
	letters, err := r.account(ctx, r.Catalog, r.Letters)
	if err != nil {
		return nil, err
	}
	s := &Standing{live: live, aside: aside}
	if live.Paused != nil && live.Paused.At(r.now()) {
		s.Paused = live.Paused
	}
	if aside != nil && aside.Head != 0 {
		s.Begun = true
		if last := newest(aside, r.Job); last == nil || last.Config != r.Config {
			return nil, ErrOther
		}
		if own := aside.Progress[r.Job]; own != nil && own.Lineage != "" && progress.Lineage != "" && own.Lineage != progress.Lineage {
			return nil, fmt.Errorf("table %s was filled from lineage %s, the log now is lineage %s: it was restored or replaced, and its offsets may mean other records", r.Table, progress.Lineage, own.Lineage)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(progress.Sources)) {
		one := SourceStanding{At: -1}
		if one.Source, err = iceberg.ParseSource(key); err != nil {
			return nil, err
		}
		next, ok := live.Position(r.Job, key)
		if !ok {
			continue
		}
		one.Table, one.To = kfs.Span{Base: next, Next: next}, next
		if letters != nil {
			if decided, ok := letters.Position(r.Job, key); ok {
				one.To = max(one.To, decided)
			}
		}
		for _, span := range live.Accounted(r.Job, key) {
			one.Table.Base = min(one.Table.Base, span.Base)
		}
		if s.Begun {
			if at, ok := aside.Position(r.Job, key); ok {
				one.At = at
			}
		}
		if one.At > one.To {
			return nil, fmt.Errorf("table %s stands at %d of %s, and the rebuild at %d: the table was rolled back; roll it forward, or give the rebuild up with --abandon", r.Table, next, key, one.At)
		}
		s.Sources = append(s.Sources, one)
	}
	return s, nil
}

// swapped reports whether the rebuild is in the table's place, or on its way: nobody commits to what was before.
func (r *Rebuild) swapped(live, aside *catalog.Account) bool {
	if live == nil {
		return r.To == InTable && aside != nil && aside.Rebuilt[r.Job] != nil
	}
	rebuilt := live.Rebuilt[r.Job]
	return rebuilt != nil && rebuilt.Unfinished || live.Sealed != "" && live.Sealed == r.Anew()
}

// newest is a job's newest receipt that advances a source; nil if there is none.
func newest(a *catalog.Account, job string) *catalog.Receipt {
	for _, e := range a.Branch {
		if e.Receipt != nil && e.Receipt.Job == job && len(e.Receipt.Ranges) > 0 {
			return e.Receipt
		}
	}
	return nil
}

// CatchUp brings the rebuild to where the table stands, with all its dead letters; beside a job that does not stand still, about there: it ends
// when a round leaves more than half of what was left before it.
func (r *Rebuild) CatchUp(ctx context.Context) (*Standing, error) {
	var before *Standing
	for {
		s, err := r.Standing(ctx)
		if err != nil || s.There() || before != nil && s.Left() > before.Left()/2 && !s.stuck(before) {
			return s, err
		}
		if err := r.round(ctx, s, before); err != nil {
			return nil, err
		}
		before = s
	}
}

// round brings in what was left when the rebuild stood at s, after a round that began at before; nil if there was none.
func (r *Rebuild) round(ctx context.Context, s, before *Standing) error {
	if s.stuck(before) {
		return fmt.Errorf("the log was read and the rebuild of table %s stands where it stood, behind the table: %v", r.Table, s.behind())
	}
	return r.fill(ctx, s, s.behind())
}

// fill brings in what is left of the log, and the position of sources of which nothing is left.
func (r *Rebuild) fill(ctx context.Context, s *Standing, to map[processor.Source]int64) error {
	log, rest := map[processor.Source]int64{}, map[string]catalog.Advance{}
	for _, source := range s.Sources {
		next, ok := to[source.Source]
		switch {
		case !ok:
		case r.Starts[source.Source] < next:
			log[source.Source] = next
		default:
			base := source.At
			if base < 0 {
				base = next
			}
			rest[iceberg.SourceKey(source.Source)] = catalog.Advance{Span: kfs.Span{Base: base, Next: next}, High: -1}
		}
	}
	if len(log) > 0 {
		if err := r.Fill(ctx, r.lake(), log); err != nil {
			return err
		}
	}
	if len(rest) == 0 {
		return nil
	}
	opts := r.options()
	opts.Lineage = s.live.Progress[r.Job].Lineage
	committer, err := r.lake().Committer(r.Table, opts)
	if err != nil {
		return err
	}
	err = committer.Commit(ctx, catalog.Group{Ranges: rest})
	if errors.Is(err, catalog.ErrMoved) {
		return nil // somebody else has brought it there
	}
	return err
}

// account is nil for a table that is not there.
func (r *Rebuild) account(ctx context.Context, lake *catalog.Catalog, name string) (*catalog.Account, error) {
	a, _, err := lake.Account(ctx, name, r.Store)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil, nil
	}
	return a, err
}

// Swap puts the rebuild in the table's place, when it has caught up with it once more, and finishes it. A job that does not stand still is
// asked to wait for that.
func (r *Rebuild) Swap(ctx context.Context) error {
	s, err := r.CatchUp(ctx)
	if err == nil {
		err = r.swap(ctx, s)
	}
	if moved(err) {
		err = r.swapPaused(ctx)
	}
	if err != nil && !errors.Is(err, ErrSwapped) { // somebody else did
		return err
	}
	return r.Finish(ctx)
}

// moved reports whether an error says that the table stands where the rebuild does not.
func moved(err error) bool {
	return errors.Is(err, catalog.ErrMoved) || errors.Is(err, processor.ErrMoved) || errors.Is(err, iceberg.ErrRowsThere)
}

// swapPaused has the jobs wait while it brings in what is left and puts the rebuild in the table's place. After an error they go on at once; of
// a process that has died they go on when the pause is over.
func (r *Rebuild) swapPaused(ctx context.Context) (err error) {
	now := r.now()
	pause := catalog.Pause{By: "firn rebuild, " + r.Writer, Since: now.UnixMilli(), Until: now.Add(catalog.MaxPause).UnixMilli()}
	if err := r.Catalog.Pause(ctx, r.Table, pause, r.options()); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			free, cancel := context.WithTimeout(context.WithoutCancel(ctx), resumePatience)
			defer cancel()
			_ = r.Catalog.Resume(free, r.Table, r.options()) // else it ends by itself
		}
	}()
	filling, cancel := context.WithTimeout(ctx, catalog.MaxPause)
	defer cancel()
	var before *Standing
	for range maxRounds {
		s, err := r.Standing(ctx)
		if err != nil {
			return err
		}
		if s.There() {
			if err = r.swap(ctx, s); !moved(err) {
				return err
			}
			continue
		}
		err = r.round(filling, s, before)
		if filling.Err() != nil && ctx.Err() == nil {
			return ErrBusy
		}
		if err != nil {
			return err
		}
		before = s
	}
	return ErrBusy
}

// swap puts the rebuild in the table's place, unless that has moved on: then the error is one of those that moved knows.
func (r *Rebuild) swap(ctx context.Context, s *Standing) error {
	if !s.There() {
		return catalog.ErrMoved
	}
	superseded, err := r.addLetters(ctx, s)
	if err != nil {
		return err
	}
	rebuilt := catalog.Rebuilt{
		Commit: newest(s.aside, r.Job).Commit, Config: r.Config, Superseded: superseded,
		Replaced: "before_rebuild_" + strings.ReplaceAll(r.now().UTC().Format("20060102_150405.000"), ".", "_"),
	}
	if r.To == InTable {
		rebuilt.Replaced = r.Table + "__" + rebuilt.Replaced
		return r.Catalog.Seal(ctx, catalog.Replacement{Table: r.Table, Job: r.Job, By: r.Anew(), ByHead: s.aside.Head, Head: s.live.Head, Rebuilt: rebuilt}, r.options())
	}
	return r.Catalog.Swap(ctx, catalog.Swap{Table: r.Table, Job: r.Job, Branch: Branch, BranchHead: s.aside.Head, Head: s.live.Head, Rebuilt: rebuilt}, r.options())
}

// Finish gives the tables their names, deals with the dead letters that are left after the swap, and takes away what the rebuild needs no
// more. Without a swap that is not finished it does nothing.
func (r *Rebuild) Finish(ctx context.Context) error {
	if err := r.rename(ctx); err != nil {
		return err
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil || live == nil {
		return err
	}
	rebuilt := live.Rebuilt[r.Job]
	if rebuilt == nil || !rebuilt.Unfinished {
		return nil
	}
	if err := r.resolveLetters(ctx, rebuilt); err != nil {
		return err
	}
	if err := r.Catalog.Finished(ctx, r.Table, r.Job, rebuilt, r.options()); err != nil {
		return err
	}
	letters, err := r.account(ctx, r.lake(), r.Letters)
	if err != nil {
		return err
	}
	return r.dropLetters(ctx, letters)
}

// rename gives the table that was sealed another name, and its own to the one that takes its place.
func (r *Rebuild) rename(ctx context.Context) error {
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return err
	}
	anew, err := r.account(ctx, r.Catalog, r.Anew())
	if err != nil || !r.swapped(live, anew) || anew == nil && live.Sealed == "" {
		return err
	}
	if anew == nil {
		return fmt.Errorf("table %s is sealed, and table %s, which was to take its place, is gone: --abandon breaks the seal", r.Table, r.Anew())
	}
	rebuilt := anew.Rebuilt[r.Job]
	if rebuilt == nil {
		return fmt.Errorf("table %s is sealed for table %s, which says nothing of it", r.Table, r.Anew())
	}
	if live != nil {
		if err := r.Catalog.Rename(ctx, r.Table, rebuilt.Replaced, live.Table, r.options()); err != nil {
			return err
		}
	}
	return r.Catalog.Rename(ctx, r.Anew(), r.Table, anew.Table, r.options())
}

// Abandon takes away what there is of a rebuild that was not swapped in; if another process is about to swap it in, one of the two is done. One that still
// reads must have been stopped. ErrSwapped if it was swapped in.
func (r *Rebuild) Abandon(ctx context.Context) error {
	letters, err := r.account(ctx, r.lake(), r.Letters)
	if err != nil {
		return err
	}
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return err
	}
	aside, err := r.account(ctx, r.lake(), r.Table)
	if err != nil {
		return err
	}
	switch {
	case live == nil && aside == nil:
		return nil
	case live == nil || live.Rebuilt[r.Job] != nil && live.Rebuilt[r.Job].Unfinished:
		return ErrSwapped
	case r.To == InTable && aside != nil && aside.Identity != live.Identity:
		return fmt.Errorf("table %s is no rebuild of table %s", r.Anew(), r.Table)
	}
	if err := r.Catalog.Resume(ctx, r.Table, r.options()); err != nil && !errors.Is(err, catalog.ErrNoTable) {
		return err
	}
	if r.To == InTable {
		err = r.abandonTable(ctx, live, aside)
	} else {
		err = r.abandonBranch(ctx)
	}
	if err != nil {
		return err
	}
	return r.dropLetters(ctx, letters)
}

// abandonTable takes away the table aside, after it was made sure that it does not come in the place of the one that is there.
func (r *Rebuild) abandonTable(ctx context.Context, live, aside *catalog.Account) error {
	if aside == nil {
		now, err := r.account(ctx, r.Catalog, r.Table)
		switch {
		case err != nil:
			return err
		case now == nil || now.Table != live.Table:
			return ErrSwapped
		case live.Sealed != r.Anew():
			return nil
		}
		return r.Catalog.Unseal(ctx, r.Table, r.options()) // what was to take its place was dropped by somebody
	}
	err := r.Catalog.Forgo(ctx, r.Table, live.Table, r.Anew(), aside.Table, r.options())
	if errors.Is(err, catalog.ErrReplaced) {
		return ErrSwapped
	}
	if err != nil {
		return err
	}
	return r.Catalog.Purge(ctx, r.Anew(), aside.Table, r.options())
}

// abandonBranch takes the branch away: a swap is pinned to its head, so that one of the two finds it.
func (r *Rebuild) abandonBranch(ctx context.Context) error {
	if err := r.Catalog.DropRef(ctx, r.Table, Branch, 0, r.options()); err != nil {
		return err
	}
	now, err := r.account(ctx, r.Catalog, r.Table)
	if err == nil && now != nil && now.Rebuilt[r.Job] != nil && now.Rebuilt[r.Job].Unfinished {
		return ErrSwapped // its dead letters are needed still
	}
	return err
}

// dropLetters takes the rebuild's dead letters away, as they were seen: nil if there were none.
func (r *Rebuild) dropLetters(ctx context.Context, seen *catalog.Account) error {
	switch {
	case seen == nil || seen.Head == 0 && r.To != InTable:
		return nil
	case r.To == InTable:
		return r.Catalog.Purge(ctx, r.lettersAnew(), seen.Table, r.options())
	}
	return r.Catalog.DropRef(ctx, r.Letters, r.lettersBranch(), seen.Head, r.options())
}

func (r *Rebuild) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
