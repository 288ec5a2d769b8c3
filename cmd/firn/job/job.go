// Package job reads job files: what a user writes to say which topics become which tables.
//
// A job file is strict YAML: an unknown key, a key that stands twice or a value of another kind is an error that names line and
// column, never ignored. Every key but name and source has a default. ${NAME} in a value of catalog or in source.store is replaced from the
// environment, so that no secret needs to stand in the file.
//
//	name: events
//	source: {topics: [events]}
//	table: {name: "analytics.{topic}", partition: [day(kafka_timestamp)]}
package job

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
)

// Job is one job file. Parse fills in the defaults that are named here.
type Job struct {
	Name   string `yaml:"name"`   // names the job in receipts and in the dead-letter table; [A-Za-z0-9_-], at most 64
	Source Source `yaml:"source"` // where records come from
	Decode Decode `yaml:"decode"` // what keys and values are
	// What is done to the rows, in this order; each step has one key, which names its kind: select, drop, rename, cast, filter, compute, timestamp
	Transform []Step            `yaml:"transform"`
	Table     Table             `yaml:"table"`   // where rows go
	Catalog   map[string]string `yaml:"catalog"` // properties as pyiceberg names them: type, uri, warehouse, …; empty: the command's own catalog
	Commit    Commit            `yaml:"commit"`  // how often
	Errors    Errors            `yaml:"errors"`  // what becomes of records that do not fit
}

// Source is the log that a job reads.
type Source struct {
	Topics  []string `yaml:"topics"`  // topics by name
	Pattern string   `yaml:"pattern"` // or a regular expression that the whole name of a topic must match
	Store   string   `yaml:"store"`   // s3://bucket/prefix?endpoint=…&region=… or file:///dir; empty: the command's own store
	From    string   `yaml:"from"`    // where a table without a position begins: earliest (default), latest or an RFC 3339 time
}

// Decode says what the bytes of a record are.
type Decode struct {
	Key   Key   `yaml:"key"`
	Value Value `yaml:"value"`
}

// Key is the format of record keys.
type Key struct {
	Format string `yaml:"format"` // binary (default) or string
}

// Value is the format of record values.
type Value struct {
	Format string `yaml:"format"` // json (default) or raw
	Schema any    `yaml:"schema"` // inferred (default), or the list of fields
}

// Table is where the rows of a topic go.
type Table struct {
	Name       string            `yaml:"name"`       // template, default "default.{topic}"
	Partition  []string          `yaml:"partition"`  // partition expressions: day(kafka_timestamp), bucket(16, user_id), …
	Properties map[string]string `yaml:"properties"` // Iceberg table properties, set when the table is created
}

// Commit bounds how long a record waits and how large a file grows.
type Commit struct {
	Freshness Duration `yaml:"freshness"` // from the broker's acknowledgement to visible, default 2s
	FileSize  Size     `yaml:"file_size"` // default 128MiB
}

// Errors is what becomes of records that cannot be decoded or do not fit the schema.
type Errors struct {
	Policy string `yaml:"policy"` // dead_letter (default), skip or halt
}

// Duration is a time.Duration that is written as in Go: 500ms, 2s, 1m30s.
type Duration time.Duration

// UnmarshalYAML reads the text form.
func (d *Duration) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return fmt.Errorf("%q is not a duration: write it like 500ms, 2s or 1m", s)
	}
	*d = Duration(v)
	return nil
}

// Size is a number of bytes, written as a number or with a unit: 512KiB, 128MiB, 1GiB.
type Size int64

// UnmarshalYAML reads the text form.
func (z *Size) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	v, err := ParseSize(s)
	*z = Size(v)
	return err
}

// ParseSize reads a number of bytes: 1048576, 512KiB, 128MiB, 1GiB; KB, MB and GB are powers of ten.
func ParseSize(s string) (int64, error) {
	units := []struct {
		suffix string
		factor int64
	}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}
	text := strings.TrimSpace(s)
	for _, u := range units {
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
	Getenv     func(string) (string, bool) // resolves ${NAME} and reports whether it is set
	Transforms plugin.Transforms           // that there are
}

// Parse reads a job file. name is what errors call the file.
func (r Reader) Parse(name string, text []byte) (*Job, error) {
	var j Job
	if err := yaml.UnmarshalWithOptions(text, &j, yaml.Strict()); err != nil {
		return nil, located(name, err)
	}
	j.setDefaults()
	err := errors.Join(j.expand(r.Getenv), j.validate(), j.checkSteps(name, r.Transforms))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &j, nil
}

// Default is the job that runs without a job file: every topic becomes a table of its name.
func Default() *Job {
	j := &Job{Name: "firn", Source: Source{Pattern: ".*"}}
	j.setDefaults()
	return j
}

func (j *Job) setDefaults() {
	set := func(s *string, to string) {
		if *s == "" {
			*s = to
		}
	}
	set(&j.Source.From, "earliest")
	set(&j.Decode.Key.Format, "binary")
	set(&j.Decode.Value.Format, "json")
	if j.Decode.Value.Schema == nil {
		j.Decode.Value.Schema = "inferred"
	}
	set(&j.Table.Name, "default.{topic}")
	set(&j.Errors.Policy, "dead_letter")
	if j.Commit.Freshness == 0 {
		j.Commit.Freshness = Duration(2 * time.Second)
	}
	if j.Commit.FileSize == 0 {
		j.Commit.FileSize = 128 << 20
	}
}

var reference = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expand replaces ${NAME} where secrets and places stand.
func (j *Job) expand(getenv func(string) (string, bool)) error {
	var missing []error
	replace := func(at, s string) string {
		return reference.ReplaceAllStringFunc(s, func(m string) string {
			v, ok := getenv(m[2 : len(m)-1])
			if !ok {
				missing = append(missing, fmt.Errorf("%s: the environment has no variable %s", at, m[2:len(m)-1]))
			}
			return v
		})
	}
	j.Source.Store = replace("source.store", j.Source.Store)
	for k, v := range j.Catalog {
		j.Catalog[k] = replace("catalog."+k, v)
	}
	return errors.Join(missing...)
}

var jobName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// validate reports everything that is wrong at once.
func (j *Job) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	oneOf := func(key, value string, allowed ...string) {
		for _, a := range allowed {
			if value == a {
				return
			}
		}
		wrong("%s: %q is not one of %s", key, value, strings.Join(allowed, ", "))
	}
	switch {
	case j.Name == "":
		wrong("name: missing; a job needs a name that stays the same, for tables know their position by it")
	case !jobName.MatchString(j.Name):
		wrong("name: %q: use letters, digits, _ and -, at most 64, beginning with a letter or digit", j.Name)
	}
	switch {
	case len(j.Source.Topics) == 0 && j.Source.Pattern == "":
		wrong("source: say which topics, as topics: [a, b] or pattern: a regular expression")
	case len(j.Source.Topics) > 0 && j.Source.Pattern != "":
		wrong("source: topics and pattern exclude each other")
	}
	if _, err := regexp.Compile(j.Source.Pattern); err != nil {
		wrong("source.pattern: %v", err)
	}
	if _, err := j.Source.Start(); err != nil {
		wrong("source.from: %v", err)
	}
	if namespace, table, ok := strings.Cut(j.Table.Name, "."); !ok || namespace == "" || table == "" || strings.Contains(namespace, "{") {
		wrong("table.name: %q: write namespace.table, where the table may hold {topic}", j.Table.Name)
	}
	oneOf("decode.key.format", j.Decode.Key.Format, "binary", "string")
	oneOf("decode.value.format", j.Decode.Value.Format, "json", "raw")
	switch s := j.Decode.Value.Schema.(type) {
	case string:
		oneOf("decode.value.schema", s, "inferred")
	case []any:
	default:
		wrong("decode.value.schema: write inferred, or a list of fields like [{name: id, type: long}]")
	}
	oneOf("errors.policy", j.Errors.Policy, "dead_letter", "skip", "halt")
	return errors.Join(errs...)
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
	if err != nil {
		return pipeline.Start{}, fmt.Errorf("%q is neither earliest, latest nor a time like 2026-01-31T12:00:00Z", s.From)
	}
	return pipeline.Start{At: t}, nil
}

// DeadLetterTable is where records go that fit nowhere else: {namespace}.{job}_dead_letter.
func (j *Job) DeadLetterTable() string {
	namespace := j.Table.Name[:max(0, strings.LastIndexByte(j.Table.Name, '.'))]
	return namespace + "." + j.Name + "_dead_letter"
}
