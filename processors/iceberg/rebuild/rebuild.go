package rebuild

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/apache/iceberg-go/table"

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

	part string // the rebuild that it takes part in, since CatchUp or Swap; see begin
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
	// ErrGone says that the rebuild that a process works on is no more, and is not swapped in.
	ErrGone = errors.New("another process has given up this rebuild, or has finished it, and a later one")
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
func (r *Rebuild) Name() string { return NamePrefix(r.Job) + r.id() }

// NamePrefix is how the names of all rebuilds of a job begin.
func NamePrefix(job string) string { return job + ".rebuild." }

// Branch is the branch of the table on which it is rebuilt.
const Branch = "firn_rebuild"

func (r *Rebuild) lettersBranch() string { return Branch + "_" + r.id() }

// Anew is the table that the table is rebuilt in, where that is not a branch of it.
func (r *Rebuild) Anew() string { return r.Table + "__rebuild" }

func (r *Rebuild) lettersAnew() string { return r.Letters + "__rebuild_" + r.id() }

// lake is the catalog in which the table and its dead letters are the rebuilt ones, of the rebuild that this process takes part in.
func (r *Rebuild) lake() *catalog.Catalog { return r.lakeOf(r.part) }

// lakeOf is the lake of a rebuild; that of "" shows what is there, whose it may be.
func (r *Rebuild) lakeOf(part string) *catalog.Catalog {
	if r.To == InTable {
		return r.Catalog.Aside(map[string]catalog.Aside{r.Table: {Table: r.Anew(), Rebuild: part}, r.Letters: {Table: r.lettersAnew(), Rebuild: part}})
	}
	return r.Catalog.Aside(map[string]catalog.Aside{r.Table: {Branch: Branch, Rebuild: part}, r.Letters: {Branch: r.lettersBranch(), Rebuild: part}})
}

// Begun tells where a rebuild has been begun that is not finished; "" if none has.
func (r *Rebuild) Begun(ctx context.Context) (Place, error) {
	live, err := r.account(ctx, r.Catalog, r.Table)
	if err != nil {
		return "", err
	}
	if live != nil && live.UnderWay != "" {
		place, _ := kindOf(live.UnderWay)
		return place, nil
	}
	for _, name := range []string{r.Anew(), r.lettersAnew()} {
		if a, err := r.account(ctx, r.Catalog, name); err != nil || a != nil {
			return InTable, err
		}
	}
	at := *r
	at.To = OnBranch
	for _, name := range []string{r.Table, r.Letters} {
		if a, err := r.account(ctx, at.lakeOf(""), name); err != nil || a != nil && a.Head != 0 {
			return OnBranch, err
		}
	}
	if live == nil || live.Rebuilt[r.Job] == nil || !live.Rebuilt[r.Job].Unfinished {
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
	aside, err := r.account(ctx, r.lakeOf(""), r.Table)
	if err != nil {
		return nil, err
	}
	if r.swapped(live, aside) {
		return nil, ErrSwapped
	}
	if err := r.gone(live); err != nil {
		return nil, err
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
			return nil, fmt.Errorf("job %[1]s has filled table %[2]s too, and its rows would be lost: have a job of another name fill another table anew with the changed file, and one likewise with the file of job %[1]s", other, r.Table)
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
	asideLetters, err := r.account(ctx, r.lakeOf(""), r.Letters)
	if err != nil {
		return nil, err
	}
	if aside != nil && !made(aside, live.UnderWay) {
		aside, s.aside = nil, nil
	}
	if live.UnderWay != "" {
		place, config := kindOf(live.UnderWay)
		s.Begun = place == r.place() && config == r.Config
		if !s.Begun && (made(aside, live.UnderWay) || made(asideLetters, live.UnderWay)) {
			return nil, ErrOther
		}
	}
	if aside != nil && aside.Head != 0 {
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
		if aside != nil && aside.Head != 0 {
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

// made reports whether something is there that a rebuild has made.
func made(a *catalog.Account, part string) bool {
	return a != nil && a.Head != 0 && part != "" && a.Of == part
}

// gone is an error if the rebuild that this process takes part in is not under way any more: ErrSwapped if it is the table.
func (r *Rebuild) gone(live *catalog.Account) error {
	switch {
	case r.part == "" || live != nil && live.UnderWay == r.part:
		return nil
	case live != nil && live.Rebuilt[r.Job] != nil && live.Rebuilt[r.Job].Rebuild == r.part:
		return ErrSwapped
	}
	return ErrGone
}

// because is why something went wrong, if that is because the rebuild is not under way any more; else the error itself.
func (r *Rebuild) because(ctx context.Context, err error) error {
	if _, now := r.Standing(ctx); errors.Is(now, ErrSwapped) || errors.Is(now, ErrGone) {
		return now
	}
	return err
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
	if err := r.begin(ctx); err != nil {
		return nil, err
	}
	var before *Standing
	for {
		s, err := r.Standing(ctx)
		if err != nil || s.There() || before != nil && s.Left() > before.Left()/2 && !s.stuck(before) {
			return s, err
		}
		if err := r.round(ctx, s, before); err != nil {
			return nil, r.because(ctx, err)
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

// look is what is known of a table, and the table as it was looked at; both are nil if it is not there.
func (r *Rebuild) look(ctx context.Context, lake *catalog.Catalog, name string) (*catalog.Account, *table.Table, error) {
	a, t, err := lake.Account(ctx, name, r.Store)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil, nil, nil
	}
	return a, t, err
}

// account is look without the table.
func (r *Rebuild) account(ctx context.Context, lake *catalog.Catalog, name string) (*catalog.Account, error) {
	a, _, err := r.look(ctx, lake, name)
	return a, err
}

func (r *Rebuild) now() time.Time {
	if r.Now == nil {
		return time.Now()
	}
	return r.Now()
}
