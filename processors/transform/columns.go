package transform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var (
	_ processor.Typed   = (*choose)(nil)
	_ processor.Tracing = (*choose)(nil)
	_ processor.Typed   = (*rename)(nil)
	_ processor.Tracing = (*rename)(nil)
)

// choose is select and drop: it lets columns and fields of structs through, or not.
type choose struct {
	paths []path
	gone  func(p schema.Path) bool
	mem   memory.Allocator
}

func newSelect(names names, env plugin.Env) (processor.Transform, error) {
	paths, err := parsePaths(names...)
	return &choose{paths, func(p schema.Path) bool {
		return !coordinates[strings.ToLower(p[0])] && !slices.ContainsFunc(paths, func(kept path) bool { return p.Under(kept.Path) || kept.Under(p) })
	}, env.Allocator}, err
}

func newDrop(names names, env plugin.Env) (processor.Transform, error) {
	paths, err := parsePaths(names...)
	return &choose{paths, func(p schema.Path) bool {
		return slices.ContainsFunc(paths, func(dropped path) bool { return p.Under(dropped.Path) })
	}, env.Allocator}, err
}

func (c *choose) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	b, err := unblock(b, c.paths, c.mem)
	if err != nil {
		return b, err
	}
	defer b.Records.Release()
	b.Records = without(b.Records.Schema().Fields(), c.gone).of(b.Records, c.mem)
	return b, nil
}

func (c *choose) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, c.paths...); err != nil {
			return nil, err
		}
	}
	return c.Origin(in), nil
}

func (c *choose) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table.Fields(), c.gone).schema()
}

// rename gives columns other names, and fields of structs, and lifts these to the top. Where a record has a field of such a name itself, its
// row is rejected: one of the two values would be lost.
type rename struct {
	moves []move
	mem   memory.Allocator
}

// move is one new name. Its path ends in the same struct, or is one name: at the top.
type move struct {
	from path
	to   schema.Path
}

func (m move) lifts() bool { return len(m.to) < len(m.from.Path) }

func newRename(to newNames, env plugin.Env) (processor.Transform, error) {
	froms, err := parsePaths(slices.Sorted(maps.Keys(to))...)
	if err != nil {
		return nil, err
	}
	r := &rename{mem: env.Allocator}
	taken := map[string]path{}
	for i, from := range froms {
		m := move{from: from}
		if m.to, err = newName(from, to[from.text]); err != nil {
			return nil, &plugin.SettingError{Setting: from.text, Err: fmt.Errorf("%s: %w", from, err)}
		}
		for _, other := range froms[:i] {
			if from.Under(other.Path) || other.Under(from.Path) {
				return nil, &plugin.SettingError{Setting: from.text, Err: fmt.Errorf("%s and %s: one is in the other; give names in two steps", other, from)}
			}
		}
		folded := strings.ToLower(m.to.String())
		if other, ok := taken[folded]; ok {
			return nil, &plugin.SettingError{Setting: from.text, Err: fmt.Errorf("%s and %s are both to be %s", other, from, m.to)}
		}
		taken[folded] = from
		r.moves = append(r.moves, m)
	}
	return r, nil
}

// newName reads the path that a field gets.
func newName(from path, text string) (schema.Path, error) {
	to, err := schema.ParsePath(text)
	if err != nil {
		return nil, err
	}
	if len(to) == 1 {
		return to, checkNames(to[0])
	}
	last := len(to) - 1
	if len(to) != len(from.Path) || !from.Under(to[:last]) {
		return nil, fmt.Errorf("%s is in another struct; a field is renamed in its own, as %s, or lifted to the top, as %s",
			to, append(slices.Clone(from.Path[:len(from.Path)-1]), to[last]), schema.Path{to[last]})
	}
	return to, schema.Schema{Fields: []schema.Field{{Name: to[last], Type: schema.Type{Kind: schema.Boolean}}}}.Validate(nil)
}

// taken is the fields that have a name which another one is to get.
func (r *rename) taken(in []arrow.Field) []refusal {
	var taken []refusal
	for _, m := range r.moves {
		if _, ok := m.from.Find(in); !ok {
			continue
		}
		fields, outer, at := in, m.to[:len(m.to)-1], []int(nil)
		if len(outer) > 0 {
			at, _ = outer.Find(in)
			fields = schema.FieldAt(in, at).Type.(*arrow.StructType).Fields()
		}
		for i, f := range fields {
			p := append(slices.Clone(outer), f.Name)
			moves := slices.ContainsFunc(r.moves, func(other move) bool { return slices.Equal(other.from.Path, p) })
			if strings.EqualFold(f.Name, m.to[len(m.to)-1]) && !moves {
				taken = append(taken, refusal{append(slices.Clone(at), i), reason{className, fmt.Sprintf("field %s has the name that another column was given by rename", p)}})
			}
		}
	}
	return taken
}

func (r *rename) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	b, err := unblock(b, r.paths(), r.mem)
	if err == nil {
		b, err = refuse(b, r.taken(b.Records.Schema().Fields()), r.mem)
	}
	if err != nil {
		return b, err
	}
	defer b.Records.Release()
	b.Records = r.shape(b.Records.Schema().Fields()).of(b.Records, r.mem)
	return b, nil
}

func (r *rename) paths() []path {
	var all []path
	for _, m := range r.moves {
		all = append(all, m.from)
	}
	return all
}

// shape has the fields under their new names, and behind all those that are lifted.
func (r *rename) shape(in []arrow.Field) shape {
	all := r.renamed(in, nil)
	for _, m := range r.moves {
		at, ok := m.from.Find(in)
		if !ok || !m.lifts() {
			continue
		}
		f := schema.FieldAt(in, at)
		for n := 1; n < len(at); n++ {
			f.Nullable = f.Nullable || schema.FieldAt(in, at[:n]).Nullable
		}
		f.Name = m.to[0]
		all = append(all, shaped{field: f, from: at})
	}
	return all
}

func (r *rename) renamed(fields []arrow.Field, outer schema.Path) shape {
	var all shape
	for i, f := range fields {
		p := append(outer[:len(outer):len(outer)], f.Name)
		one, lifted := asIs(f, i), false
		for _, m := range r.moves {
			switch inner, ok := f.Type.(*arrow.StructType); {
			case slices.Equal(m.from.Path, p) && m.lifts():
				lifted = true
			case slices.Equal(m.from.Path, p):
				one.field.Name = m.to[len(m.to)-1]
			case ok && m.from.Under(p) && one.inner == nil:
				left := r.renamed(inner.Fields(), p)
				lifted = len(left) == 0 // all of it is
				one = structOf(f, i, left)
			}
		}
		if !lifted {
			all = append(all, one)
		}
	}
	return all
}

func (r *rename) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, r.paths()...); err != nil {
			return nil, err
		}
		if taken := r.taken(in.Fields()); len(taken) > 0 {
			return nil, fmt.Errorf("there is a column %s already", schema.FieldAt(in.Fields(), taken[0].at).Name)
		}
	}
	return r.shape(in.Fields()).schema(), nil
}

// Origin has the names before. What the table has under a name that is given away has come there otherwise.
func (r *rename) Origin(table *arrow.Schema) *arrow.Schema {
	fields := r.original(table.Fields(), nil)
	for _, m := range r.moves {
		if at, ok := m.to.Find(table.Fields()); ok && m.lifts() {
			f := table.Field(at[0])
			f.Name = m.from.Path[len(m.from.Path)-1]
			fields = insert(fields, m.from.Path, f)
		}
	}
	return arrow.NewSchema(fields, nil)
}

func (r *rename) original(fields []arrow.Field, outer schema.Path) []arrow.Field {
	var all []arrow.Field
	for _, f := range fields {
		p := append(outer[:len(outer):len(outer)], f.Name)
		if i := slices.IndexFunc(r.moves, func(m move) bool { return slices.Equal(m.to, p) }); i >= 0 {
			if m := r.moves[i]; !m.lifts() {
				f.Name = m.from.Path[len(p)-1]
				all = append(all, f)
			}
			continue
		}
		if slices.ContainsFunc(r.moves, func(m move) bool { return slices.Equal(m.from.Path, p) }) {
			continue
		}
		if inner, ok := f.Type.(*arrow.StructType); ok {
			left := r.original(inner.Fields(), p)
			if len(left) == 0 {
				continue
			}
			f.Type = arrow.StructOf(left...)
		}
		all = append(all, f)
	}
	return all
}

// insert puts a field where a path leads, and structs around it where there are none.
func insert(fields []arrow.Field, p schema.Path, f arrow.Field) []arrow.Field {
	if len(p) == 1 {
		return append(fields, f)
	}
	i := slices.IndexFunc(fields, func(have arrow.Field) bool { return have.Name == p[0] })
	if i < 0 {
		i, fields = len(fields), append(fields, arrow.Field{Name: p[0], Nullable: true})
	}
	var inner []arrow.Field
	if have, ok := fields[i].Type.(*arrow.StructType); ok {
		inner = have.Fields()
	}
	fields[i].Type = arrow.StructOf(insert(slices.Clone(inner), p[1:], f)...)
	return fields
}
