// Package route brings the records of one topic into several tables, by what the records hold.
//
// A table's name is a template: {topic} and {match:1} are of the topic, {field:kind} and {header:kind} of each record. A Template makes a
// Route for each topic. A Step, the last transform of a table, rejects the records that have no table; a Sink, over a sink of each table,
// puts the others where they belong.
//
// The package promises what a sink of one table promises: every offset is in one of the tables once, whatever fails in between, as long as
// each table's own sink keeps its position with its data. Commits to the tables are not atomic together and need not be: a table that is
// ahead is not given again what it has. What it never does is to keep a position of its own.
package route

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/firn-io/firn/runtime/schema"
)

// maxName bounds the names of tables that records make, in bytes.
const maxName = 200

// kind is what a part of a template stands for.
type kind uint8

const (
	literal kind = iota
	ofTopic
	ofMatch
	ofField
	ofHeader
)

// part is a piece of a template.
type part struct {
	kind  kind
	text  string // a literal's text, a field's path, a header's name
	path  schema.Path
	group int    // of {match:N}
	other string // what stands for a value that is missing
	given bool   // other is
}

// Template is a table name with placeholders.
type Template struct {
	parts   []part
	pattern *regexp.Regexp
}

var placeholder = regexp.MustCompile(`\{[^}]*\}?`)

// Parse reads a template. pattern is the regular expression of the job's topics, whose groups {match:1} … are; "" if it has none. The error
// says which placeholder stands for nothing.
func Parse(table, pattern string) (*Template, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	t := &Template{pattern: re}
	at := 0
	for _, place := range placeholder.FindAllStringIndex(table, -1) {
		p, err := parsePart(table[place[0]:place[1]])
		if err != nil {
			return nil, err
		}
		if p.kind == ofMatch && (p.group < 1 || p.group > re.NumSubexp()) {
			return nil, fmt.Errorf("{match:%d}: source.pattern %q has %d groups", p.group, pattern, re.NumSubexp())
		}
		t.parts = append(t.parts, part{text: table[at:place[0]]}, p)
		at = place[1]
	}
	t.parts = append(t.parts, part{text: table[at:]})
	return t, nil
}

func parsePart(text string) (part, error) {
	unknown := fmt.Errorf("%s stands for nothing; there are {topic}, {match:1} for the first group of source.pattern, "+
		"{field:a.b} and {header:name} for what a record holds, and {field:a|other} with what stands for a value that is missing", text)
	inner, ok := strings.CutSuffix(strings.TrimPrefix(text, "{"), "}")
	what, name, named := strings.Cut(inner, ":")
	switch {
	case !ok:
		return part{}, unknown
	case inner == "topic":
		return part{kind: ofTopic}, nil
	case what == "match" && named:
		var n int
		if _, err := fmt.Sscanf(name, "%d", &n); err != nil || name != fmt.Sprint(n) {
			return part{}, unknown
		}
		return part{kind: ofMatch, group: n}, nil
	case (what == "field" || what == "header") && named:
		p := part{kind: ofField}
		if what == "header" {
			p.kind = ofHeader
		}
		p.text, p.other, p.given = strings.Cut(name, "|")
		if p.text == "" {
			return part{}, fmt.Errorf("%s: say which %s, like {%s:kind}", text, what, what)
		}
		if p.kind == ofField {
			var err error
			if p.path, err = schema.ParsePath(p.text); err != nil {
				return part{}, fmt.Errorf("%s: %w", text, err)
			}
		}
		if p.given && identifier(p.other) == "" {
			return part{}, fmt.Errorf("%s: say what stands for a value that is missing, like {%s:%s|other}", text, what, p.text)
		}
		return p, nil
	}
	return part{}, unknown
}

// ByContent reports whether the table of a record depends on what the record holds.
func (t *Template) ByContent() bool {
	for _, p := range t.parts {
		if p.kind >= ofField {
			return true
		}
	}
	return false
}

// Of is the route of a topic's records.
func (t *Template) Of(topic string) *Route {
	found := t.pattern.FindStringSubmatch(topic)
	r := &Route{Topic: topic}
	add := func(text string) {
		if n := len(r.parts); n > 0 && r.parts[n-1].kind == literal {
			r.parts[n-1].text += text
			return
		}
		r.parts = append(r.parts, part{text: text})
	}
	for _, p := range t.parts {
		switch {
		case p.kind == literal:
			add(p.text)
		case p.kind == ofTopic, p.kind == ofMatch && found == nil:
			add(identifier(topic))
		case p.kind == ofMatch:
			add(identifier(found[p.group]))
		default:
			r.parts = append(r.parts, p)
		}
	}
	return r
}

// Route is where the records of one topic go.
type Route struct {
	Topic string
	parts []part // literals, fields and headers
}

// Name is the table's name; where it depends on the records, with the placeholders in it.
func (r *Route) Name() string { return r.name(func(p part) string { return p.placeholder() }) }

// Sample is a name that a table of the route could have.
func (r *Route) Sample() string { return r.name(func(part) string { return "x" }) }

func (r *Route) name(content func(part) string) string {
	var b strings.Builder
	for _, p := range r.parts {
		if p.kind == literal {
			b.WriteString(p.text)
		} else {
			b.WriteString(content(p))
		}
	}
	return b.String()
}

func (p part) placeholder() string {
	what := "field"
	if p.kind == ofHeader {
		what = "header"
	}
	if p.given {
		return fmt.Sprintf("{%s:%s|%s}", what, p.text, p.other)
	}
	return fmt.Sprintf("{%s:%s}", what, p.text)
}

// ByContent reports whether there are several tables.
func (r *Route) ByContent() bool { return len(r.content()) > 0 }

// content is the parts that records decide.
func (r *Route) content() []part {
	var all []part
	for _, p := range r.parts {
		if p.kind != literal {
			all = append(all, p)
		}
	}
	return all
}

// Namespace is where the tables are.
func (r *Route) Namespace() string {
	name := r.Sample()
	return name[:max(0, strings.LastIndexByte(name, '.'))]
}

// Matches reports whether a table's name could be one of the route's. Letters count alike in both cases, as some catalogs have it.
func (r *Route) Matches(table string) bool {
	var b strings.Builder
	b.WriteString("(?i)^")
	for _, p := range r.parts {
		if p.kind == literal {
			b.WriteString(regexp.QuoteMeta(p.text))
		} else {
			b.WriteString("[A-Za-z0-9_]+")
		}
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String()).MatchString(table)
}

// identifier is a text with _ for all characters outside [A-Za-z0-9_].
func identifier(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, text)
}

// Classes of records that have no table.
const (
	Missing   = "route_missing"   // there is no value where the table's name wants one
	Unnamed   = "route_value"     // a value that no table can be named by
	Collision = "route_collision" // its table has the name of another value's, or is another's
	Limit     = "route_limit"     // the job has as many tables as it may have
)

// refusal is why a record has no table.
type refusal struct{ class, message string }

func (r *refusal) Error() string { return r.message }

func refuse(class, format string, args ...any) *refusal {
	return &refusal{class, fmt.Sprintf(format, args...)}
}

var errNoTable = errors.New("a record has no table: the step that sees to that was left out")
