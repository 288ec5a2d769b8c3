// Package job reads job files: what a user writes to say which topics become which tables.
//
// A job file is strict YAML: an unknown key, a key that stands twice or a value of another kind is an error that names line and
// column, never ignored. Every key but name and source has a default. In source.store and in the values of catalog and sink, ${NAME} is
// replaced from the environment and ${file:/run/secrets/name} by what the file holds, so that no secret needs to stand in the job file.
//
//	name: events
//	source: {topics: [events]}
//	table: {name: "analytics.{topic}", partition: [day(kafka_timestamp)]}
package job

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/route"
)

// Job is one job file. Parse fills in the defaults that are named here.
type Job struct {
	Name      string            `yaml:"name" pattern:"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$" required:"true"` // names the job in receipts and in the dead-letter table; [A-Za-z0-9_-], at most 64; keep it, for tables know their position by it
	Source    Source            `yaml:"source" required:"true"`                                          // where records come from
	Decode    Decode            `yaml:"decode"`                                                          // what keys and values are
	Transform []Step            `yaml:"transform"`                                                       // what is done to the rows, in this order; each step has one key, which names its kind
	Table     Table             `yaml:"table"`                                                           // where rows go
	Catalog   map[string]string `yaml:"catalog"`                                                         // of sink iceberg, properties as pyiceberg names them: type, uri, warehouse, …; without it a catalog below --data
	Sink      *Step             `yaml:"sink"`                                                            // what kind of tables, if not iceberg: one key, which names the kind
	Commit    Commit            `yaml:"commit"`                                                          // how often
	Errors    Errors            `yaml:"errors"`                                                          // what becomes of records that do not fit

	sink *sink
	doc  document // that it was read from
}

// Source is the log that a job reads.
type Source struct {
	Topics  []string `yaml:"topics" one:"of"`             // topics by name
	Pattern string   `yaml:"pattern" one:"of"`            // or a regular expression that the whole name of a topic must match; topics that begin with __ never do
	Format  string   `yaml:"format" enum:"firn,kafscale"` // firn (default); or kafscale, a bucket that KafScale writes
	Store   string   `yaml:"store"`                       // s3://bucket/prefix?endpoint=…&region=… or file:///dir; without it the command's own store

	// where a table without a position begins: earliest (default), latest or an RFC 3339 time
	From string `yaml:"from" pattern:"^(earliest|latest|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))$"`
}

// Decode says what the bytes of a record are.
type Decode struct {
	Key   Key   `yaml:"key"`   // of the record's key
	Value Value `yaml:"value"` // of the record's value
}

// Key is the format of record keys.
type Key struct {
	Format string `yaml:"format" enum:"binary,string"` // binary (default) or string
}

// Value is the format of record values.
type Value struct {
	Format string `yaml:"format" enum:"json,raw"` // json (default) or raw
	Schema any    `yaml:"schema"`                 // inferred (default), or the list of fields: [{name: id, type: long, required: true, doc: …}, …]
}

// Table is where the rows of a topic go.
type Table struct {
	Name       string            `yaml:"name" pattern:"^[^.{]+[.].+$"` // namespace.table, default default.{topic}; {match:1} is what the first group of source.pattern has matched, {field:a.b} and {header:name} are what each record holds, {field:a|other} with what stands for a missing value; characters outside [A-Za-z0-9_] of what is put in become _
	Max        int               `yaml:"max" minimum:"0"`              // how many tables the job's records may make by {field:…} and {header:…}, default 100
	Partition  []string          `yaml:"partition"`                    // year(c), month(c), day(c), hour(c), bucket(16, c), truncate(4, c) or a column; used when the table is made
	Properties map[string]string `yaml:"properties"`                   // of the table, set when it is made
}

// Commit bounds how long a record waits and how large a file grows.
type Commit struct {
	Freshness Duration `yaml:"freshness"` // from the broker's acknowledgement to visible, default 2s
	FileSize  Size     `yaml:"file_size"` // of data files, and of the source data that ends a commit early, default 128MiB
}

// Errors is what becomes of records that cannot be decoded, do not fit the schema or are rejected by a transform.
type Errors struct {
	Policy string `yaml:"policy" enum:"dead_letter,skip,halt"` // dead_letter (default): rows of {namespace}.{job}_dead_letter; skip: counted; halt: their partition stops
}

// Duration is a time.Duration that is written as in Go: 500ms, 2s, 1m30s.
type Duration time.Duration

// durationForm is how a duration is written; it must not be zero, either.
const durationForm = `^[+]?(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$`

// JSONSchema is what UnmarshalYAML reads.
func (Duration) JSONSchema() map[string]any {
	return map[string]any{"type": "string", "pattern": durationForm, "examples": []string{"500ms", "2s", "1m"}}
}

// UnmarshalYAML reads the text form.
func (d *Duration) UnmarshalYAML(node ast.Node) error {
	s := node.GetToken().Value
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 || !regexp.MustCompile(durationForm).MatchString(s) {
		return wrongAt(node, "%q is not a duration: write it like 500ms, 2s or 1m", s)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written as a number or with a unit: 512KiB, 128MiB, 1GiB.
type Size int64

// JSONSchema is what UnmarshalYAML reads.
func (Size) JSONSchema() map[string]any {
	var suffixes []string
	for _, u := range units() {
		suffixes = append(suffixes, u.suffix)
	}
	return map[string]any{"type": []string{"string", "integer"}, "minimum": 1, "pattern": `^ *[+]?0*[1-9][0-9]* *(` + strings.Join(suffixes, "|") + `) *$`,
		"examples": []string{"512KiB", "128MiB", "1GiB"}}
}

// unit is what a size may have behind its number.
type unit struct {
	suffix string
	factor int64
}

func units() []unit {
	return []unit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
}

// UnmarshalYAML reads the text form.
func (z *Size) UnmarshalYAML(node ast.Node) error {
	v, err := ParseSize(node.GetToken().Value)
	if err != nil {
		return wrongAt(node, "%v", err)
	}
	*z = Size(v)
	return nil
}

// ParseSize reads a number of bytes: 1048576, 512KiB, 128MiB, 1GiB; KB, MB and GB are powers of ten.
func ParseSize(s string) (int64, error) {
	text := strings.TrimSpace(s)
	for _, u := range units() {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || v <= 0 || v > (1<<62)/u.factor {
			break
		}
		return v * u.factor, nil
	}
	return 0, fmt.Errorf("%q is not a size: write it like 1048576, 512KiB, 128MiB or 1GiB", s)
}

// Reader reads job files.
type Reader struct {
	Getenv     func(string) (string, bool)  // resolves ${NAME} and reports whether it is set
	ReadFile   func(string) ([]byte, error) // resolves ${file:…}; os.ReadFile if nil
	Transforms plugin.Transforms            // that there are
	Sinks      plugin.Sinks                 // that there are
	Sink       string                       // the kind where a job file names none; "" if it must
}

// Parse reads a job file and checks what can be checked without connecting to anything. name is what errors call the file.
func (r Reader) Parse(name string, text []byte) (*Job, error) {
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // editors on Windows put a byte order mark first
	doc, err := read(name, text)
	if err != nil {
		return nil, err
	}
	var j Job
	if err := yaml.UnmarshalWithOptions(text, &j, yaml.Strict()); err != nil {
		return nil, located(name, err)
	}
	j.setDefaults()
	noSink := j.checkSink(r) // first, because it is the sink that reserves names
	err = errors.Join(j.expand(r), j.validate(), j.checkSteps(r.Transforms), noSink)
	if err == nil {
		err = errors.Join(j.checkSettings(), j.checkColumns())
	}
	if err != nil {
		return nil, doc.located(err)
	}
	j.doc = doc
	return &j, nil
}

// Default is the job that runs without a job file: every topic becomes a table of its name.
func (r Reader) Default() (*Job, error) {
	j := &Job{Name: "firn", Source: Source{Pattern: ".*"}}
	j.setDefaults()
	return j, j.checkSink(r)
}

func (j *Job) setDefaults() {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	set(&j.Source.From, "earliest")
	set(&j.Source.Format, "firn")
	set(&j.Decode.Key.Format, "binary")
	set(&j.Decode.Value.Format, "json")
	if j.Decode.Value.Schema == nil {
		j.Decode.Value.Schema = "inferred"
	}
	set(&j.Table.Name, "default.{topic}")
	if j.Table.Max == 0 {
		j.Table.Max = route.MaxTables
	}
	set(&j.Errors.Policy, "dead_letter")
	if j.Commit.Freshness == 0 {
		j.Commit.Freshness = Duration(2 * time.Second)
	}
	if j.Commit.FileSize == 0 {
		j.Commit.FileSize = 128 << 20
	}
}

// validate reports everything that is wrong at once.
func (j *Job) validate() error {
	var errs []error
	wrong := func(key, format string, args ...any) {
		errs = append(errs, &fault{key: key, err: fmt.Errorf(format, args...)})
	}
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		wrong(key, "%q is not one of %s", value, strings.Join(allowed, ", "))
	}
	switch {
	case j.Name == "":
		wrong("name", "missing; a job needs a name that stays the same, for tables know their position by it")
	case !matches(*j, "Name", j.Name):
		wrong("name", "%q: use letters, digits, _ and -, at most 64, beginning with a letter or digit", j.Name)
	}
	switch {
	case len(j.Source.Topics) == 0 && j.Source.Pattern == "":
		wrong("source", "say which topics, as topics: [a, b] or pattern: a regular expression")
	case len(j.Source.Topics) > 0 && j.Source.Pattern != "":
		wrong("source", "topics and pattern exclude each other")
	}
	for i, topic := range j.Source.Topics {
		if err := kfs.ValidateTopicName(topic); err != nil {
			wrong(fmt.Sprintf("source.topics[%d]", i), "%w", err)
		}
	}
	if _, err := regexp.Compile(j.Source.Pattern); err != nil {
		wrong("source.pattern", "%v", err)
	} else if _, err := j.Template(); err != nil {
		wrong("table.name", "%v", err)
	}
	if j.Table.Max < 0 {
		wrong("table.max", "%d: at least one", j.Table.Max)
	}
	if s := j.Source.Store; s != "" && !reference.MatchString(s) { // what leads nowhere has been said
		if err := open.Check(s); err != nil {
			wrong("source.store", "%w", err)
		}
	}
	if _, err := j.Source.Start(); err != nil {
		wrong("source.from", "%v", err)
	}
	if !matches(j.Table, "Name", j.Table.Name) {
		wrong("table.name", "%q: write namespace.table, where the table may hold {topic}, {match:1}, {field:a} and {header:a}", j.Table.Name)
	}
	oneOf("source.format", j.Source.Format, allowed(j.Source, "Format")...)
	oneOf("decode.key.format", j.Decode.Key.Format, allowed(j.Decode.Key, "Format")...)
	oneOf("decode.value.format", j.Decode.Value.Format, allowed(j.Decode.Value, "Format")...)
	switch s := j.Decode.Value.Schema.(type) {
	case string:
		oneOf(schemaKey, s, "inferred")
	case []any:
		if _, err := j.Decoding(); err != nil {
			errs = append(errs, &fault{key: schemaKey, err: err})
		}
	default:
		wrong(schemaKey, "write inferred, or a list of fields like [{name: id, type: long}]")
	}
	oneOf("errors.policy", j.Errors.Policy, allowed(j.Errors, "Policy")...)
	return errors.Join(errs...)
}

// allowed is the values that a field's tag allows.
func allowed(v any, field string) []string {
	f, _ := reflect.TypeOf(v).FieldByName(field)
	return strings.Split(f.Tag.Get("enum"), ",")
}

// matches reports whether a value is of the form that a field's tag says.
func matches(v any, field, value string) bool {
	f, _ := reflect.TypeOf(v).FieldByName(field)
	return regexp.MustCompile(f.Tag.Get("pattern")).MatchString(value)
}

// Start reads From.
func (s Source) Start() (pipeline.Start, error) {
	switch s.From {
	case "earliest":
		return pipeline.Start{}, nil
	case "latest":
		return pipeline.Start{Latest: true}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s.From)
	if err != nil || !matches(s, "From", s.From) {
		return pipeline.Start{}, fmt.Errorf("%q is neither earliest, latest nor a time like 2026-01-31T12:00:00Z", s.From)
	}
	return pipeline.Start{At: t}, nil
}

// Template names the tables of topics and records.
func (j *Job) Template() (*route.Template, error) { return route.Parse(j.Table.Name, j.Source.Pattern) }

// Route names the table of each topic, for those who know one table a topic; an error where records name their tables.
func (j *Job) Route() (func(topic string) string, error) {
	template, err := j.Template()
	if err != nil {
		return nil, err
	}
	if template.ByContent() {
		return nil, fmt.Errorf("table.name: %s is named by what records hold, which this command does not know yet", j.Table.Name)
	}
	return func(topic string) string { return template.Of(topic).Name() }, nil
}

// Inferred reports whether the columns are those that the records have.
func (j *Job) Inferred() bool {
	return j.Decode.Value.Schema == "inferred" && j.Decode.Value.Format != "raw"
}

// DeadLetterTable is where records go that fit nowhere else: {namespace}.{job}_dead_letter.
func (j *Job) DeadLetterTable() string {
	end, inside := 0, false // of the namespace; in a placeholder, which may have dots
	for i, c := range j.Table.Name {
		switch {
		case c == '{' || c == '}':
			inside = c == '{'
		case c == '.' && !inside:
			end = i
		}
	}
	return j.Table.Name[:end] + "." + j.Name + "_dead_letter"
}
