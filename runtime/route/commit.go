package route

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

// piece is what was staged for one table, as it travels; or, without a table, the dead letters beside which all rows of some sources stand.
type piece struct {
	Table string `json:"table,omitempty"`
	Spans []span `json:"spans,omitempty"`
	Data  []byte `json:"data,omitempty"`
	Marks []mark `json:"marks,omitempty"`
}

// mark is a commit of the dead-letter table.
type mark struct {
	source
	Mark string `json:"mark"`
}

type span struct {
	source
	Base int64 `json:"base"`
	Next int64 `json:"next"`
}

// source is a processor.Source as it travels.
type source struct {
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"id"`
	Partition int32       `json:"partition"`
}

func pieceOf(table string, staged processor.Staged) piece {
	p := piece{Table: table, Data: staged.Data}
	for of, at := range staged.Spans {
		p.Spans = append(p.Spans, span{source(of), at.Base, at.Next})
	}
	return p
}

func (p piece) staged() processor.Staged {
	out := processor.Staged{Spans: map[processor.Source]kfs.Span{}, Data: p.Data}
	for _, s := range p.Spans {
		out.Spans[processor.Source(s.source)] = kfs.Span{Base: s.Base, Next: s.Next}
	}
	return out
}

// Seal implements processor.Sink. A table that gets rows is moved over all that was staged. And before any table gets rows of a span, one
// that is new to its source has a position at the span's begin: else, after a crash, nobody would know that it lacks its rows.
func (s *Sink) Seal(ctx context.Context) (processor.Staged, error) {
	out, err := s.seal(ctx)
	if err != nil {
		return processor.Staged{}, errors.Join(err, s.giveUp(ctx))
	}
	s.ranges = map[processor.Source]kfs.Span{}
	return out, nil
}

func (s *Sink) seal(ctx context.Context) (out processor.Staged, err error) {
	var pieces []piece
	starts := map[string]processor.Positions{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.discard(ctx, pieces))
		}
	}()
	for _, c := range s.sorted() {
		if len(c.staged) == 0 {
			continue
		}
		for source, all := range s.ranges {
			if err := c.extend(ctx, source, all); err != nil {
				return out, err
			}
		}
		if new := c.unplaced(); len(new) > 0 {
			starts[c.name] = new
		}
		staged, err := c.sink.Seal(ctx)
		c.staged, c.bases = processor.Positions{}, processor.Positions{}
		if err != nil {
			return out, fmt.Errorf("table %s: %w", c.name, err)
		}
		pieces = append(pieces, pieceOf(c.name, staged))
	}
	if len(s.children) > 1 {
		var fresh []*child
		for _, name := range slices.Sorted(maps.Keys(starts)) {
			fresh = append(fresh, s.children[name])
		}
		err := s.each(ctx, fresh, func(ctx context.Context, c *child) error { return c.place(ctx, starts[c.name]) })
		if err != nil {
			return out, err
		}
	}
	data, err := json.Marshal(pieces)
	return processor.Staged{Spans: maps.Clone(s.ranges), Data: data}, err
}

// extend moves what was staged over the rest of what is sealed, which has nothing for the table.
func (c *child) extend(ctx context.Context, source processor.Source, all kfs.Span) error {
	from, staged := c.staged[source]
	next, placed := c.next[source]
	if !staged {
		from = max(all.Base, next)
	}
	if from >= all.Next || !staged && !placed {
		return nil
	}
	return c.stage(ctx, processor.Batch{Source: source, Span: kfs.Span{Base: from, Next: all.Next}})
}

// unplaced is where what was staged begins, of sources of which the table has nothing.
func (c *child) unplaced() processor.Positions {
	new := processor.Positions{}
	for source, base := range c.bases {
		if _, ok := c.next[source]; !ok {
			new[source] = base
		}
	}
	return new
}

// place gives the table its first positions.
func (c *child) place(ctx context.Context, at processor.Positions) error {
	if err := c.sink.Commit(ctx, at, at, nil); err != nil {
		return fmt.Errorf("begin table %s: %w", c.name, err)
	}
	maps.Copy(c.next, at)
	maps.Copy(c.shown, at) // nothing lies before them
	return nil
}

// Commit implements processor.Sink. After an error some tables may have what was staged for them. The same call again goes on with the
// others.
func (s *Sink) Commit(ctx context.Context, _, to processor.Positions, staged []processor.Staged) error {
	err := s.commit(ctx, to, staged)
	for source, next := range to {
		if err == nil {
			s.at[source] = next
		} else {
			delete(s.at, source)
			for _, c := range s.children {
				delete(c.beside, source) // it is decided again
			}
		}
	}
	return err
}

func (s *Sink) commit(ctx context.Context, to processor.Positions, staged []processor.Staged) error {
	given, err := s.sort(ctx, staged)
	if err != nil {
		return err
	}
	var busy []*child
	for _, name := range slices.Sorted(maps.Keys(given)) {
		busy = append(busy, s.children[name])
	}
	err = s.each(ctx, busy, func(ctx context.Context, c *child) error { return s.commitTo(ctx, c, given[c.name]) })
	if err != nil {
		return err
	}
	now := s.cfg.Now()
	var idle []*child
	for _, c := range s.sorted() {
		if given[c.name] == nil && now.Sub(c.last) >= seldom && c.behind(to) {
			idle = append(idle, c)
		}
	}
	return s.each(ctx, idle, func(ctx context.Context, c *child) error { return s.advance(ctx, c, to) })
}

// Cite implements processor.Citing.
func (s *Sink) Cite(marks map[processor.Source]string) (processor.Staged, bool, error) {
	var p piece
	for _, of := range slices.SortedFunc(maps.Keys(marks), processor.Source.Compare) {
		p.Marks = append(p.Marks, mark{source(of), marks[of]})
	}
	data, err := json.Marshal([]piece{p})
	return processor.Staged{Data: data}, true, err
}

// Bereft implements processor.Citing.
func (s *Sink) Bereft(gone func(mark string) bool) (src processor.Source, span kfs.Span, ok bool, err error) {
	for _, c := range s.sorted() {
		citing, is := c.sink.(processor.Citing)
		if !is {
			continue
		}
		if src, span, ok, err = citing.Bereft(gone); ok || err != nil {
			return src, span, ok, err
		}
	}
	return src, span, false, nil
}

// sort gives what was staged by table, and notes beside which dead letters it stands. Tables that another process has begun are opened.
func (s *Sink) sort(ctx context.Context, staged []processor.Staged) (map[string][]processor.Staged, error) {
	given := map[string][]processor.Staged{}
	var marks []mark
	for _, one := range staged {
		var pieces []piece
		if err := json.Unmarshal(one.Data, &pieces); err != nil {
			return nil, fmt.Errorf("staged output of %s: %w", s.cfg.Route.Name(), err)
		}
		for _, p := range pieces {
			if p.Table == "" {
				marks = append(marks, p.Marks...)
				continue
			}
			given[p.Table] = append(given[p.Table], p.staged())
			if s.children[p.Table] != nil {
				continue
			}
			if err := s.open(ctx, p.Table, ""); err != nil {
				return nil, err
			}
			if err := s.children[p.Table].load(ctx, s.cfg.Route.Topic); err != nil {
				return nil, err
			}
		}
	}
	for _, c := range s.children {
		for _, m := range marks {
			c.beside[processor.Source(m.source)] = m.Mark
		}
	}
	return given, nil
}

// commitTo commits to one table. Where it stands before what was staged, nothing in between is for it.
func (s *Sink) commitTo(ctx context.Context, c *child, staged []processor.Staged) error {
	from, to := processor.Positions{}, processor.Positions{}
	for _, one := range staged {
		for source, span := range one.Spans {
			if base, ok := from[source]; !ok || span.Base < base {
				from[source] = span.Base
			}
			to[source] = max(to[source], span.Next)
		}
	}
	if c.has(to) {
		return nil // this call comes again
	}
	gap := map[processor.Source]kfs.Span{}
	for source, base := range from {
		switch next, ok := c.next[source]; {
		case !ok || next == base:
		case next > base:
			return fmt.Errorf("table %s stands at %d of %s/%d, before it stood at %d: %w", c.name, next, source.Topic, source.Partition, base, processor.ErrMoved)
		default:
			gap[source], from[source] = kfs.Span{Base: next, Next: base}, next
		}
	}
	if len(gap) > 0 {
		sealed, err := c.over(ctx, gap)
		if err != nil {
			return err
		}
		staged = append([]processor.Staged{sealed}, staged...)
	}
	return s.send(ctx, c, from, to, staged)
}

// has reports whether the table stands at these positions.
func (c *child) has(to processor.Positions) bool {
	for source, next := range to {
		if at, ok := c.next[source]; !ok || at != next {
			return false
		}
	}
	return true
}

// over stages spans that have nothing for the table.
func (c *child) over(ctx context.Context, spans map[processor.Source]kfs.Span) (processor.Staged, error) {
	for source, span := range spans {
		if err := c.sink.Stage(ctx, processor.Batch{Source: source, Span: span}); err != nil {
			return processor.Staged{}, fmt.Errorf("table %s: %w", c.name, err)
		}
	}
	sealed, err := c.sink.Seal(ctx)
	if err != nil {
		return processor.Staged{}, fmt.Errorf("table %s: %w", c.name, err)
	}
	return sealed, nil
}

func (s *Sink) send(ctx context.Context, c *child, from, to processor.Positions, staged []processor.Staged) error {
	cited, err := c.cite(to)
	if err != nil {
		return fmt.Errorf("table %s: %w", c.name, err)
	}
	staged = append(slices.Clip(staged), cited...)
	if err := c.sink.Commit(ctx, from, to, staged); err != nil {
		return fmt.Errorf("table %s: %w", c.name, err)
	}
	maps.DeleteFunc(c.beside, func(source processor.Source, _ string) bool { _, advanced := to[source]; return advanced })
	maps.Copy(c.next, to)
	maps.Copy(c.shown, from) // else they could not have been committed there
	c.last = s.cfg.Now()
	return nil
}

// cite is staged output that says beside which dead letters a commit to these positions stands; none if that need not be said.
func (c *child) cite(to processor.Positions) ([]processor.Staged, error) {
	citing, ok := c.sink.(processor.Citing)
	if !ok || len(c.beside) == 0 {
		return nil, nil
	}
	marks := maps.Clone(c.beside)
	maps.DeleteFunc(marks, func(source processor.Source, _ string) bool { _, advances := to[source]; return !advances })
	if len(marks) == 0 {
		return nil, nil
	}
	cited, ok, err := citing.Cite(marks)
	if !ok || err != nil {
		return nil, err
	}
	return []processor.Staged{cited}, nil
}

// behind reports whether the table lacks a part of what is before to, of sources that it counts for.
func (c *child) behind(to processor.Positions) bool {
	for source, next := range to {
		if at, ok := c.next[source]; ok && at < next {
			return true
		}
	}
	return false
}

// advance moves a table over spans that have nothing for it.
func (s *Sink) advance(ctx context.Context, c *child, all processor.Positions) error {
	from, to, spans := processor.Positions{}, processor.Positions{}, map[processor.Source]kfs.Span{}
	for source, next := range all {
		if at, ok := c.next[source]; ok && at < next {
			from[source], to[source], spans[source] = at, next, kfs.Span{Base: at, Next: next}
		}
	}
	if len(to) == 0 {
		return nil
	}
	sealed, err := c.over(ctx, spans)
	if err != nil {
		return err
	}
	return s.send(ctx, c, from, to, []processor.Staged{sealed})
}

// CatchUp implements processor.Several.
func (s *Sink) CatchUp(ctx context.Context, all bool) (behind bool, err error) {
	now := s.cfg.Now()
	var idle []*child
	for _, c := range s.sorted() {
		switch {
		case !c.behind(s.at):
		case all || now.Sub(c.last) >= seldom:
			idle = append(idle, c)
		default:
			behind = true
		}
	}
	return behind, s.each(ctx, idle, func(ctx context.Context, c *child) error { return s.advance(ctx, c, s.at) })
}

// Discard implements processor.Sink.
func (s *Sink) Discard(ctx context.Context, staged []processor.Staged) error {
	var errs []error
	for _, one := range staged {
		var pieces []piece
		if err := json.Unmarshal(one.Data, &pieces); err != nil {
			errs = append(errs, fmt.Errorf("staged output of %s: %w", s.cfg.Route.Name(), err))
			continue
		}
		errs = append(errs, s.discard(ctx, pieces))
	}
	return errors.Join(errs...)
}

func (s *Sink) discard(ctx context.Context, pieces []piece) error {
	var errs []error
	for _, p := range pieces {
		if c := s.children[p.Table]; c != nil {
			if err := c.sink.Discard(ctx, []processor.Staged{p.staged()}); err != nil {
				errs = append(errs, fmt.Errorf("table %s: %w", p.Table, err))
			}
		}
	}
	return errors.Join(errs...)
}
