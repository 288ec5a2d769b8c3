package transform

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var (
	_ processor.Typed   = (*cast)(nil)
	_ processor.Tracing = (*cast)(nil)
	_ processor.Typed   = (*timestamp)(nil)
	_ processor.Tracing = (*timestamp)(nil)
)

// cast gives columns, and fields of structs, other types.
type cast struct {
	paths []path
	to    []schema.Type // of each
	mem   memory.Allocator
}

func newCast(to newTypes, env plugin.Env) (processor.Transform, error) {
	paths, err := parsePaths(slices.Sorted(maps.Keys(to))...)
	if err != nil {
		return nil, err
	}
	c := &cast{paths: paths, mem: env.Allocator}
	for i, p := range paths {
		t, err := parseScalar(to[p.text])
		if err != nil {
			return nil, &plugin.SettingError{Setting: p.text, Err: fmt.Errorf("%s: %w", p, err)}
		}
		for _, other := range paths[:i] {
			if p.Under(other.Path) || other.Under(p.Path) {
				return nil, &plugin.SettingError{Setting: p.text, Err: fmt.Errorf("%s and %s: one is in the other", other, p)}
			}
		}
		c.to = append(c.to, t)
	}
	return c, nil
}

// parseScalar reads a type that values can be brought to.
func parseScalar(text string) (schema.Type, error) {
	t, err := schema.ParseType(text)
	if err != nil {
		return t, err
	}
	if t.Kind == schema.Struct || t.Kind == schema.List {
		return t, fmt.Errorf("nothing can be made a %s", t.Kind)
	}
	s := schema.Schema{Fields: []schema.Field{{Name: "value", Type: t}}}
	return t, s.Validate(nil)
}

func (c *cast) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	b, err := unblock(b, c.paths, c.mem)
	if err != nil {
		return b, err
	}
	r := newRebuilding(b, c.mem)
	in := r.in.Schema().Fields()
	for i, p := range c.paths {
		at, ok := p.Find(in)
		if !ok {
			continue
		}
		f, to := schema.FieldAt(in, at), c.to[i]
		if f.Type.ID() == arrow.NULL || arrow.TypeEqual(f.Type, to.Arrow()) {
			continue
		}
		column := nestedAt(r.in, at)
		f.Type = to.Arrow()
		r.set(at[:len(at)-1], f, to, func(row int) (any, error) {
			if column.null(row) {
				return nil, nil
			}
			v, ok := scalarOf(column.Array, row)
			if !ok {
				return nil, fmt.Errorf("a %s is no %s", nameOf(column.DataType()), to)
			}
			return v, nil
		}, reason{classCast, "column " + p.String()})
	}
	return r.finish()
}

func (c *cast) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, c.paths...); err != nil {
			return nil, err
		}
	}
	fields := in.Fields()
	for i, p := range c.paths {
		at, ok := p.Find(fields)
		if !ok {
			continue
		}
		f, to := schema.FieldAt(fields, at), c.to[i]
		if complete && !convertible(f.Type, to) {
			return nil, &plugin.SettingError{Setting: p.text, Err: fmt.Errorf("column %s: a %s does not become a %s", p, nameOf(f.Type), to)}
		}
		f.Type = to.Arrow()
		fields = setField(fields, at[:len(at)-1], f)
	}
	return arrow.NewSchema(fields, nil), nil
}

func (c *cast) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table.Fields(), func(p schema.Path) bool {
		return slices.ContainsFunc(c.paths, func(changed path) bool { return slices.Equal(p, changed.Path) })
	}).schema()
}

// timestampSettings say what a point in time is made of.
type timestampSettings struct {
	Field  string `yaml:"field" required:"true"`  // the column, or the field of structs: after.ts
	Unit   string `yaml:"unit" enum:"s,ms,us,ns"` // of numbers since 1970: s, ms (default), us or ns; of text: RFC 3339 if there is no unit
	Column string `yaml:"column"`                 // that it becomes, at the top or in the struct of the field; default the field itself
}

// timestamp makes a timestamptz of a field.
type timestamp struct {
	field     path
	column    schema.Path
	text      bool // is RFC 3339
	perSecond int64
	mem       memory.Allocator
}

func newTimestamp(s timestampSettings, env plugin.Env) (processor.Transform, error) {
	if s.Field == "" {
		return nil, fmt.Errorf("field: missing; name the column that holds a time")
	}
	t := &timestamp{perSecond: map[string]int64{"s": 1, "": 1e3, "ms": 1e3, "us": 1e6, "ns": 1e9}[s.Unit], text: s.Unit == "", mem: env.Allocator}
	if t.perSecond == 0 {
		return nil, fmt.Errorf("unit: %q is not one of s, ms, us, ns", s.Unit)
	}
	field, err := schema.ParsePath(s.Field)
	if err != nil {
		return nil, &plugin.SettingError{Setting: s.Field, Err: fmt.Errorf("field: %w", err)}
	}
	t.field = path{field, s.Field}
	if t.column, err = newName(t.field, cmp.Or(s.Column, s.Field)); err != nil {
		return nil, &plugin.SettingError{Setting: cmp.Or(s.Column, s.Field), Err: fmt.Errorf("column: %w", err)}
	}
	return t, nil
}

var timestamptz = schema.Type{Kind: schema.Timestamptz}

// made is the field that a field becomes.
func (t *timestamp) made(from arrow.Field) arrow.Field {
	f := arrow.Field{Name: t.column[len(t.column)-1], Type: timestamptz.Arrow(), Nullable: true}
	if slices.Equal(t.column, t.field.Path) {
		f.Metadata, f.Nullable = from.Metadata, from.Nullable
	}
	return f
}

func (t *timestamp) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	b, err := unblock(b, []path{t.field}, t.mem)
	if err != nil {
		return b, err
	}
	in := b.Records.Schema().Fields()
	at, ok := t.field.Find(in)
	if !ok {
		return b, nil
	}
	r := newRebuilding(b, t.mem)
	column := nestedAt(r.in, at)
	r.set(at[:len(t.column)-1], t.made(schema.FieldAt(in, at)), timestamptz, func(row int) (any, error) {
		if column.null(row) {
			return nil, nil
		}
		return t.instant(column.Array, row)
	}, reason{classCast, "column " + t.field.String()})
	return r.finish()
}

// instant reads a value as a point in time.
func (t *timestamp) instant(column arrow.Array, row int) (any, error) {
	v, ok := scalarOf(column, row)
	if !ok {
		return nil, fmt.Errorf("a %s is no point in time", nameOf(column.DataType()))
	}
	if text, ok := v.(string); ok && !t.text {
		n, ok := integer(text)
		if !ok {
			return nil, fmt.Errorf("%s is no number", excerpt(text))
		}
		v = n
	}
	switch n := v.(type) {
	case int64:
		sec, rest := n/t.perSecond, n%t.perSecond
		if at := time.Unix(sec, rest*(1e9/t.perSecond)); sec < maxSeconds && sec > -maxSeconds {
			return instant{at.UnixMicro(), true}, nil
		}
		return nil, fmt.Errorf("%d is beyond what microseconds in 64 bits hold", n)
	case float64:
		micros := n / float64(t.perSecond) * 1e6
		if micros > -maxSeconds*1e6 && micros < maxSeconds*1e6 {
			return instant{int64(math.RoundToEven(micros)), true}, nil
		}
		return nil, fmt.Errorf("%v is beyond what microseconds in 64 bits hold", n)
	}
	return v, nil
}

// maxSeconds is what microseconds in 64 bits hold.
const maxSeconds = 9_223_372_036_854

func (t *timestamp) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	if complete {
		if err := require(in, t.field); err != nil {
			return nil, err
		}
	}
	at, ok := t.field.Find(in.Fields())
	if !ok {
		return in, nil
	}
	f := schema.FieldAt(in.Fields(), at)
	switch number := f.Type.ID(); {
	case !complete, convertible(f.Type, timestamptz):
	case number == arrow.INT32 || number == arrow.INT64 || number == arrow.FLOAT32 || number == arrow.FLOAT64:
	default:
		return nil, &plugin.SettingError{Setting: t.field.text, Err: fmt.Errorf("column %s: a %s is no point in time", t.field, nameOf(f.Type))}
	}
	return arrow.NewSchema(setField(in.Fields(), at[:len(t.column)-1], t.made(f)), nil), nil
}

func (t *timestamp) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table.Fields(), func(p schema.Path) bool { return slices.Equal(p, t.column) }).schema()
}
