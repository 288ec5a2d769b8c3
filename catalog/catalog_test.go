package catalog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

var testSchema = iceberg.NewSchema(0, iceberg.NestedField{ID: 1, Name: "kafka_offset", Type: iceberg.PrimitiveTypes.Int64})

// openTest opens a SQLite catalog in a fresh directory.
func openTest(t *testing.T) *Catalog {
	t.Helper()
	dir := t.TempDir()
	c, err := Open(t.Context(), Config{Type: "sql", Properties: map[string]string{"uri": "sqlite:///" + dir + "/a b?/catalog.db", "warehouse": dir + "/warehouse/"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestOpenRefuses(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Type: "nessie"}, `catalog default: type "nessie" is not known; there is rest, sql, sqlite`},
		{Config{Type: "sql", Properties: map[string]string{"uri": "postgresql://host/db"}}, "sqlite:////absolute"},
		{Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:///catalog.db", "warehouse": "/w"}}, "is not absolute"},
		{Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:catalog.db", "warehouse": "/w"}}, "sqlite:////absolute"},
		{Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:////tmp/x.db"}}, "warehouse is missing"},
		{Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:////tmp/x.db", "warehouse": "file:relative"}}, "is not absolute"},
		{Config{Type: "sqlite", Properties: map[string]string{"uri": "sqlite:////tmp/x.db", "warehouse": "relative"}}, "is not absolute"},
		{Config{Type: "rest"}, `uri is "": write https://host/path`},
		{Config{Type: "rest", Properties: map[string]string{"uri": "localhost:8181"}}, `uri is "localhost:8181"`},
		{Config{Type: "rest", Properties: map[string]string{"uri": "http://h", "oauth2-server-uri": "/v1"}}, `oauth2-server-uri is "/v1"`},
	} {
		if _, err := Open(t.Context(), c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q in it", c.cfg, err, c.want)
		}
	}
}

func TestParseIdentifier(t *testing.T) {
	for _, s := range []string{"", "t", ".t", "n.", "n..t", "n/x.t", "n.t\n", "n.a/../b"} {
		if ident, err := ParseIdentifier(s); err == nil {
			t.Errorf("%q became %v", s, ident)
		}
	}
	if ident, err := ParseIdentifier("a.b.c"); err != nil || !slices.Equal(ident, []string{"a", "b", "c"}) {
		t.Errorf("a.b.c became %v, %v", ident, err)
	}
}

func TestCreateMakesNamespaces(t *testing.T) {
	c, err := openTest(t).Committer("lake.raw.events", Options{Job: "job"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := c.Create(t.Context(), testSchema, nil, map[string]string{"a": "b"})
	if err != nil {
		t.Fatal(err)
	}
	if v := first.Metadata().Version(); v != 2 {
		t.Errorf("format version %d, want 2", v)
	}
	if loc := first.Location(); !strings.HasPrefix(loc, "file:///") || strings.Contains(loc, "//warehouse") || first.Properties()["a"] != "b" {
		t.Errorf("location %s, properties %v", loc, first.Properties())
	}
	second, err := c.Create(t.Context(), testSchema, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Metadata().TableUUID() != second.Metadata().TableUUID() {
		t.Error("creating it again made another table")
	}
}

// A job of many sources: its progress is too large for a property and goes to the store.
func TestProgressFile(t *testing.T) {
	store := blob.NewMemory(nil)
	c, err := openTest(t).Committer("default.wide", Options{Job: "job", Store: store})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), testSchema, nil, nil); err != nil {
		t.Fatal(err)
	}
	g := Group{Ranges: map[string]Advance{}}
	for i := range 2000 {
		g.Ranges[fmt.Sprintf("events/AQAAAAAAAAAAAAAAAAAAAA/%d", i)] = Advance{Span: kfs.Span{Base: int64(i), Next: int64(i) + 1}, High: -1}
	}
	if err := c.Commit(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	next, loaded, err := c.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(next) != 2000 || next["events/AQAAAAAAAAAAAAAAAAAAAA/7"] != 8 {
		t.Errorf("%d sources, source 7 at %d", len(next), next["events/AQAAAAAAAAAAAAAAAAAAAA/7"])
	}
	value := loaded.Properties()[progressPrefix+"job"]
	if len(value) > maxProperty || !strings.Contains(value, `"file":"jobs/job/progress/`) {
		t.Errorf("the property is %.200s", value)
	}
	if got, err := streamsOf(value); err != nil || !slices.Equal(got, []string{"events/AQAAAAAAAAAAAAAAAAAAAA"}) {
		t.Errorf("streams %v, %v", got, err)
	}
	for page, err := range store.List(t.Context(), "jobs/", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			if _, err := store.Put(t.Context(), o.Key, []byte("{}"), false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, _, err := c.Position(t.Context()); err == nil || !strings.Contains(err.Error(), "CRC") {
		t.Errorf("a damaged file: %v", err)
	}
}

func TestOldMetadataGoes(t *testing.T) {
	c, err := openTest(t).Committer("default.many", Options{Job: "job"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Create(t.Context(), testSchema, nil, map[string]string{table.MetadataPreviousVersionsMaxKey: "3"}); err != nil {
		t.Fatal(err)
	}
	var locations []string
	for i := range int64(8) {
		g := Group{Ranges: map[string]Advance{"a/0": {Span: kfs.Span{Base: i, Next: i + 1}, High: -1}}}
		if err := c.Commit(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		loaded, err := c.Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		locations = append(locations, loaded.MetadataLocation())
	}
	loaded, err := c.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fs, err := loaded.FS(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range locations {
		f, err := fs.Open(l)
		if err == nil {
			f.Close()
		}
		if there, want := err == nil, i >= len(locations)-4; there != want {
			t.Errorf("metadata file %d of %d is there: %t, want %t", i, len(locations), there, want)
		}
	}
}

func TestReceipt(t *testing.T) {
	r := Receipt{Job: "j", Kind: KindData, Commit: "c", Writer: "w", Lineage: "l", Config: "x", Ranges: map[string]Advance{
		"a/0": {Span: kfs.Span{Base: 3, Next: 9}, High: 7, Rows: 2}, "a/1": {Span: kfs.Span{Base: 1, Next: 1}, High: -1}}}
	s, err := r.summary()
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"a/0":[3,9,7,2],"a/1":[1,1,-1,0]}`; s["firn.ranges"] != want {
		t.Errorf("ranges %s, want %s", s["firn.ranges"], want)
	}
	back, err := parseReceipt(s)
	if err != nil || fmt.Sprint(*back) != fmt.Sprint(r) {
		t.Errorf("read back %v, %v", back, err)
	}
	if none, err := parseReceipt(map[string]string{"added-records": "1"}); none != nil || err != nil {
		t.Errorf("no receipt: %v, %v", none, err)
	}
	for key, value := range map[string]string{
		"firn.receipt": "2", "firn.job": "", "firn.commit": "", "firn.ranges": `{"a/0":[9,3,-1,0]}`,
	} {
		bad := map[string]string{}
		for k, v := range s {
			bad[k] = v
		}
		bad[key] = value
		if _, err := parseReceipt(bad); err == nil {
			t.Errorf("%s = %q was accepted", key, value)
		}
	}
	for _, bad := range []string{`[3,9,7]`, `[3,9,9,1]`, `[3,9,-2,1]`, `[-1,9,1,1]`, `[3,9,7,-1]`, `"x"`, `null`} {
		var a Advance
		if err := a.UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func FuzzReceipt(f *testing.F) {
	f.Add(`{"a/0":[3,9,7,2]}`, `{"table":"T","commit":"c","sources":{"a/0":[0,9,7]}}`)
	f.Add(`null`, `{"file":"jobs/x","size":2,"crc32c":1,"commit":"c","streams":["a"]}`)
	f.Fuzz(func(t *testing.T, ranges, property string) {
		r, err := parseReceipt(map[string]string{keyReceipt: "1", keyJob: "j", keyCommit: "c", keyRanges: ranges})
		if err == nil {
			for source, a := range r.Ranges {
				if a.Span.Base < 0 || a.Span.Next < a.Span.Base || a.High >= a.Span.Next {
					t.Errorf("%s: %v", source, a)
				}
			}
		}
		store := blob.NewMemory(nil)
		p, err := decodeProgress(t.Context(), store, property)
		if err == nil && (p.Table == "" || p.Commit == "") {
			t.Errorf("%s was accepted", property)
		}
		_, _ = streamsOf(property)
	})
}

func TestStream(t *testing.T) {
	for source, want := range map[string]string{"events/id/3": "events/id", "x": "x", "a/": "a"} {
		if got := Stream(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}
