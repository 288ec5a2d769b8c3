package transform

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/schema"
)

// declared are columns as a job file has them, behind the coordinates.
func declared(t testing.TB, text string) *arrow.Schema {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	s, err := schema.ParseFields(value)
	if err != nil {
		t.Fatal(err)
	}
	return withCoordinates(s)
}

const (
	// debezium is a change of a row, as Debezium tells it.
	debezium = `
- {name: op, type: string}
- {name: ts_ms, type: long}
- {name: before, type: 'struct<id: long, email: string>'}
- {name: after, type: 'struct<id: long, email: string, address: struct<city: string, zip: string>>'}
- {name: source, type: struct, fields: [{name: table, type: string, required: true}, {name: lsn, type: long}]}`

	// telemetry is a span of OpenTelemetry: what has attributes is in lists.
	telemetry = `
- {name: traceId, type: string}
- {name: resource, type: 'struct<service_name: string, attributes: list<struct<key: string, value: struct<stringValue: string>>>>'}
- {name: status, type: 'struct<code: string>'}
- {name: times, type: 'struct<start: string, end: string>'}`

	// kubernetes is an event of its API server.
	kubernetes = `
- {name: type, type: string}
- {name: kind, type: string}
- {name: metadata, type: 'struct<name: string, labels: struct<app: string>, creationTimestamp: string>'}
- {name: involvedObject, type: 'struct<kind: string, name: string>'}
- {name: user, type: string}
- {name: items, type: 'list<struct<sku: string>>'}`
)

// TestNested takes paths into structs through every transform that has them.
func TestNested(t *testing.T) {
	insert := `{"op":"c","ts_ms":1769860800000,"after":{"id":7,"email":"a@x","address":{"city":"Bern","zip":"3000"}},"source":{"table":"users","lsn":9}}`
	remove := `{"op":"d","ts_ms":1769860800001,"before":{"id":7,"email":"a@x"},"source":{"table":"users"}}`
	bare := `{"op":"r","after":{"id":8}}`
	for text, examples := range map[string][]example{
		debezium: {
			{"drop", "[after.email, before.email, after.address.zip]", []string{insert, remove, bare},
				`10:{"after":{"address":{"city":"Bern"},"id":7},"op":"c","source":{"lsn":9,"table":"users"},"ts_ms":1769860800000} ` +
					`11:{"before":{"id":7},"op":"d","source":{"lsn":null,"table":"users"},"ts_ms":1769860800001} 12:{"after":{"address":null,"id":8},"op":"r"}`, ""},
			{"drop", "[before.id, before.email, source, after.nothing, nothing.at.all]", []string{remove}, `10:{"op":"d","ts_ms":1769860800001}`, ""},
			{"select", "[op, after.id, after.address.city]", []string{insert, remove, bare},
				`10:{"after":{"address":{"city":"Bern"},"id":7},"op":"c"} 11:{"op":"d"} 12:{"after":{"address":null,"id":8},"op":"r"}`, ""},
			{"select", "[after, after.id, before.nothing]", []string{bare}, `10:{"after":{"address":null,"email":null,"id":8}}`, ""},

			{"rename", "{after.id: id, after.address.city: city}", []string{insert, remove, bare},
				`10:{"after":{"address":{"zip":"3000"},"email":"a@x"},"city":"Bern","id":7,"op":"c","source":{"lsn":9,"table":"users"},"ts_ms":1769860800000} ` +
					`11:{"before":{"email":"a@x","id":7},"op":"d","source":{"lsn":null,"table":"users"},"ts_ms":1769860800001} 12:{"after":{"address":null,"email":null},"id":8,"op":"r"}`, ""},
			{"rename", "{after.id: after.key, after.address.city: after.address.town, op: what}", []string{insert},
				`10:{"after":{"address":{"town":"Bern","zip":"3000"},"email":"a@x","key":7},"source":{"lsn":9,"table":"users"},"ts_ms":1769860800000,"what":"c"}`, ""},
			{"rename", "{after.id: after.email, after.email: after.id}", []string{bare}, `10:{"after":{"address":null,"email":8,"id":null},"op":"r"}`, ""},
			{"rename", "{before.id: id, before.email: email}", []string{remove, bare}, `10:{"email":"a@x","id":7,"op":"d","source":{"lsn":null,"table":"users"},"ts_ms":1769860800001} ` +
				`11:{"after":{"address":null,"email":null,"id":8},"op":"r"}`, ""},
			{"rename", "{after.address: address, after.nothing: nothing}", []string{insert, bare}, `10:{"address":{"city":"Bern","zip":"3000"},"after":{"email":"a@x","id":7},"op":"c",` +
				`"source":{"lsn":9,"table":"users"},"ts_ms":1769860800000} 11:{"after":{"email":null,"id":8},"op":"r"}`, ""},
			{"rename", "{after.id: op}", []string{insert, `{"after":{"id":9}}`}, `11:{"after":{"address":null,"email":null},"op":9}`, "10 name_taken: field op has the name that another column was given by rename"},
			{"rename", "{after.id: after.EMAIL}", []string{insert, remove, bare}, `11:{"before":{"email":"a@x","id":7},"op":"d","source":{"lsn":null,"table":"users"},"ts_ms":1769860800001} ` +
				`12:{"after":{"EMAIL":8,"address":null},"op":"r"}`, "10 name_taken: field after.email has the name that another column was given by rename"},
			{"rename", "{source.table: table}", []string{insert, bare}, `10:{"after":{"address":{"city":"Bern","zip":"3000"},"email":"a@x","id":7},"op":"c","source":{"lsn":9},"table":"users","ts_ms":1769860800000} ` +
				`11:{"after":{"address":null,"email":null,"id":8},"op":"r"}`, ""},

			{"cast", "{after.id: string, after.address.zip: int, before.id: string}", []string{insert, remove, bare, `{"after":{"address":{"zip":"x"}}}`},
				`10:{"after":{"address":{"city":"Bern","zip":3000},"email":"a@x","id":"7"},"op":"c","source":{"lsn":9,"table":"users"},"ts_ms":1769860800000} ` +
					`11:{"before":{"email":"a@x","id":"7"},"op":"d","source":{"lsn":null,"table":"users"},"ts_ms":1769860800001} 12:{"after":{"address":null,"email":null,"id":"8"},"op":"r"}`,
				`13 cast_failed: column after.address.zip: "x" is no int`},
			{"cast", "{source.table: long}", []string{bare, `{"source":{"table":"12"}}`}, `10:{"after":{"address":null,"email":null,"id":8},"op":"r"} 11:{"source":{"lsn":null,"table":12}}`, ""},
			{"timestamp", "{field: source.lsn, column: source.at, unit: s}", []string{bare, `{"source":{"table":"t","lsn":1769860800}}`},
				`10:{"after":{"address":null,"email":null,"id":8},"op":"r"} 11:{"source":{"at":"2026-01-31T12:00:00Z","lsn":1769860800,"table":"t"}}`, ""},
			{"timestamp", "{field: source.lsn}", []string{`{"source":{"table":"t","lsn":1769860800000}}`}, `10:{"source":{"lsn":"2026-01-31T12:00:00Z","table":"t"}}`, ""},
			{"timestamp", "{field: source.lsn, column: event_time}", []string{`{"source":{"table":"t","lsn":1}}`, bare},
				`10:{"event_time":"1970-01-01T00:00:00.001Z","source":{"lsn":1,"table":"t"}} 11:{"after":{"address":null,"email":null,"id":8},"op":"r"}`, ""},
		},
		telemetry: {
			{"rename", "{resource.service_name: service, status.code: code}", []string{`{"traceId":"a","resource":{"service_name":"web","attributes":[{"key":"host","value":{"stringValue":"h1"}}]},"status":{"code":"OK"}}`, `{"traceId":"b"}`},
				`10:{"code":"OK","resource":{"attributes":[{"key":"host","value":{"stringValue":"h1"}}]},"service":"web","traceId":"a"} 11:{"traceId":"b"}`, ""},
			{"drop", "[resource.attributes]", []string{`{"resource":{"service_name":"web","attributes":[{"key":"host","value":null}]}}`}, `10:{"resource":{"service_name":"web"}}`, ""},
			{"drop", "[resource.attributes.value]", []string{`{"traceId":"a","resource":{"service_name":"web","attributes":[{"key":"host","value":null}]}}`, `{"traceId":"b","resource":{"service_name":"web"}}`},
				`11:{"resource":{"service_name":"web"},"traceId":"b"}`,
				"10 no_struct: column resource.attributes is a list<struct<key: string, value: struct<stringValue: string>>>: resource.attributes.value leads into structs only"},
			{"timestamp", "{field: times.start, column: times.start}", []string{`{"times":{"start":"2026-01-31T12:00:00Z","end":"x"}}`, `{"times":{"start":"soon"}}`},
				`10:{"times":{"end":"x","start":"2026-01-31T12:00:00Z"}}`, `11 cast_failed: column times.start: "soon" is no timestamptz`},
		},
		kubernetes: {
			{"select", "[metadata.labels.app, items]", []string{`{"kind":"Pod","metadata":{"name":"p","labels":{"app":"web"}},"items":[{"sku":"a"}]}`, `{"kind":"Pod","metadata":{"name":"p"}}`},
				`10:{"items":[{"sku":"a"}],"metadata":{"labels":{"app":"web"}}} 11:{"metadata":{"labels":null}}`, ""},
			{"select", "[type, items.sku]", []string{`{"type":"a"}`, `{"items":[]}`}, `10:{"type":"a"}`, "11 no_struct: column items is a list<struct<sku: string>>: items.sku leads into structs only"},
			{"cast", "{user.id: long}", []string{`{"type":"a"}`, `{"user":"bob"}`}, `10:{"type":"a"}`, "11 no_struct: column user is a string: user.id leads into structs only"},
			{"rename", "{user.id: id, user.name: name}", []string{`{"type":"a"}`, `{"user":"bob"}`}, `10:{"type":"a"}`, "11 no_struct: column user is a string: user.id leads into structs only"},
			{"rename", "{involvedObject.kind: object_kind, involvedObject.name: object}", []string{`{"kind":"Event","involvedObject":{"kind":"Pod","name":"p"}}`}, `10:{"kind":"Event","object":"p","object_kind":"Pod"}`, ""},
			{"timestamp", "{field: user.at}", []string{`{"user":"bob"}`, `{}`}, `11:{}`, "10 no_struct: column user is a string: user.at leads into structs only"},
		},
	} {
		columns := declared(t, text)
		for _, c := range examples {
			c.run(t, columns)
		}
	}
}

// TestNestedNames reaches columns whose names have dots. Firn makes none, but tables that others have made may have them.
func TestNestedNames(t *testing.T) {
	long := schema.Type{Kind: schema.Long}
	columns := withCoordinates(schema.Schema{Fields: []schema.Field{{Name: "a.b", Type: long}, {Name: "a", Type: schema.StructOf(schema.Field{Name: "b", Type: long}, schema.Field{Name: "c.d", Type: long})}}})
	row := `{"a.b":1,"a":{"b":2,"c.d":3}}`
	for _, c := range []example{
		{"drop", "['`a.b`']", []string{row}, `10:{"a":{"b":2,"c.d":3}}`, ""},
		{"drop", "[a.b]", []string{row}, `10:{"a":{"c.d":3},"a.b":1}`, ""},
		{"select", "['a.`c.d`']", []string{row}, `10:{"a":{"c.d":3}}`, ""},
		{"rename", "{'`a.b`': e, 'a.`c.d`': d}", []string{row}, `10:{"a":{"b":2},"d":3,"e":1}`, ""},
		{"cast", "{'a.`c.d`': string, '`a.b`': string}", []string{row}, `10:{"a":{"b":2,"c.d":"3"},"a.b":"1"}`, ""},
	} {
		c.run(t, columns)
	}
}

// TestNestedSettings: what cannot be is said when the job file is read, or, where the columns are declared, before the start.
func TestNestedSettings(t *testing.T) {
	for _, c := range []struct{ kind, settings, columns, want string }{
		{"drop", "[after.idd]", debezium, `column after has no field "idd" (did you mean after.id?); there are id, email, address`},
		{"drop", "[email]", debezium, `there is no column "email" (did you mean before.email?); there are kafka_topic`},
		{"drop", "[zip]", debezium, `there is no column "zip" (did you mean after.address.zip?)`},
		{"drop", "[aftr.id]", debezium, `there is no column "aftr" (did you mean before.id?)`},
		{"drop", "[items.sku]", kubernetes, `column items is a list<struct<sku: string>>: items.sku leads into structs only`},
		{"drop", "[user.id.x]", kubernetes, `column user is a string: user.id.x leads into structs only`},
		{"drop", "[metadata..name]", "", `"metadata..name": a name is missing`},
		{"drop", "['`metadata']", "", "a backquote is missing"},
		{"drop", "[kafka_headers.key]", "", "column kafka_headers stays as it is"},
		{"drop", "[Kafka_Key]", "", "column Kafka_Key stays as it is"},
		{"cast", "{after: string}", debezium, "column after: a struct<id: long, email: string, address: struct<city: string, zip: string>> does not become a string"},
		{"cast", "{a.b: string, a: long}", "", "a and a.b: one is in the other"},
		{"cast", "{after.id: boolean}", debezium, "column after.id: a long does not become a boolean"},
		{"rename", "{after: next, after.id: id}", "", "after and after.id: one is in the other; give names in two steps"},
		{"rename", "{after.id: before.id}", "", "after.id: before.id is in another struct; a field is renamed in its own, as after.id, or lifted to the top, as id"},
		{"rename", "{id: after.id}", "", "id: after.id is in another struct; a field is renamed in its own, as id, or lifted to the top, as id"},
		{"rename", "{after.id: after.address.id}", "", "is in another struct"},
		{"rename", "{after.id: x, before.id: X}", "", "after.id and before.id are both to be X"},
		{"rename", "{after.id: 'after.`a.b`'}", "", "the name has '.' in it"},
		{"rename", "{after.id: op}", debezium, "there is a column op already"},
		{"rename", "{after.id: after.Email}", debezium, "there is a column email already"},
		{"rename", "{after.id: _file}", "", "the name is reserved"},
		{"timestamp", "{field: after.ts}", debezium, `column after has no field "ts"`},
		{"timestamp", "{field: after.id, column: before.at}", "", "column: before.at is in another struct"},
		{"timestamp", "{field: after.address}", debezium, "is no point in time"},
		{"compute", "{after.id: '1'}", "", "the name has '.' in it"},
	} {
		tr, err := open(memory.DefaultAllocator, c.kind, c.settings)
		if err == nil && c.columns != "" {
			_, err = tr.(processor.Typed).Columns(declared(t, c.columns), true)
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s: %v\nwant %s", c.kind, c.settings, err, c.want)
		}
	}
}

// TestNestedColumns: what a transform says of its columns before there are rows is what it makes of rows, and its origin leads back.
func TestNestedColumns(t *testing.T) {
	for _, c := range []struct{ kind, settings, columns, want, origin string }{
		{"drop", "[after.email, before]", debezium, "op string, ts_ms long, after struct<id: long, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long>",
			"op string, ts_ms long, after struct<id: long, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long>"},
		{"select", "[op, after.address.city]", debezium, "op string, after struct<address: struct<city: string>>", "op string, after struct<address: struct<city: string>>"},
		{"rename", "{op: what, after.id: id, after.address.city: after.address.town, source.table: table, source.lsn: lsn}", debezium,
			"what string, ts_ms long, before struct<id: long, email: string>, after struct<email: string, address: struct<town: string, zip: string>>, id long, lsn long, table string",
			"op string, ts_ms long, before struct<id: long, email: string>, after struct<email: string, address: struct<city: string, zip: string>, id: long>, source struct<lsn: long, table: string>"},
		{"cast", "{after.id: string, op: binary}", debezium,
			"op binary, ts_ms long, before struct<id: long, email: string>, after struct<id: string, email: string, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long>",
			"ts_ms long, before struct<id: long, email: string>, after struct<email: string, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long>"},
		{"timestamp", "{field: source.lsn, column: source.at}", debezium,
			"op string, ts_ms long, before struct<id: long, email: string>, after struct<id: long, email: string, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long, at: timestamptz>",
			"op string, ts_ms long, before struct<id: long, email: string>, after struct<id: long, email: string, address: struct<city: string, zip: string>>, source struct<table: string, lsn: long>"},
	} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		tr, err := open(mem, c.kind, c.settings)
		if err != nil {
			t.Fatal(err)
		}
		in := declared(t, c.columns)
		out, err := tr.(processor.Typed).Columns(in, true)
		if err != nil {
			t.Errorf("%s %s: %v", c.kind, c.settings, err)
			continue
		}
		if got := named(t, out); got != c.want {
			t.Errorf("%s %s: got %s\nwant %s", c.kind, c.settings, got, c.want)
		}
		if got := named(t, tr.(processor.Tracing).Origin(out)); got != c.origin {
			t.Errorf("%s %s: from %s\nwant %s", c.kind, c.settings, got, c.origin)
		}
		after, err := tr.Apply(t.Context(), batchOf(t, mem, in, `{"op":"c"}`))
		if err != nil {
			t.Fatal(err)
		}
		if got := named(t, after.Records.Schema()); got != c.want {
			t.Errorf("%s %s: rows have %s\nwant %s", c.kind, c.settings, got, c.want)
		}
		after.Records.Release()
		mem.AssertSize(t, 0)
	}
}

func named(t *testing.T, s *arrow.Schema) string {
	fields, err := schema.FromArrow(s.Fields()[processor.Coordinates:])
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range fields.Fields {
		all = append(all, f.Name+" "+f.Type.String())
	}
	return strings.Join(all, ", ")
}
