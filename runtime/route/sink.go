package route

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

const (
	// seldom is how often at most a table is told of spans that have nothing for it.
	seldom = time.Minute
	// atATime is how many tables are loaded or committed to at the same time.
	atATime = 8
	// Label is the table property that says which values a table is of; it is given to Config.Open.
	Label = "firn.route"
)

// Config says what a Sink is made of.
type Config struct {
	Route  *Route
	Tables *Tables // of the job
	// Open opens the sink of one table, which need not exist; label is what its property Label is to be when it is made.
	Open func(ctx context.Context, table, label string) (processor.Sink, error)
	// List names the tables that there are where the route's are. A table that it forgets would lose what the others are ahead of it.
	List      func(ctx context.Context) ([]string, error)
	Inferred  bool             // columns that hold nothing do not become columns of tables
	Allocator memory.Allocator // of Arrow buffers
	Now       func() time.Time // default time.Now
	AtATime   int              // tables that are committed to at the same time; default 8
}

// Sink puts the rows of one topic into several tables, as Step has let them through. Each table has a position of its own.
//
// A table counts for a source from the span on in which it first got a row of it: before any table gets rows of such a span, the new one gets
// a position at its begin. From then on, what the sink as a whole has is the least of what the tables have. Tables for which spans have
// nothing are moved over them at most once a minute, and by CatchUp; while this sink alone moves them, it knows that they lack nothing.
//
// Several processes may fill the tables, each from sources of its own. Two that believe a source to be theirs cannot both move a table over
// the same span, nor begin it at two places; the one that comes second has to read the tables again.
type Sink struct {
	cfg      Config
	children map[string]*child
	at       processor.Positions // where this sink has brought the tables since it last read them
	ranges   map[processor.Source]kfs.Span
}

// child is one table.
type child struct {
	name   string
	sink   processor.Sink
	next   processor.Positions // of the table, as last seen or committed to
	shown  processor.Positions // as far as that is known from more than a commit's own answer
	other  string              // a topic that fills it, too; "" if there is none
	staged processor.Positions // ends of what was staged since the last Seal
	bases  processor.Positions // and where that began
	last   time.Time           // when it was last committed to

	beside map[processor.Source]string // the dead letters beside which what comes next of a source stands
}

var (
	_ processor.Sink      = (*Sink)(nil)
	_ processor.Described = (*Sink)(nil)
	_ processor.Buffering = (*Sink)(nil)
	_ processor.Spilling  = (*Sink)(nil)
	_ processor.Deciding  = (*Sink)(nil)
	_ processor.Citing    = (*Sink)(nil)
	_ processor.Several   = (*Sink)(nil)
	_ io.Closer           = (*Sink)(nil)
)

// NewSink makes a sink. It does no I/O.
func NewSink(cfg Config) *Sink {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.AtATime == 0 {
		cfg.AtATime = atATime
	}
	return &Sink{cfg: cfg, children: map[string]*child{}, at: processor.Positions{}, ranges: map[processor.Source]kfs.Span{}}
}

// Committed reads the positions of all tables and gives the least of each source. Where this sink has moved the tables itself, and finds
// them as it has left them, those that lag behind lack nothing.
func (s *Sink) Committed(ctx context.Context) (processor.Positions, error) {
	before := map[string]processor.Positions{}
	for name, c := range s.children {
		before[name] = c.next
	}
	if err := s.load(ctx); err != nil {
		s.at = processor.Positions{}
		return nil, err
	}
	found := processor.Positions{}
	as := map[processor.Source]bool{} // tables are as they were left
	for source := range s.at {
		as[source] = true
	}
	for name, c := range s.children {
		for source, next := range c.next {
			if least, ok := found[source]; !ok || next < least {
				found[source] = next
			}
			as[source] = as[source] && before[name][source] == next
		}
	}
	for source := range found {
		if as[source] {
			found[source] = s.at[source]
		}
	}
	maps.DeleteFunc(s.at, func(source processor.Source, _ int64) bool { return !as[source] })
	return found, nil
}

// load reads which tables there are, and their positions. Those that have none do not count; of one that was made for rows, which are not there
// yet, the columns do.
func (s *Sink) load(ctx context.Context) error {
	listed, err := s.cfg.List(ctx)
	if err != nil {
		return fmt.Errorf("tables of %s: %w", s.cfg.Route.Name(), err)
	}
	for _, name := range listed {
		if s.children[name] == nil && s.cfg.Tables.Fills(s.cfg.Route, name) {
			if err := s.open(ctx, name, ""); err != nil {
				return err
			}
		}
	}
	if err := s.each(ctx, s.sorted(), func(ctx context.Context, c *child) error { return c.load(ctx, s.cfg.Route.Topic) }); err != nil {
		return err
	}
	for _, c := range s.sorted() {
		switch {
		case len(c.next) > 0:
			s.cfg.Tables.know(s.cfg.Route.Topic, c.name, c.label())
			continue
		case c.other != "":
			s.cfg.Tables.know(c.other, c.name, c.label())
		case c.label() != "":
			continue
		}
		delete(s.children, c.name)
		if err := c.close(); err != nil {
			return fmt.Errorf("close table %s: %w", c.name, err)
		}
	}
	return nil
}

func (s *Sink) open(ctx context.Context, name, label string) error {
	sink, err := s.cfg.Open(ctx, name, label)
	if err != nil {
		return fmt.Errorf("open table %s: %w", name, err)
	}
	s.children[name] = &child{name: name, sink: sink, next: processor.Positions{}, shown: processor.Positions{}, staged: processor.Positions{}, bases: processor.Positions{}, beside: map[processor.Source]string{}, last: s.cfg.Now()}
	return nil
}

// load reads the table's positions of a topic's sources.
func (c *child) load(ctx context.Context, topic string) error {
	committed, err := c.sink.Committed(ctx)
	if err != nil {
		return fmt.Errorf("position of table %s: %w", c.name, err)
	}
	c.next, c.other = processor.Positions{}, ""
	for source, next := range committed {
		if source.Topic == topic {
			c.next[source] = next
		} else {
			c.other = source.Topic
		}
	}
	c.shown = maps.Clone(c.next)
	return nil
}

// label is what the values are that have made the table; "" if that is not known.
func (c *child) label() string {
	label := ""
	if p, ok := c.sink.(processor.Propertied); ok {
		label, _ = p.Property(Label)
	}
	return label
}

func (c *child) close() error {
	if closer, ok := c.sink.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// sorted are the tables by name.
func (s *Sink) sorted() []*child {
	var all []*child
	for _, name := range slices.Sorted(maps.Keys(s.children)) {
		all = append(all, s.children[name])
	}
	return all
}

// each does something with tables, a few at a time. All of it has ended when it returns.
func (s *Sink) each(ctx context.Context, all []*child, do func(context.Context, *child) error) error {
	var group errgroup.Group
	group.SetLimit(s.cfg.AtATime)
	errs := make([]error, len(all))
	for i, c := range all {
		group.Go(func() error {
			errs[i] = do(ctx, c)
			return nil
		})
	}
	_ = group.Wait() // errs has them
	return errors.Join(errs...)
}

// Stage implements processor.Sink.
func (s *Sink) Stage(ctx context.Context, b processor.Batch) error {
	if err := s.stage(ctx, b); err != nil {
		return errors.Join(err, s.giveUp(ctx))
	}
	return nil
}

func (s *Sink) stage(ctx context.Context, b processor.Batch) error {
	span, ok := s.ranges[b.Source]
	switch {
	case !ok:
		span = b.Span
	case span.Next != b.Span.Base:
		return fmt.Errorf("a batch %s behind %s", b.Span, span)
	}
	span.Next = b.Span.Next
	s.ranges[b.Source] = span
	if b.Records == nil || b.Records.NumRows() == 0 {
		return nil
	}
	a, err := s.cfg.Route.assign(b.Records)
	if err != nil {
		return err
	}
	all, err := s.sortRows(ctx, b.Records, a)
	if err != nil {
		return err
	}
	defer all.rows.Release()
	for i, d := range a.dests {
		if a.refused[i].class != "" {
			return fmt.Errorf("%w: %w", errNoTable, &a.refused[i])
		}
		c, err := s.child(ctx, d)
		if err != nil {
			return err
		}
		if err := s.stageFor(ctx, c, b, all, i, d); err != nil {
			return err
		}
	}
	return nil
}

// child finds a table, or opens one that was not there when the tables were last read.
func (s *Sink) child(ctx context.Context, d dest) (*child, error) {
	if c := s.children[d.name]; c != nil {
		return c, nil
	}
	if err := s.open(ctx, d.name, d.label); err != nil {
		return nil, err
	}
	c := s.children[d.name]
	if err := c.load(ctx, s.cfg.Route.Topic); err != nil {
		return nil, err
	}
	for source := range s.ranges {
		if _, ok := c.next[source]; ok { // only who reads a source moves tables over it: this one was forgotten
			return nil, fmt.Errorf("table %s counts for %s/%d since the tables of %s were read: %w", d.name, source.Topic, source.Partition, s.cfg.Route.Name(), processor.ErrMoved)
		}
	}
	if c.other != "" && len(c.next) == 0 {
		s.cfg.Tables.know(c.other, c.name, c.label())
		return nil, fmt.Errorf("table %s was made for topic %s meanwhile: %w", c.name, c.other, processor.ErrMoved)
	}
	return c, nil
}

// stageFor stages the rows of a batch that go to one table and that it does not have yet.
func (s *Sink) stageFor(ctx context.Context, c *child, b processor.Batch, all sorted, which int, d dest) error {
	from, ok := c.staged[b.Source]
	if !ok {
		from = max(b.Span.Base, c.next[b.Source]) // what lies before that it has
	}
	if from >= b.Span.Next {
		return nil
	}
	rows, err := s.pick(ctx, c, all, from, which)
	if err != nil {
		return err
	}
	if rows != nil {
		defer rows.Release()
	}
	if rows == nil && !ok {
		return nil
	}
	if rows != nil {
		if err := s.agree(ctx, c, rows.Schema()); err != nil {
			return err
		}
	}
	if err := c.stage(ctx, processor.Batch{Source: b.Source, Span: kfs.Span{Base: from, Next: b.Span.Next}, Records: rows}); err != nil {
		return err
	}
	if label := c.label(); label != "" && label != d.label { // another process has made it for values that this one did not know of
		s.cfg.Tables.know(s.cfg.Route.Topic, c.name, label)
		return fmt.Errorf("table %s was made for %s meanwhile, not for %s: %w", c.name, label, d.label, processor.ErrMoved)
	}
	return nil
}

func (c *child) stage(ctx context.Context, b processor.Batch) error {
	if err := c.sink.Stage(ctx, b); err != nil {
		return fmt.Errorf("table %s: %w", c.name, err)
	}
	if _, ok := c.staged[b.Source]; !ok {
		c.bases[b.Source] = b.Span.Base
	}
	c.staged[b.Source] = b.Span.Next
	return nil
}

// giveUp drops what was staged since the last Seal.
func (s *Sink) giveUp(ctx context.Context) error {
	var errs []error
	for _, c := range s.sorted() {
		if len(c.staged) == 0 {
			continue
		}
		c.staged, c.bases = processor.Positions{}, processor.Positions{}
		staged, err := c.sink.Seal(ctx)
		if err == nil {
			err = c.sink.Discard(ctx, []processor.Staged{staged})
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("table %s: %w", c.name, err))
		}
	}
	s.ranges = map[processor.Source]kfs.Span{}
	return errors.Join(errs...)
}
