package transform

import (
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

// cast gives columns other types.
type cast struct {
	to  map[string]schema.Type
	mem memory.Allocator
}

func newCast(to map[string]string, env plugin.Env) (processor.Transform, error) {
	c := &cast{map[string]schema.Type{}, env.Allocator}
	names := slices.Sorted(maps.Keys(to))
	if err := checkPayload(names...); err != nil {
		return nil, err
	}
	for _, name := range names {
		t, err := parseScalar(to[name])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c.to[name] = t
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
	r := newRebuilding(b, c.mem)
	for _, name := range slices.Sorted(maps.Keys(c.to)) {
		i, to := indexOf(r.in.Schema(), name), c.to[name]
		if i < 0 || r.in.Column(i).DataType().ID() == arrow.NULL || arrow.TypeEqual(r.in.Column(i).DataType(), to.Arrow()) {
			continue
		}
		f, column := r.in.Schema().Field(i), r.in.Column(i)
		f.Type = to.Arrow()
		r.set(f, to, func(row int) (any, error) {
			if column.IsNull(row) {
				return nil, nil
			}
			v, ok := scalarOf(column, row)
			if !ok {
				return nil, fmt.Errorf("a %s is no %s", column.DataType(), to)
			}
			return v, nil
		}, reason{classCast, "column " + name})
	}
	return r.finish()
}

func (c *cast) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	for _, name := range slices.Sorted(maps.Keys(c.to)) {
		i := indexOf(in, name)
		switch {
		case i < 0 && complete:
			return nil, missing(name, in)
		case i < 0:
			continue
		}
		f, to := in.Field(i), c.to[name]
		if complete && !convertible(f.Type, to) {
			return nil, fmt.Errorf("column %s: a %s does not become a %s", name, f.Type, to)
		}
		f.Type = to.Arrow()
		in = setField(in, f)
	}
	return in, nil
}

func (c *cast) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table, func(name string) bool { _, ok := c.to[name]; return ok })
}

// timestampSettings say what a point in time is made of.
type timestampSettings struct {
	Field  string `yaml:"field"`  // the column
	Unit   string `yaml:"unit"`   // of numbers since 1970: s, ms (default), us or ns; of text: RFC 3339 if there is no unit
	Column string `yaml:"column"` // that it becomes; default the field itself
}

// timestamp makes a timestamptz of a field.
type timestamp struct {
	timestampSettings
	perSecond int64
	mem       memory.Allocator
}

func newTimestamp(s timestampSettings, env plugin.Env) (processor.Transform, error) {
	if s.Field == "" {
		return nil, fmt.Errorf("field: missing; name the column that holds a time")
	}
	if s.Column == "" {
		s.Column = s.Field
	}
	t := &timestamp{s, map[string]int64{"s": 1, "": 1e3, "ms": 1e3, "us": 1e6, "ns": 1e9}[s.Unit], env.Allocator}
	if t.perSecond == 0 {
		return nil, fmt.Errorf("unit: %q is not one of s, ms, us, ns", s.Unit)
	}
	return t, checkNames(s.Column)
}

var timestamptz = schema.Type{Kind: schema.Timestamptz}

func (t *timestamp) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	i := indexOf(b.Records.Schema(), t.Field)
	if i < 0 {
		return b, nil
	}
	r := newRebuilding(b, t.mem)
	column, f := r.in.Column(i), arrow.Field{Name: t.Column, Type: timestamptz.Arrow(), Nullable: true}
	if t.Column == t.Field {
		f.Metadata, f.Nullable = r.in.Schema().Field(i).Metadata, r.in.Schema().Field(i).Nullable
	}
	r.set(f, timestamptz, func(row int) (any, error) {
		if column.IsNull(row) {
			return nil, nil
		}
		return t.instant(column, row)
	}, reason{classCast, "column " + t.Field})
	return r.finish()
}

// instant reads a value as a point in time.
func (t *timestamp) instant(column arrow.Array, row int) (any, error) {
	v, ok := scalarOf(column, row)
	if !ok {
		return nil, fmt.Errorf("a %s is no point in time", column.DataType())
	}
	if text, ok := v.(string); ok && t.Unit != "" {
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
	i := indexOf(in, t.Field)
	switch {
	case i < 0 && complete:
		return nil, missing(t.Field, in)
	case i < 0:
		return in, nil
	}
	f := in.Field(i)
	switch number := f.Type.ID(); {
	case !complete, convertible(f.Type, timestamptz):
	case number == arrow.INT32 || number == arrow.INT64 || number == arrow.FLOAT32 || number == arrow.FLOAT64:
	default:
		return nil, fmt.Errorf("column %s: a %s is no point in time", t.Field, f.Type)
	}
	return setField(in, arrow.Field{Name: t.Column, Type: timestamptz.Arrow(), Nullable: t.Column != t.Field || f.Nullable}), nil
}

func (t *timestamp) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table, func(name string) bool { return name == t.Column })
}
