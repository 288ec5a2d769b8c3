package transform

import (
	"errors"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/interpreter"
)

// An expression that fails for a row rejects it, and one that meets a null is null. CEL has one kind of error for both: no function takes a
// null. So errors are judged where they arise, by what the operator or the function was given. That some null was read on the way says
// nothing: it may have been compared with null.

// judged is an error of which it is known whether a null has caused it.
type judged struct {
	error
	null bool
}

// Unwrap gives the error.
func (j *judged) Unwrap() error { return j.error }

// judge lets a program's errors be judged.
func (r *rowValues) judge() cel.ProgramOption {
	return cel.CustomDecoratorV2(func(i interpreter.InterpretableV2) (interpreter.InterpretableV2, error) {
		switch i := i.(type) {
		case *call, *attribute:
			return i, nil
		case interpreter.InterpretableCall:
			return &call{i}, nil
		case interpreter.InterpretableAttribute:
			return &attribute{i, r}, nil
		}
		return i, nil
	})
}

// fresh is an error that nobody has judged yet; nil for values, and for errors of what is within.
func fresh(v ref.Val) error {
	err, ok := v.(*types.Err)
	if !ok {
		return nil
	}
	if j := (*judged)(nil); errors.As(err, &j) {
		return nil
	}
	return err
}

// call is an operator or a function.
type call struct{ interpreter.InterpretableCall }

// Exec implements interpreter.InterpretableV2.
func (c *call) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	v := c.InterpretableCall.Exec(frame)
	err := fresh(v)
	if err == nil {
		return v
	}
	null := false
	for _, arg := range c.Args() {
		null = null || arg.Exec(frame) == types.NullValue
	}
	return types.WrapErr(&judged{err, null})
}

// Eval implements interpreter.Interpretable.
func (c *call) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, c.Exec)
}

// attribute is a column, or what is in it, by names and indexes. Where one of them leads into a null, there is nothing behind it.
type attribute struct {
	interpreter.InterpretableAttribute
	row *rowValues
}

// Exec implements interpreter.InterpretableV2.
func (a *attribute) Exec(frame *interpreter.ExecutionFrame) ref.Val {
	before := a.row.null
	a.row.null = false
	v := a.InterpretableAttribute.Exec(frame)
	if err := fresh(v); err != nil {
		v = types.WrapErr(&judged{err, a.row.null})
	}
	a.row.null = a.row.null || before
	return v
}

// Eval implements interpreter.Interpretable.
func (a *attribute) Eval(vars interpreter.Activation) ref.Val {
	return interpreter.EvalActivation(vars, a.Exec)
}
