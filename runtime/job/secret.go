package job

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

var reference = regexp.MustCompile(`\$\{(file:[^}]+|[A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces references where secrets and places stand. The error names every one that leads nowhere.
func (j *Job) expand(r Reader) error {
	var missing []error
	replace := func(at, s string) string {
		return reference.ReplaceAllStringFunc(s, func(m string) string {
			v, err := r.resolve(m[2 : len(m)-1])
			if err != nil {
				missing = append(missing, &fault{key: at, err: err})
				return m
			}
			return v
		})
	}
	j.Source.Store = replace("source.store", j.Source.Store)
	for k, v := range j.Catalog {
		j.Catalog[k] = replace("catalog."+k, v)
	}
	if j.Sink != nil {
		ast.Walk(visitor(func(n ast.Node) {
			if s, ok := n.(*ast.StringNode); ok {
				s.Value = replace("sink", s.Value)
			}
		}), j.Sink.settings)
	}
	return errors.Join(missing...)
}

// visitor is a function that sees every node.
type visitor func(ast.Node)

// Visit implements ast.Visitor.
func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

// resolve is what a reference stands for: the variable of that name, or what a file holds, without the end of its last line.
func (r Reader) resolve(name string) (string, error) {
	if path, ok := strings.CutPrefix(name, "file:"); ok {
		read := r.ReadFile
		if read == nil {
			read = os.ReadFile
		}
		text, err := read(path)
		if err != nil {
			return "", fmt.Errorf("${file:…}: %w", err)
		}
		return strings.TrimRight(string(text), "\r\n"), nil
	}
	if v, ok := r.Getenv(name); ok {
		return v, nil
	}
	return "", fmt.Errorf("the environment has no variable %s", name)
}
