package pipeline

import (
	"strings"
	"testing"
)

func TestMatchTemplate(t *testing.T) {
	for _, c := range []struct{ table, pattern, topic, want string }{
		{"db.{topic}", "", "a.b-c", "db.a_b_c"},
		{"db.{topic}", "x", "not-x", "db.not_x"},
		{"db.{match:1}", `logs\.(.*)`, "logs.web-1", "db.web_1"},
		{"db.{match:2}_{match:1}", `(\w+)\.(\w+)`, "eu.orders", "db.orders_eu"},
		{"db.t_{match:1}", `a(b)?`, "a", "db.t_"},
	} {
		route, err := MatchTemplate(c.table, c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.table, err)
			continue
		}
		if got := route(c.topic); got != c.want {
			t.Errorf("%s of %s by %s: %s, want %s", c.table, c.topic, c.pattern, got, c.want)
		}
	}
	for table, want := range map[string]string{
		"db.{tpoic}":   "{tpoic} stands for nothing",
		"db.{topic":    "{topic stands for nothing",
		"db.{match:2}": `{match:2}: source.pattern "(a)" has 1 groups`,
		"db.{match:0}": "{match:0}: source.pattern",
		"db.{match:x}": "{match:x} stands for nothing",
	} {
		if _, err := MatchTemplate(table, "(a)"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", table, err, want)
		}
	}
}
