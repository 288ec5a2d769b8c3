package transform

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

var (
	_ processor.Typed   = (*compute)(nil)
	_ processor.Tracing = (*compute)(nil)
)

// Computed is an expression that makes a column: the expression alone, or with the type of the column.
type Computed struct {
	Expr string `yaml:"expr"` // in CEL
	Type string `yaml:"type"` // under its Iceberg name; default: the expression's
}

// JSONSchema is what UnmarshalYAML reads.
func (Computed) JSONSchema() map[string]any {
	text := map[string]any{"type": "string", "minLength": 1}
	return map[string]any{"oneOf": []map[string]any{text, {"type": "object", "properties": map[string]any{"expr": text, "type": map[string]any{"type": "string", "pattern": schema.ScalarPattern()}},
		"required": []string{"expr"}, "additionalProperties": false}}}
}

// UnmarshalYAML reads both forms.
func (c *Computed) UnmarshalYAML(unmarshal func(any) error) error {
	if unmarshal(&c.Expr) == nil {
		return nil
	}
	type long Computed
	return unmarshal((*long)(c))
}

// compute makes columns by expressions over the columns of the batch, not over each other.
type compute struct {
	columns []computed
	mem     memory.Allocator
}

type computed struct {
	name string
	typ  schema.Type // Unknown: the expression's
	programs
}

func newCompute(settings map[string]Computed, env plugin.Env) (processor.Transform, error) {
	c := &compute{mem: env.Allocator}
	names := slices.Sorted(maps.Keys(settings))
	if len(names) == 0 {
		return nil, fmt.Errorf("name at least one column")
	}
	for _, name := range names {
		column := computed{name: name, programs: programs{text: settings[name].Expr}}
		if text := settings[name].Type; text != "" {
			t, err := parseScalar(text)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			column.typ = t
		}
		c.columns = append(c.columns, column)
	}
	if _, err := c.Columns(arrow.NewSchema(nil, nil), false); err != nil {
		return nil, err
	}
	return c, checkNames(names...)
}

func (c *compute) Apply(_ context.Context, b processor.Batch) (processor.Batch, error) {
	r := newRebuilding(b, c.mem)
	for i := range c.columns {
		column := &c.columns[i]
		e, err := column.of(r.in.Schema())
		if err != nil {
			r.giveUp()
			return processor.Batch{}, err
		}
		column.build(r, e)
	}
	return r.finish()
}

// build sets the column to what the expression gives for each row.
func (c *computed) build(r *rebuilding, e *expression) {
	typ := c.typ
	if typ.Kind == schema.Unknown {
		typ = typeOfResult(e.result)
	}
	value := func(row int) (any, error) {
		v, err := e.eval(r.in, row)
		if err != nil || v == nil {
			return nil, err
		}
		if s, ok := scalarOfValue(v); ok {
			return s, nil
		}
		return nil, noColumn(v.Type())
	}
	if typ.Kind == schema.Unknown { // the first value tells
		for row := 0; row < len(r.keep) && typ.Kind == schema.Unknown; row++ {
			if v, err := value(row); err == nil && v != nil {
				typ = kindOf(v)
			}
		}
	}
	if typ.Kind == schema.Unknown { // null in every row, or an error
		r.remove(c.name)
		typ.Kind = schema.Boolean
		r.check(value, c.where())
		return
	}
	r.set(nil, arrow.Field{Name: c.name, Type: typ.Arrow(), Nullable: true}, typ, value, c.where())
}

func (c *computed) where() reason {
	return reason{classExpression, fmt.Sprintf("column %s, expression %q", c.name, c.text)}
}

// typeOfResult is the type of a column that holds an expression's values; Unknown if only they can tell.
func typeOfResult(t *cel.Type) schema.Type {
	switch t.Kind() {
	case types.BoolKind:
		return schema.Type{Kind: schema.Boolean}
	case types.IntKind:
		return schema.Type{Kind: schema.Long}
	case types.DoubleKind:
		return schema.Type{Kind: schema.Double}
	case types.StringKind:
		return schema.Type{Kind: schema.String}
	case types.BytesKind:
		return schema.Type{Kind: schema.Binary}
	case types.TimestampKind:
		return timestamptz
	}
	return schema.Type{}
}

func noColumn(t ref.Type) error {
	return fmt.Errorf("the result is a %s, and columns hold bool, int, double, string, bytes and timestamp", t.TypeName())
}

func (c *compute) Columns(in *arrow.Schema, complete bool) (*arrow.Schema, error) {
	out := in
	for _, column := range c.columns {
		e, err := compile(column.text, in, complete)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", column.name, err)
		}
		typ, made := column.typ, typeOfResult(e.result)
		switch kind := e.result.Kind(); {
		case kind != types.DynKind && kind != types.NullTypeKind && made.Kind == schema.Unknown:
			return nil, fmt.Errorf("column %s: expression %q: %w", column.name, column.text, noColumn(e.result))
		case typ.Kind == schema.Unknown:
			typ = made
		case complete && made.Kind != schema.Unknown && !convertible(made.Arrow(), typ):
			return nil, fmt.Errorf("column %s: expression %q makes a %s, which does not become a %s", column.name, column.text, made, typ)
		}
		if typ.Kind == schema.Unknown && complete {
			return nil, fmt.Errorf("column %s: the type of expression %q is not known; say it: {expr: …, type: …}", column.name, column.text)
		}
		if typ.Kind != schema.Unknown {
			out = arrow.NewSchema(setField(out.Fields(), nil, arrow.Field{Name: column.name, Type: typ.Arrow(), Nullable: true}), nil)
		}
	}
	return out, nil
}

func (c *compute) Origin(table *arrow.Schema) *arrow.Schema {
	return without(table.Fields(), func(p schema.Path) bool {
		return len(p) == 1 && slices.ContainsFunc(c.columns, func(column computed) bool { return strings.EqualFold(column.name, p[0]) })
	}).schema()
}
