package pipeline

import (
	"fmt"
	"strings"
)

// Template makes a route of a table name in which {topic} stands for the topic. Characters of the topic outside [A-Za-z0-9_] become _.
func Template(table string) func(topic string) string {
	return func(topic string) string { return strings.ReplaceAll(table, "{topic}", identifier(topic)) }
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
