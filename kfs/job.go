package kfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Job is what a processing job has committed, and so what of its sources it does not need any more. The job overwrites it, as JSON, at
// JobKey; retention keeps what a job still needs (see Job.Holds).
type Job struct {
	Version int     `json:"version"` // JobVersion
	Name    string  `json:"job"`
	Lineage TopicID `json:"lineage,omitzero"` // of the source; zero if it has none
	// Topics or Pattern say which topics the job reads, also those that do not exist yet; see MatchTopics. Neither: it may be any.
	Topics  []string   `json:"topics,omitempty"`
	Pattern string     `json:"pattern,omitempty"`
	Tables  []JobTable `json:"tables"`
	// Halts are what does not go on before a person has decided something, or something else has changed.
	Halts []JobHalt `json:"halts,omitempty"`
	// Workers are the processes that share the job, as one of them saw them last, or the one that wrote this and takes itself for the only one.
	// Those that have ended are not among them, unless they were killed.
	Workers []JobWorker `json:"workers,omitempty"`
}

// JobWorker is one of the processes that run a job. One that does not share it reads all, and says nothing more than who it is.
type JobWorker struct {
	ID   string `json:"id"`   // random, new with every start
	Name string `json:"name"` // for a person: host and process
	// Reads are the partitions of each topic that it reads, or is about to: 0-3,7.
	Reads map[TopicID]string `json:"reads,omitempty"`
	// Commits are the tables that it commits to for all.
	Commits []string `json:"commits,omitempty"`
}

// JobHalt is why a part of a job does not go on.
type JobHalt struct {
	Table     string `json:"table,omitempty"`     // "" if it is about more than a table
	Topic     string `json:"topic,omitempty"`     // "" if it is about all of the table
	Partition int32  `json:"partition,omitempty"` // of the topic
	What      string `json:"what"`                // for a person: what was found and what to do
	Worker    string `json:"worker,omitempty"`    // the id of the process that says so, if several share the job
}

// JobTable is one table of a job.
type JobTable struct {
	Table   string      `json:"table"`
	UUID    string      `json:"uuid,omitempty"`
	Marked  int64       `json:"marked,omitzero"` // when the marks of the sources were made, Unix milliseconds by the job's clock
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
	// Hold is the first offset that the job may still read: where it began, or where Next was at least a day ago, so that a table that
	// is rolled back by less can be filled again.
	Hold int64 `json:"hold"`
	// Mark is what Next was at JobTable.Marked, and becomes Hold when that is a day ago.
	Mark int64 `json:"mark"`
}

// JobVersion is the version of Job that is written and read.
const JobVersion = 1

// MaxJobBytes bounds the object of a job, in bytes.
const MaxJobBytes = 64 << 20

// DecodeJob reads the object of a job. Errors are ErrVersion and ErrCorrupt; fields that version 1 does not have are among the damage,
// for who does not know them cannot tell what they hold.
func DecodeJob(body []byte) (*Job, error) {
	var j Job
	if err := decodeJSON(body, "job", MaxJobBytes, JobVersion, &j); err != nil {
		return nil, err
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
	if _, err := MatchTopics(j.Topics, j.Pattern); err != nil {
		return err
	}
	if len(j.Topics) > 0 && j.Pattern != "" {
		return errors.New("both topics and a pattern")
	}
	for i := range j.Tables {
		if at := j.Tables[i].Marked; at < 0 {
			return fmt.Errorf("table %q: marked at %d", j.Tables[i].Table, at)
		}
		for _, s := range j.Tables[i].Sources {
			if err := ValidateTopicName(s.Topic); err != nil {
				return fmt.Errorf("table %q: %w", j.Tables[i].Table, err)
			}
			if s.Partition < 0 || s.Next < 0 || s.Committed < 0 || s.Hold < 0 || s.Mark < 0 {
				return fmt.Errorf("table %q: %s/%d at %d, committed %d, held from %d, marked %d",
					j.Tables[i].Table, s.Topic, s.Partition, s.Next, s.Committed, s.Hold, s.Mark)
			}
		}
	}
	return nil
}

// Holds makes the function that says from which offset on the job may still read a partition: ok is false if it reads nothing of it. A
// partition of a topic that the job reads and has not listed yet is held as a whole. j has passed Validate.
func (j *Job) Holds() func(topic string, id PartitionID) (from int64, ok bool) {
	listed := map[PartitionID]int64{}
	for i := range j.Tables {
		for _, s := range j.Tables[i].Sources {
			id := PartitionID{Topic: s.ID, Partition: s.Partition}
			if least, ok := listed[id]; !ok || s.Hold < least {
				listed[id] = s.Hold
			}
		}
	}
	match, err := MatchTopics(j.Topics, j.Pattern)
	if err != nil || len(j.Topics) == 0 && j.Pattern == "" {
		match = func(string) bool { return true }
	}
	return func(topic string, id PartitionID) (int64, bool) {
		if from, ok := listed[id]; ok {
			return from, true
		}
		return 0, match(topic)
	}
}

// MatchTopics makes the test of which topics a job reads: those that are named or, with a pattern, those whose whole name the regular
// expression matches. With a pattern, topics that begin with __ never match.
func MatchTopics(topics []string, pattern string) (func(topic string) bool, error) {
	if pattern == "" {
		wanted := map[string]bool{}
		for _, topic := range topics {
			wanted[topic] = true
		}
		return func(topic string) bool { return wanted[topic] }, nil
	}
	re, err := regexp.Compile("^(?:" + pattern + ")$")
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	return func(topic string) bool { return !strings.HasPrefix(topic, "__") && re.MatchString(topic) }, nil
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
