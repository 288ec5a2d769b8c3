package kfs

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func sampleJob() *Job {
	return &Job{Version: JobVersion, Name: "events", Lineage: TopicID{9}, Tables: []JobTable{
		{Table: "db.events", UUID: "u", Sources: []JobSource{{Topic: "events", ID: TopicID{1}, Partition: 3, Next: 5, Committed: 7}}},
		{Table: "db.empty", Sources: []JobSource{}},
	}}
}

const sampleJobText = `{"version":1,"job":"events","lineage":"CQAAAAAAAAAAAAAAAAAAAA","tables":[{"table":"db.events","uuid":"u","sources":[{"topic":"events","id":"AQAAAAAAAAAAAAAAAAAAAA","partition":3,"next":5,"committed":7}]},{"table":"db.empty","sources":[]}]}`

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
