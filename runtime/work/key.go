package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// keyVersion is the version of what workers write to etcd and to the store.
const keyVersion = 1

// workerKey is the value of a worker's key below jobs/{job}/workers/.
type workerKey struct {
	Version int                    `json:"version"`
	Session string                 `json:"session"` // tells a key of a session that has ended
	Edition uint64                 `json:"edition"` // counts the worker's puts
	Name    string                 `json:"name"`    // for people: host and process
	Claims  map[kfs.TopicID]string `json:"claims"`  // partitions of each topic: 0-3,7
	// Done is what the worker has said of partitions in a bounded run, by topic and partition.
	Done map[kfs.TopicID]map[int32]int64 `json:"done,omitempty"`
}

func encodeWorker(session, name string, p put, done map[kfs.PartitionID]int64) (string, error) {
	key := workerKey{Version: keyVersion, Session: session, Edition: p.edition, Name: name, Claims: rangesOf(p.claims), Done: map[kfs.TopicID]map[int32]int64{}}
	for id, at := range done {
		if key.Done[id.Topic] == nil {
			key.Done[id.Topic] = map[int32]int64{}
		}
		key.Done[id.Topic][id.Partition] = at
	}
	value, err := json.Marshal(key)
	return string(value), err
}

// done is Done by partition.
func (k *workerKey) done() map[kfs.PartitionID]int64 {
	all := map[kfs.PartitionID]int64{}
	for topic, partitions := range k.Done {
		for partition, at := range partitions {
			all[kfs.PartitionID{Topic: topic, Partition: partition}] = at
		}
	}
	return all
}

// rangesOf writes partitions by topic.
func rangesOf(all set) map[kfs.TopicID]string {
	byTopic := map[kfs.TopicID][]int32{}
	for id := range all {
		byTopic[id.Topic] = append(byTopic[id.Topic], id.Partition)
	}
	out := map[kfs.TopicID]string{}
	for topic, partitions := range byTopic {
		out[topic] = ranges(partitions)
	}
	return out
}

func decodeWorker(value string) (key workerKey, claimed set, err error) {
	if err := json.Unmarshal([]byte(value), &key); err != nil {
		return key, nil, err
	}
	if key.Version != keyVersion {
		return key, nil, fmt.Errorf("version %d, this program knows %d", key.Version, keyVersion)
	}
	claimed = set{}
	for topic, text := range key.Claims {
		if err := parseRanges(text, func(p int32) { claimed[kfs.PartitionID{Topic: topic, Partition: p}] = true }); err != nil {
			return key, nil, fmt.Errorf("claims of topic %s: %w", topic, err)
		}
	}
	return key, claimed, nil
}

// ranges writes partitions as 0-3,7. It sorts them.
func ranges(partitions []int32) string {
	slices.Sort(partitions)
	var b strings.Builder
	for i := 0; i < len(partitions); {
		j := i
		for j+1 < len(partitions) && partitions[j+1] == partitions[j]+1 {
			j++
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.Itoa(int(partitions[i])))
		if j > i {
			b.WriteString("-" + strconv.Itoa(int(partitions[j])))
		}
		i = j + 1
	}
	return b.String()
}

var errRanges = errors.New("want partitions in order, as in 0-3,7")

func parseRanges(text string, each func(int32)) error {
	least := 0
	for part := range strings.SplitSeq(text, ",") {
		first, last, several := strings.Cut(part, "-")
		from, err := strconv.Atoi(first)
		to := from
		if err == nil && several {
			to, err = strconv.Atoi(last)
		}
		if err != nil || from < least || to < from || to >= kfs.MaxPartitions {
			return fmt.Errorf("%q: %w", text, errRanges)
		}
		for p := from; p <= to; p++ {
			each(int32(p))
		}
		least = to + 1
	}
	return nil
}

// groupsKey is the value of a worker's key below jobs/{job}/groups/: what it has handed to committers, and what it answers as one.
type groupsKey struct {
	Version int      `json:"version"`
	Handed  []handed `json:"handed,omitempty"`
	Answers []answer `json:"answers,omitempty"`
}

// handed is a group that waits for a commit.
type handed struct {
	ID    string `json:"id"` // of the group: random
	Table string `json:"table"`
	Size  int64  `json:"size"` // of its object, in bytes
	CRC   uint32 `json:"crc"`  // likewise, Castagnoli
}

// answer is what became of a group of another worker.
type answer struct {
	Worker  string  `json:"worker"`
	ID      string  `json:"id"`
	Verdict verdict `json:"verdict"`
}

// verdict is how a committer has dealt with a group.
type verdict string

const (
	committed verdict = "committed"
	moved     verdict = "moved"    // it does not begin where the table stands
	yourself  verdict = "yourself" // nobody knows: its worker is to commit it, and learns what is wrong
)

func encodeGroups(key groupsKey) (string, error) {
	key.Version = keyVersion
	slices.SortFunc(key.Handed, func(a, b handed) int { return strings.Compare(a.ID, b.ID) })
	slices.SortFunc(key.Answers, func(a, b answer) int { return strings.Compare(a.Worker+"/"+a.ID, b.Worker+"/"+b.ID) })
	value, err := json.Marshal(key)
	return string(value), err
}

func decodeGroups(value string) (key groupsKey, err error) {
	if err := json.Unmarshal([]byte(value), &key); err != nil {
		return key, err
	}
	if key.Version != keyVersion {
		return key, fmt.Errorf("version %d, this program knows %d", key.Version, keyVersion)
	}
	for _, h := range key.Handed {
		if !validID(h.ID) || h.Size < 0 || h.Size > maxGroupBytes {
			return key, fmt.Errorf("group %q of %d bytes", h.ID, h.Size)
		}
	}
	return key, nil
}

// validID tells ids of workers and groups, which keys of objects are made of.
func validID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" // what rand.Text gives
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
