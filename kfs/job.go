package kfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Job is what a processing job has committed, and so what of its sources it does not need any more. The job overwrites it, as JSON, at
// JobKey; retention keeps what a job still needs.
type Job struct {
	Version int        `json:"version"` // JobVersion
	Name    string     `json:"job"`
	Lineage TopicID    `json:"lineage,omitzero"` // of the source; zero if it has none
	Tables  []JobTable `json:"tables"`
}

// JobTable is one table of a job.
type JobTable struct {
	Table   string      `json:"table"`
	UUID    string      `json:"uuid,omitempty"`
	Sources []JobSource `json:"sources"`
}

// JobSource is where a table stands in one partition.
type JobSource struct {
	Topic     string  `json:"topic"`
	ID        TopicID `json:"id"`
	Partition int32   `json:"partition"`
	// Next is a position that a load of the table has shown, never a commit's own answer: what lies before it is not needed any more.
	Next int64 `json:"next"`
	// Committed is the position by the newest commit's answer. A table that stands before it has lost commits.
	Committed int64 `json:"committed"`
}

// JobVersion is the version of Job that is written and read.
const JobVersion = 1

// MaxJobBytes bounds the object of a job, in bytes.
const MaxJobBytes = 64 << 20

// DecodeJob reads the object of a job. Errors are ErrVersion and ErrCorrupt; fields that version 1 does not have are among the damage,
// for who does not know them cannot tell what they hold.
func DecodeJob(body []byte) (*Job, error) {
	if len(body) > MaxJobBytes {
		return nil, corrupt("job of %d bytes, at most %d", len(body), MaxJobBytes)
	}
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(body, &head); err != nil {
		return nil, corrupt("job: %w", err)
	}
	if head.Version != JobVersion {
		return nil, fmt.Errorf("job: %w %d, this reader knows %d", ErrVersion, head.Version, JobVersion)
	}
	var j Job
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return nil, corrupt("job: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, corrupt("job: more than one value")
	}
	if err := j.Validate(); err != nil {
		return nil, corrupt("job: %w", err)
	}
	return &j, nil
}

// EncodeJob is the object of a job; the same Validate runs as when it is read.
func EncodeJob(j *Job) ([]byte, error) {
	if err := j.Validate(); err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	return json.Marshal(j)
}

// Validate checks the job by itself.
func (j *Job) Validate() error {
	if j.Version != JobVersion {
		return fmt.Errorf("version %d is not %d", j.Version, JobVersion)
	}
	if err := ValidateTopicName(j.Name); err != nil {
		return fmt.Errorf("job name: %w", err)
	}
	for i := range j.Tables {
		for _, s := range j.Tables[i].Sources {
			if err := ValidateTopicName(s.Topic); err != nil {
				return fmt.Errorf("table %q: %w", j.Tables[i].Table, err)
			}
			if s.Partition < 0 || s.Next < 0 || s.Committed < 0 {
				return fmt.Errorf("table %q: %s/%d at %d, committed %d", j.Tables[i].Table, s.Topic, s.Partition, s.Next, s.Committed)
			}
		}
	}
	return nil
}

// ParseJobKey takes the key of a job apart; ok is false for any other key.
func ParseJobKey(key string) (job string, ok bool) {
	name, under := strings.CutPrefix(key, JobsPrefix)
	job, ok = strings.CutSuffix(name, ".json")
	if !under || !ok || ValidateTopicName(job) != nil {
		return "", false
	}
	return job, true
}
