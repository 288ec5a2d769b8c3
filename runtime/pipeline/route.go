package pipeline

import (
	"fmt"
	"regexp"
	"strings"
)

// Template makes a route of a table name in which {topic} stands for the topic. Characters of the topic outside [A-Za-z0-9_] become _.
func Template(table string) func(topic string) string {
	return func(topic string) string { return strings.ReplaceAll(table, "{topic}", identifier(topic)) }
}

var placeholder = regexp.MustCompile(`\{[^}]*\}?`)

// MatchTemplate makes a route like Template, of a job whose topics match a pattern: {match:1} stands for what the pattern's first group has
// matched, and so on. The error says which placeholder stands for nothing.
func MatchTemplate(table, pattern string) (func(topic string) string, error) {
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	groups := map[string]int{}
	for _, p := range placeholder.FindAllString(table, -1) {
		var n int
		switch _, err := fmt.Sscanf(p, "{match:%d}", &n); {
		case p == "{topic}":
		case err != nil || p != fmt.Sprintf("{match:%d}", n):
			return nil, fmt.Errorf("%s stands for nothing; there are {topic}, and {match:1} for the first group of source.pattern", p)
		case n < 1 || n > re.NumSubexp():
			return nil, fmt.Errorf("%s: source.pattern %q has %d groups", p, pattern, re.NumSubexp())
		default:
			groups[p] = n
		}
	}
	return func(topic string) string {
		found := re.FindStringSubmatch(topic)
		return placeholder.ReplaceAllStringFunc(table, func(p string) string {
			if n, ok := groups[p]; ok && found != nil {
				return identifier(found[n])
			}
			return identifier(topic)
		})
	}, nil
}

func identifier(topic string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '_':
			return r
		}
		return '_'
	}, topic)
}

// collision says that two topics would share a table.
func collision(table, first, second string) error {
	return halted(fmt.Sprintf("topics %s and %s would both go to table %s", first, second, table),
		"give them jobs of their own, with different tables")
}
