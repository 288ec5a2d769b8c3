package route

import (
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	for _, c := range []struct{ table, pattern, topic, want string }{
		{"db.{topic}", "", "a.b-c", "db.a_b_c"},
		{"db.{topic}", "x", "not-x", "db.not_x"},
		{"db.{match:1}", `logs\.(.*)`, "logs.web-1", "db.web_1"},
		{"db.{match:2}_{match:1}", `(\w+)\.(\w+)`, "eu.orders", "db.orders_eu"},
		{"db.t_{match:1}", `a(b)?`, "a", "db.t_"},
	} {
		template, err := Parse(c.table, c.pattern)
		if err != nil {
			t.Errorf("%s: %v", c.table, err)
			continue
		}
		if got := template.Of(c.topic).Name(); got != c.want || template.ByContent() {
			t.Errorf("%s of %s by %s: %s, want %s", c.table, c.topic, c.pattern, got, c.want)
		}
	}
	for table, want := range map[string]string{
		"db.{tpoic}":    "{tpoic} stands for nothing",
		"db.{topic":     "{topic stands for nothing",
		"db.{match:2}":  `{match:2}: source.pattern "(a)" has 1 groups`,
		"db.{match:0}":  "{match:0}: source.pattern",
		"db.{match:x}":  "{match:x} stands for nothing",
		"db.{field}":    "{field} stands for nothing",
		"db.{field:}":   "{field:}: say which field, like {field:kind}",
		"db.{header:}":  "{header:}: say which header",
		"db.{field:a|}": "say what stands for a value that is missing, like {field:a|other}",
	} {
		if _, err := Parse(table, "(a)"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", table, err, want)
		}
	}
}

func TestTemplateByContent(t *testing.T) {
	template, err := Parse("db.{topic}_{field:a.b|no ne}_{header:h}", "")
	if err != nil {
		t.Fatal(err)
	}
	r := template.Of("web-log")
	if !template.ByContent() || !r.ByContent() || r.Name() != "db.web_log_{field:a.b|no ne}_{header:h}" || r.Sample() != "db.web_log_x_x" || r.Namespace() != "db" {
		t.Errorf("%+v: %s, %s, %s", r, r.Name(), r.Sample(), r.Namespace())
	}
	for table, want := range map[string]bool{"db.web_log_a_b": true, "db.WEB_log_A_b_c": true, "db.web_log_a": false, "db.web_log__": false, "dbxweb_log_a_b": false,
		"db.web_log_a_b.c": false, "db.web_log_{field:a.b|no ne}_{header:h}": false} {
		if r.Matches(table) != want {
			t.Errorf("%s matches: %t", table, !want)
		}
	}
}
