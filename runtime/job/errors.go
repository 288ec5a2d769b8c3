package job

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
)

// located puts file, line and column before an error of the YAML reader, and the nearest known key behind one about an unknown key.
func located(name string, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("%s: %w", name, err)
	}
	at := name
	message := e.GetMessage()
	if t := e.GetToken(); t != nil {
		at = fmt.Sprintf("%s:%d:%d", name, t.Position.Line, t.Position.Column)
		var unknown *yaml.UnknownFieldError
		if errors.As(err, &unknown) {
			message = fmt.Sprintf("unknown key %q", t.Value)
			if near := nearest(t.Value, keys(reflect.TypeFor[Job]())); near != "" {
				message += fmt.Sprintf(": did you mean %q?", near)
			}
		}
	}
	return fmt.Errorf("%s: %s", at, goNames.ReplaceAllString(message, "$1"))
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

// nearest is the known key with the fewest edits from word, or nothing if none is near.
func nearest(word string, known []string) string {
	best, bestEdits := "", min(3, len(word)/2+1)
	for _, k := range known {
		if n := edits(strings.ToLower(word), k); n < bestEdits {
			best, bestEdits = k, n
		}
	}
	return best
}

// edits is the Damerau-Levenshtein distance (optimal string alignment) of a and b.
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
