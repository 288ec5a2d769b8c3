package kfs

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sampleJob() *Job {
	return &Job{Version: JobVersion, Name: "events", Lineage: TopicID{9}, Pattern: "ev.*", Tables: []JobTable{
		{Table: "db.events", UUID: "u", Marked: 11, Sources: []JobSource{{Topic: "events", ID: TopicID{1}, Partition: 3, Next: 5, Committed: 7, Hold: 2, Mark: 4}}},
		{Table: "db.empty", Sources: []JobSource{}},
	}}
}

const sampleJobText = `{"version":1,"job":"events","lineage":"CQAAAAAAAAAAAAAAAAAAAA","pattern":"ev.*","tables":[{"table":"db.events","uuid":"u","marked":11,"sources":[{"topic":"events","id":"AQAAAAAAAAAAAAAAAAAAAA","partition":3,"next":5,"committed":7,"hold":2,"mark":4}]},{"table":"db.empty","sources":[]}]}`

func TestJob(t *testing.T) {
	body, err := EncodeJob(sampleJob())
	if err != nil || string(body) != sampleJobText {
		t.Errorf("encoded: %s (%v)", body, err)
	}
	got, err := DecodeJob([]byte(sampleJobText))
	if err != nil || !reflect.DeepEqual(got, sampleJob()) {
		t.Errorf("decoded: %+v (%v)", got, err)
	}
	bare := &Job{Version: JobVersion, Name: "j", Tables: []JobTable{}}
	if body, err := EncodeJob(bare); err != nil || string(body) != `{"version":1,"job":"j","tables":[]}` {
		t.Errorf("without a lineage: %s (%v)", body, err)
	}
}

func TestJobIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		want     error
	}{
		"newer":              {`"version":1`, `"version":2`, ErrVersion},
		"no version":         {`"version":1,`, ``, ErrVersion},
		"unknown field":      {`"partition":3`, `"partition":3,"paused":true`, ErrCorrupt},
		"more behind":        {`"sources":[]}]}`, `"sources":[]}]}{}`, ErrCorrupt},
		"cut":                {`"sources":[]}]}`, `"sources":[]`, ErrCorrupt},
		"no id":              {`AQAAAAAAAAAAAAAAAAAAAA`, `AQAA`, ErrCorrupt},
		"evil name":          {`"job":"events"`, `"job":"../events"`, ErrCorrupt},
		"evil topic":         {`"topic":"events"`, `"topic":"a/b"`, ErrCorrupt},
		"negative partition": {`"partition":3`, `"partition":-3`, ErrCorrupt},
		"negative position":  {`"next":5`, `"next":-5`, ErrCorrupt},
		"negative commit":    {`"committed":7`, `"committed":-7`, ErrCorrupt},
		"negative hold":      {`"hold":2`, `"hold":-2`, ErrCorrupt},
		"negative mark":      {`"mark":4`, `"mark":-4`, ErrCorrupt},
		"negative time":      {`"marked":11`, `"marked":-11`, ErrCorrupt},
		"no pattern":         {`"pattern":"ev.*"`, `"pattern":"ev(*"`, ErrCorrupt},
		"two filters":        {`"pattern":"ev.*"`, `"topics":["a"],"pattern":"ev.*"`, ErrCorrupt},
	} {
		body := strings.Replace(sampleJobText, c.old, c.new, 1)
		if got, err := DecodeJob([]byte(body)); !errors.Is(err, c.want) || got != nil {
			t.Errorf("%s: %+v, %v, want %v", name, got, err, c.want)
		}
	}
	evil := sampleJob()
	evil.Tables[0].Sources[0].Next = -1
	if _, err := EncodeJob(evil); err == nil {
		t.Error("a negative position is written")
	}
}

func TestJobHolds(t *testing.T) {
	listed, other := PartitionID{Topic: TopicID{1}, Partition: 3}, PartitionID{Topic: TopicID{2}}
	second := JobTable{Table: "db.second", Sources: []JobSource{{Topic: "events", ID: TopicID{1}, Partition: 3, Hold: 1}}}
	for name, c := range map[string]struct {
		change func(*Job)
		topic  string
		id     PartitionID
		from   int64
		ok     bool
	}{
		"listed":                  {func(*Job) {}, "events", listed, 2, true},
		"in two tables":           {func(j *Job) { j.Tables = append(j.Tables, second) }, "events", listed, 1, true},
		"listed, but not matched": {func(j *Job) { j.Pattern = "x" }, "events", listed, 2, true},
		"not listed yet":          {func(*Job) {}, "evenings", other, 0, true},
		"recreated":               {func(*Job) {}, "events", other, 0, true},
		"not matched":             {func(*Job) {}, "an event", other, 0, false},
		"internal":                {func(j *Job) { j.Pattern = ".*" }, "__offsets", other, 0, false},
		"named":                   {func(j *Job) { j.Topics, j.Pattern = []string{"a", "b"}, "" }, "b", other, 0, true},
		"not named":               {func(j *Job) { j.Topics, j.Pattern = []string{"a", "b"}, "" }, "c", other, 0, false},
		"it does not say":         {func(j *Job) { j.Pattern = "" }, "c", other, 0, true},
	} {
		j := sampleJob()
		c.change(j)
		if from, ok := j.Holds()(c.topic, c.id); from != c.from || ok != c.ok {
			t.Errorf("%s: held from %d: %t, want %d: %t", name, from, ok, c.from, c.ok)
		}
	}
}

func TestJobKeys(t *testing.T) {
	if job, ok := ParseJobKey(JobKey("a.b")); !ok || job != "a.b" {
		t.Errorf("%q, %t", job, ok)
	}
	for _, key := range []string{"jobs/a/config-1.json", "jobs/.json", "jobs/...json", "jobs/a", "job/a.json", "jobs/a b.json", "a.json"} {
		if job, ok := ParseJobKey(key); ok {
			t.Errorf("%s is the key of job %q", key, job)
		}
	}
}

func FuzzDecodeJob(f *testing.F) {
	f.Add([]byte(sampleJobText))
	f.Add([]byte(`{"version":1,"job":"j","tables":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		j, err := DecodeJob(body)
		if err != nil {
			return
		}
		once, err := EncodeJob(j)
		if err != nil {
			t.Fatal(err)
		}
		again, err := DecodeJob(once)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := EncodeJob(again); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("%s becomes %s (%v)", once, twice, err)
		}
	})
}
