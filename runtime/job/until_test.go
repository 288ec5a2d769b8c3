package job

import (
	"io/fs"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/runtime/pipeline"
)

func TestParseUntil(t *testing.T) {
	files := map[string]string{
		"good.json":  `{"events": {"0": 1200, "1": 900}, "a.b-c": {"7": 0}}`,
		"list.json":  `[1]`,
		"empty.json": `{}`,
		"part.json":  `{"events": {"x": 1}}`,
		"topic.json": `{"a/b": {"0": 1}}`,
		"twice.json": `{"events": {"0": 1}, "events": {"1": 2}}`,
		"again.json": `{"events": {"0": 1, "0": 2}}`,
		"text.json":  `{"events": {"0": "1"}}`,
	}
	readFile := func(name string) ([]byte, error) {
		if text, ok := files[name]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}
	both := pipeline.Until{Offsets: pipeline.Offsets{"events": {0: 1200, 1: 900}, "a.b-c": {7: 0}}}
	for text, want := range map[string]pipeline.Until{
		"latest":                                {Latest: true},
		"2026-01-31T12:00:00Z":                  {At: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)},
		"events:0=12":                           {Offsets: pipeline.Offsets{"events": {0: 12}}},
		"events:0=1200, events:1=900,a.b-c:7=0": both,
		"@good.json":                            both,
	} {
		got, err := ParseUntil(text, readFile)
		if err != nil || !got.At.Equal(want.At) || got.Latest != want.Latest || !reflect.DeepEqual(got.Offsets, want.Offsets) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                       "neither latest",
		"yesterday":              "neither latest",
		"2026-01-31":             "neither latest",
		"events=12":              "write topic:partition=offset",
		"events:0=":              `"" is not an offset`,
		"events:0=1,":            "write topic:partition=offset",
		"events:x=1":             `"x" is not a partition`,
		"events:4294967296=1":    "is not a partition",
		"events:0=1,events:0=1":  "partition 0 of events stands twice",
		"events:0=1,events:00=2": "partition 0 of events stands twice",
		"a/b:0=1":                "topic name",
		":0=1":                   "topic name",
		"@nothing.json":          "file does not exist",
		"@list.json":             "write offsets by topic and partition",
		"@empty.json":            "names no offset",
		"@part.json":             `"x" is not a partition`,
		"@topic.json":            "topic name",
		"@twice.json":            "events stands twice",
		"@again.json":            "0 stands twice",
		"@text.json":             "cannot unmarshal string",
	} {
		if got, err := ParseUntil(text, readFile); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, error %v, want %q", text, got, err, want)
		}
	}
}
