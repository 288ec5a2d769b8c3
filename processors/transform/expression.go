package transform

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/runtime/schema"
)

const (
	maxCost       = 1_000_000 // steps of one evaluation of an expression with loops, as CEL counts them
	maxExpression = 16 << 10  // characters
	rowName       = "row"     // what expressions call the row as a whole
)

// expression is one expression, compiled for the columns of a batch.
type expression struct {
	program cel.Program
	result  *cel.Type
	row     *rowValues
}

// compile compiles an expression for batches of a schema. Columns that are not there are null, unless the schema is complete.
func compile(text string, in *arrow.Schema, complete bool) (*expression, error) {
	env, err := newEnv(in, nil)
	if err != nil {
		return nil, err
	}
	e := &expression{row: &rowValues{columns: make(map[string]int, in.NumFields())}}
	for i, f := range in.Fields() {
		e.row.columns[f.Name] = i
	}
	checked, issues := env.Compile(text)
	unknown := absent(env, text, in)
	if issues.Err() != nil && !complete {
		// What is not there is null in every row. What has another type than the expression wants is found out row by row.
		for _, names := range [][]string{unknown, slices.Concat(unknown, slices.Collect(maps.Keys(e.row.columns)), []string{rowName})} {
			loose, err := newEnv(in, names)
			if err != nil {
				return nil, err
			}
			if c, i := loose.Compile(text); i.Err() == nil {
				env, checked, issues = loose, c, i
				break
			}
		}
	}
	if issues.Err() != nil {
		return nil, describe(text, issues, unknown, in)
	}
	e.result = checked.OutputType()
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize), e.row.judge()}
	if loops(checked) {
		options = append(options, cel.CostLimit(maxCost)) // counting takes as long as the rest
	}
	if e.program, err = env.Program(checked, options...); err != nil {
		return nil, fmt.Errorf("expression %q: %w", text, err)
	}
	return e, nil
}

// loops reports whether an expression may apply an operator more than once.
func loops(checked *cel.Ast) bool {
	found := false
	ast.PreOrderVisit(checked.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		found = found || e.Kind() == ast.ComprehensionKind
	}))
	return found
}

// newEnv is what expressions over a schema can name. The names in loose stand for values of any type.
func newEnv(in *arrow.Schema, loose []string) (*cel.Env, error) {
	provider, err := newProvider(in)
	if err != nil {
		return nil, err
	}
	env, err := cel.NewEnv(append([]cel.EnvOption{
		cel.CustomTypeProvider(provider), cel.CustomTypeAdapter(types.DefaultTypeAdapter),
		cel.CrossTypeNumericComparisons(true), cel.EnableIdentifierEscapeSyntax(), cel.ParserExpressionSizeLimit(maxExpression),
		ext.Strings(ext.StringsVersion(4)), ext.Math(ext.MathVersion(2)),
	}, provider.variables(in, loose)...)...)
	if err != nil {
		return nil, fmt.Errorf("expressions over these columns: %w", err)
	}
	return env, nil
}

// describe says what is wrong with an expression, and what columns there are if it names one that is not.
func describe(text string, issues *cel.Issues, absent []string, in *arrow.Schema) error {
	var parts []string
	for _, e := range issues.Errors() {
		parts = append(parts, fmt.Sprintf("column %d: %s", e.Location.Column()+1, e.Message))
	}
	err := fmt.Errorf("expression %q: %s", text, strings.Join(parts, "; "))
	if len(absent) > 0 {
		return fmt.Errorf("%w (%w)", err, missing(schema.Path{absent[0]}, in))
	}
	return err
}

// absent lists the names in an expression that stand for nothing.
func absent(env *cel.Env, text string, in *arrow.Schema) []string {
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil
	}
	var names []string
	bound := map[string]bool{rowName: true}
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() == ast.ComprehensionKind {
			c := e.AsComprehension()
			bound[c.IterVar()], bound[c.IterVar2()], bound[c.AccuVar()] = true, true, true
		}
	}))
	ast.PreOrderVisit(parsed.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if e.Kind() != ast.IdentKind {
			return
		}
		name := e.AsIdent()
		if _, known := env.CELTypeProvider().FindIdent(name); !known && !bound[name] && !in.HasField(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}))
	return names
}

// errNull is that there is nothing in a struct that is null.
var errNull = errors.New("null")

// eval evaluates the expression for a row; nil is null. The value is valid as long as the batch is.
func (e *expression) eval(rows arrow.RecordBatch, row int) (ref.Val, error) {
	e.row.rows, e.row.row, e.row.null = rows, row, false
	v, _, err := e.program.Eval(e.row)
	if err == nil && v == types.NullValue || e.ofNull(err) {
		return nil, nil
	}
	return v, err
}

// ofNull reports whether an error was caused by a null.
func (e *expression) ofNull(err error) bool {
	var j *judged
	if errors.As(err, &j) {
		return j.null
	}
	var failed *types.Err // else it took too long
	return errors.As(err, &failed) && e.row.null
}

// rowValues is the row that an expression is evaluated for.
type rowValues struct {
	rows    arrow.RecordBatch
	row     int
	null    bool // a null was read
	columns map[string]int
}

// ResolveName implements interpreter.Activation.
func (r *rowValues) ResolveName(name string) (any, bool) {
	i, ok := r.columns[name]
	if !ok {
		if name == rowName {
			return &structValue{typ: newStructType(rowName), row: r}, true
		}
		r.null = true // absent, or a name of another kind, of which nothing comes
		return types.NullValue, true
	}
	return r.value(r.rows.Column(i), r.row, rowName+"."+name), true
}

// Parent implements interpreter.Activation.
func (r *rowValues) Parent() cel.Activation { return nil }
