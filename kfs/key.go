package kfs

import (
	"fmt"
	"strconv"
	"strings"
)

// MaxJournals is the number of journals that a cluster can have: keys write a journal with four digits.
const MaxJournals = 10000

// Keys are relative to a namespace and are built without path cleaning: a name becomes a part of a key only as it is.
//
// In byte order below a journal's prefix lie its objects (digits), then checkpoints, then head.json, then index pages. A list of
// objects therefore begins with JournalPrefix and ends at the first key that ParseObjectKey does not know.
const (
	JournalsPrefix = "journal/" // what the keys of all journals begin with

	checkpointPrefix = "checkpoint-"
	pagePrefix       = "index-"
	segmentPrefix    = "segment-"
	topicsPrefix     = "topics/"

	// SegmentsPrefix is what the keys of all settled segments begin with.
	SegmentsPrefix = topicsPrefix
	// SnapshotsPrefix is what the keys of restore points begin with.
	SnapshotsPrefix = "snapshots/"
	// RestoringKey is the key of what says whether a namespace that is filled from a restore point may be used yet; see Restoring.
	RestoringKey = "restoring.json"
)

// JournalPrefix is what all keys of a journal begin with.
func JournalPrefix(journal uint32) string { return fmt.Sprintf("journal/%04d/", journal) }

// ObjectKey is the key of a journal object.
func ObjectKey(journal uint32, sequence uint64) string {
	return fmt.Sprintf("journal/%04d/%020d.kfs", journal, sequence)
}

// CheckpointPrefix is what the keys of a journal's checkpoints begin with; they list in order of sequence.
func CheckpointPrefix(journal uint32) string { return JournalPrefix(journal) + checkpointPrefix }

// CheckpointKey is the key of the checkpoint after the object with that sequence.
func CheckpointKey(journal uint32, sequence uint64) string {
	return fmt.Sprintf("journal/%04d/checkpoint-%020d.kfm", journal, sequence)
}

// PagePrefix is what the keys of a journal's index pages begin with.
func PagePrefix(journal uint32) string { return JournalPrefix(journal) + pagePrefix }

// PageKey is the key of the index page of the sequences first to last, inclusive.
func PageKey(journal uint32, first, last uint64) string {
	return fmt.Sprintf("journal/%04d/index-%020d-%020d.kfm", journal, first, last)
}

// HeadKey is the key of a journal's hint. It only saves effort: nobody takes over, deletes or judges absence by it.
func HeadKey(journal uint32) string { return JournalPrefix(journal) + "head.json" }

// SegmentKey is the key of the settled segment of a partition that begins at base. name must have passed ValidateTopicName:
// any other name is a bug of the caller, and panics.
func SegmentKey(id TopicID, name string, partition int32, base int64) string {
	return segmentKey(id, name, partition, base) + ".kfs"
}

// IndexKey is the key of the index of that segment. It panics as SegmentKey does.
func IndexKey(id TopicID, name string, partition int32, base int64) string {
	return segmentKey(id, name, partition, base) + ".index"
}

func segmentKey(id TopicID, name string, partition int32, base int64) string {
	mustBeName(name)
	return fmt.Sprintf("topics/%s/%s/%d/segment-%020d", id, name, partition, base)
}

// JobsPrefix is what the keys of jobs begin with.
const JobsPrefix = "jobs/"

// JobKey is the key of what a job has committed. job must have passed ValidateTopicName, whose alphabet job names share:
// any other name is a bug of the caller, and panics.
func JobKey(job string) string {
	mustBeName(job)
	return JobsPrefix + job + ".json"
}

// JobConfigKey is the key of the part of a job's file that decides what records become, by its hash. job is as for JobKey.
func JobConfigKey(job, hash string) string {
	return JobConfigsPrefix(job) + hash + ".json"
}

// JobConfigsPrefix is what the keys of JobConfigKey for a job begin with. job is as for JobKey.
func JobConfigsPrefix(job string) string {
	mustBeName(job)
	return JobsPrefix + job + "/config-"
}

// ParseJobConfigKey gives the job and the hash of a key that JobConfigKey makes; false if it makes no such key.
func ParseJobConfigKey(key string) (job, hash string, ok bool) {
	rest, ok := strings.CutPrefix(key, JobsPrefix)
	if !ok {
		return "", "", false
	}
	job, name, _ := strings.Cut(rest, "/")
	name, configs := strings.CutPrefix(name, "config-")
	hash, ok = strings.CutSuffix(name, ".json")
	return job, hash, ok && configs && ValidateTopicName(job) == nil && !strings.Contains(hash, "/")
}

// BackfillsPrefix is what the keys of what a job's backfills bring in begin with. job is as for JobKey.
func BackfillsPrefix(job string) string {
	mustBeName(job)
	return JobsPrefix + job + "/backfill-"
}

// BackfillKey is the key of what a backfill of a job brings in, until it has ended; id has no slash. job is as for JobKey.
func BackfillKey(job, id string) string { return BackfillsPrefix(job) + id + ".json" }

func mustBeName(name string) {
	if err := ValidateTopicName(name); err != nil {
		panic("kfs: key of an unvalidated name: " + err.Error())
	}
}

// ParseObjectKey reads a key that ObjectKey made.
func ParseObjectKey(key string) (journal uint32, sequence uint64, ok bool) {
	journal, name, ok := parseJournal(key)
	if !ok {
		return 0, 0, false
	}
	if sequence, name, ok = cutSequence(name); !ok || name != ".kfs" {
		return 0, 0, false
	}
	return journal, sequence, true
}

// ParseCheckpointKey reads a key that CheckpointKey made.
func ParseCheckpointKey(key string) (journal uint32, sequence uint64, ok bool) {
	journal, name, ok := parseJournal(key)
	if !ok {
		return 0, 0, false
	}
	if name, ok = strings.CutPrefix(name, checkpointPrefix); !ok {
		return 0, 0, false
	}
	if sequence, name, ok = cutSequence(name); !ok || name != ".kfm" {
		return 0, 0, false
	}
	return journal, sequence, true
}

// ParsePageKey reads a key that PageKey made.
func ParsePageKey(key string) (journal uint32, first, last uint64, ok bool) {
	journal, name, ok := parseJournal(key)
	if !ok {
		return 0, 0, 0, false
	}
	if name, ok = strings.CutPrefix(name, pagePrefix); !ok {
		return 0, 0, 0, false
	}
	if first, name, ok = cutSequence(name); !ok {
		return 0, 0, 0, false
	}
	if name, ok = strings.CutPrefix(name, "-"); !ok {
		return 0, 0, 0, false
	}
	if last, name, ok = cutSequence(name); !ok || name != ".kfm" || last < first {
		return 0, 0, 0, false
	}
	return journal, first, last, true
}

// ParseSegmentKey reads a key that SegmentKey made.
func ParseSegmentKey(key string) (id TopicID, name string, partition int32, base int64, ok bool) {
	rest, ok := strings.CutPrefix(key, topicsPrefix)
	if !ok {
		return id, "", 0, 0, false
	}
	parts := strings.SplitN(rest, "/", 4)
	if len(parts) != 4 || ValidateTopicName(parts[1]) != nil {
		return id, "", 0, 0, false
	}
	id, err := ParseTopicID(parts[0])
	if err != nil {
		return TopicID{}, "", 0, 0, false
	}
	p, err := strconv.ParseInt(parts[2], 10, 32)
	if err != nil || p < 0 {
		return TopicID{}, "", 0, 0, false
	}
	digits, found := strings.CutPrefix(parts[3], segmentPrefix)
	b, digits, isSequence := cutSequence(digits)
	if !found || !isSequence || digits != ".kfs" || b > 1<<63-1 {
		return TopicID{}, "", 0, 0, false
	}
	if key != SegmentKey(id, parts[1], int32(p), int64(b)) { // "007" and "+7" are no partitions
		return TopicID{}, "", 0, 0, false
	}
	return id, parts[1], int32(p), int64(b), true
}

// parseJournal cuts "journal/NNNN/" off a key.
func parseJournal(key string) (journal uint32, rest string, ok bool) {
	rest, ok = strings.CutPrefix(key, JournalsPrefix)
	if !ok || len(rest) < 5 || rest[4] != '/' {
		return 0, "", false
	}
	n, ok := parseDigits(rest[:4])
	return uint32(n), rest[5:], ok
}

// cutSequence cuts the 20 digits of a sequence off s.
func cutSequence(s string) (sequence uint64, rest string, ok bool) {
	if len(s) < 20 {
		return 0, "", false
	}
	sequence, ok = parseDigits(s[:20])
	return sequence, s[20:], ok
}

// parseDigits reads a number that is digits only, so that a key has one spelling.
func parseDigits(s string) (uint64, bool) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}
