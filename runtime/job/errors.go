package job

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/firn-io/firn/runtime/spelling"
)

// fault is what is wrong with a key of a job file.
type fault struct {
	key   string       // its path, with dots, or what else tells people where; "" if the token says it all
	token *token.Token // where it stands; nil: where the path leads
	err   error
}

func (f *fault) Error() string {
	if f.key == "" {
		return f.err.Error()
	}
	return f.key + ": " + f.err.Error()
}

func (f *fault) Unwrap() error { return f.err }

// document is a job file as it stands.
type document struct {
	name string
	root ast.Node // nil if the file is empty
}

// read parses a file, which is one job. It has no tags: the reader does not survive one where it wants a list.
func read(name string, text []byte) (document, error) {
	f, err := parser.ParseBytes(text, 0)
	if err != nil {
		return document{}, located(name, err)
	}
	d := document{name: name}
	for _, one := range f.Docs {
		switch {
		case one.Body == nil:
		case d.root != nil:
			return d, fmt.Errorf("%s: a second document begins here: a job file is one job; put the other into a file of its own", place(name, one.Body.GetToken()))
		default:
			d.root = one.Body
		}
	}
	if d.root == nil {
		return d, nil
	}
	for _, tag := range ast.Filter(ast.TagType, d.root) {
		t := tag.GetToken()
		return d, fmt.Errorf("%s: tag %s: a job file has none; leave it out, and put text that looks like a number in quotes", place(name, t), t.Value)
	}
	return d, nil
}

// wrongAt is an error of reading a node.
func wrongAt(n ast.Node, format string, args ...any) error {
	return &yaml.SyntaxError{Message: fmt.Sprintf(format, args...), Token: n.GetToken()}
}

// located puts file, line and column before every error of several.
func (d document) located(err error) error {
	if f, ok := err.(*fault); ok {
		if several, ok := f.err.(interface{ Unwrap() []error }); ok {
			return d.each(several.Unwrap(), func(one error) error { return &fault{f.key, f.token, one} })
		}
	} else if several, ok := err.(interface{ Unwrap() []error }); ok {
		return d.each(several.Unwrap(), func(one error) error { return one })
	}
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return located(d.name, err)
	}
	var f *fault
	if !errors.As(err, &f) {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	return fmt.Errorf("%s: %w", place(d.name, d.where(f)), err)
}

func (d document) each(errs []error, of func(error) error) error {
	var all []error
	for _, err := range errs {
		all = append(all, d.located(of(err)))
	}
	return errors.Join(all...)
}

// located puts file, line and column before an error of the YAML reader, and the nearest known key behind one about an unknown key.
func located(name string, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", name, err)
	}
	t, message := e.GetToken(), e.GetMessage()
	var unknown *yaml.UnknownFieldError
	if t != nil && errors.As(err, &unknown) {
		message = fmt.Sprintf("unknown key %q", t.Value)
		if near := spelling.Nearest(t.Value, keys(reflect.TypeFor[Job]())); near != "" {
			message += fmt.Sprintf(": did you mean %q?", near)
		}
	}
	return fmt.Errorf("%s: %s", place(name, t), goNames.ReplaceAllString(message, "$1"))
}

// goNames finds the Go type names that the YAML reader puts into its messages, which mean nothing to a user.
var goNames = regexp.MustCompile(`(?:job\.)?Job\.?([A-Z][A-Za-z]*)`)

// keys lists all keys of a job file.
func keys(t reflect.Type) []string {
	var all []string
	for i := range t.NumField() {
		f := t.Field(i)
		if tag := f.Tag.Get("yaml"); tag != "" {
			all = append(all, tag)
		}
		if f.Type.Kind() == reflect.Struct {
			all = append(all, keys(f.Type)...)
		}
	}
	return all
}
