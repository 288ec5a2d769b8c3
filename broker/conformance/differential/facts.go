package differential

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Fact is one value of an answer: a path like Topics[t0].Partitions[1].ErrorCode and what is there, in words.
type Fact struct{ Path, Value string }

// unseen are fields that no two servers, or runs, need to agree on: where things are, how they are called inside, how long they take, and
// what is said to people.
func unseen(field string) bool {
	switch field {
	case "Version", "UnknownTags", "ThrottleMillis", "ErrorMessage", "Documentation", "Brokers", "NodeID", "NodeEndpoints", "Host", "Port",
		"Rack", "ClusterID", "ControllerID", "Controller", "Leader", "CurrentLeader", "EligibleLeaderReplicas", "LastKnownELR",
		"LeaderID", "OfflineReplicas", "MemberEpoch", "ClientHost", "IsInternal", "ApiKeys", "FinalizedFeaturesEpoch", "FinalizedFeatures", "SupportedFeatures",
		"ZkMigrationReady", "NextCursor", "LogDir", "Size", "TotalBytes", "UsableBytes", "CoordinatorEpoch", "LastTimestamp":
		return true
	}
	return false
}

// facts flattens an answer.
func (s *Side) facts(resp kmsg.Response) Outcome {
	f := flattener{side: s, seen: map[string]int{}}
	f.structure("", reflect.ValueOf(resp).Elem())
	slices.SortStableFunc(f.facts, func(a, b Fact) int { return strings.Compare(a.Path, b.Path) })
	return slices.Compact(f.facts)
}

type flattener struct {
	side  *Side
	facts []Fact
	seen  map[string]int // how often an element has come, as servers may answer twice
}

func (f *flattener) add(path, value string) { f.facts = append(f.facts, Fact{path, value}) }

func (f *flattener) structure(path string, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		if name := t.Field(i).Name; !unseen(name) {
			f.value(join(path, name), name, v.Field(i))
		}
	}
}

func join(path, field string) string {
	if path == "" {
		return field
	}
	return path + "." + field
}

func (f *flattener) value(path, field string, v reflect.Value) {
	switch {
	case field == "RecordBatches":
		f.records(path, v.Bytes())
		return
	case v.Type() == reflect.TypeFor[[16]byte]():
		f.add(path, f.side.nameOfID(v.Interface().([16]byte)))
		return
	case v.Type() == reflect.TypeFor[[]byte]():
		f.add(path, fmt.Sprintf("%q", v.Bytes()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			f.add(path, "null")
		} else {
			f.value(path, field, v.Elem())
		}
	case reflect.Struct:
		f.structure(path, v)
	case reflect.Slice:
		f.slice(path, field, v)
	case reflect.String:
		f.add(path, f.side.meaning(v.String()))
	case reflect.Bool:
		f.add(path, fmt.Sprint(v.Bool()))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		f.add(path, f.number(field, v.Int()))
	default:
		f.add(path, fmt.Sprint(v.Interface()))
	}
}

// slice flattens what is in a list. Of structures each has a row of its own, named by what tells it from the others; their order is the
// server's business.
func (f *flattener) slice(path, field string, v reflect.Value) {
	if v.Type().Elem().Kind() != reflect.Struct {
		if field == "Replicas" || field == "ISR" {
			f.add(path, fmt.Sprintf("%d of them", v.Len()))
			return
		}
		values := make([]string, v.Len())
		for i := range values {
			if e := v.Index(i); e.Kind() == reflect.String {
				values[i] = f.side.meaning(e.String())
			} else {
				values[i] = fmt.Sprint(e.Interface())
			}
		}
		f.add(path, fmt.Sprint(values))
		return
	}
	for i := range v.Len() {
		e := v.Index(i)
		if f.side.foreign(e) {
			continue
		}
		row := fmt.Sprintf("%s[%s]", path, f.side.identity(e))
		if f.seen[row]++; f.seen[row] > 1 && field != "Topics" { // a topic may come once for each of its partitions
			row = fmt.Sprintf("%s#%d]", row[:len(row)-1], f.seen[row])
		}
		if f.seen[row] <= 1 {
			f.add(row, describeRow(e))
		}
		f.structure(row, e)
	}
}

// describeRow is what is told of an element that another server may not have at all.
func describeRow(e reflect.Value) string {
	committed := func(offset int64) bool { return offset >= 0 }
	switch v := e.Interface().(type) {
	case kmsg.OffsetFetchResponseTopic:
		if !slices.ContainsFunc(v.Partitions, func(p kmsg.OffsetFetchResponseTopicPartition) bool { return committed(p.Offset) }) {
			return "row without offsets"
		}
	case kmsg.OffsetFetchResponseGroupTopic:
		if !slices.ContainsFunc(v.Partitions, func(p kmsg.OffsetFetchResponseGroupTopicPartition) bool { return committed(p.Offset) }) {
			return "row without offsets"
		}
	case kmsg.OffsetFetchResponseTopicPartition:
		if !committed(v.Offset) {
			return "row without offsets"
		}
	case kmsg.OffsetFetchResponseGroupTopicPartition:
		if !committed(v.Offset) {
			return "row without offsets"
		}
	}
	return "row"
}

func (f *flattener) number(field string, n int64) string {
	switch field {
	case "ErrorCode":
		if n == 0 {
			return "NONE"
		}
		return kerr.TypedErrorForCode(int16(n)).Message
	case "Timestamp":
		return f.side.moment(n)
	case "LeaderEpoch": // it counts a server's own history
		if n >= 0 {
			return "some"
		}
	case "LogAppendTime", "SessionID":
		if n > 0 {
			return "some"
		}
	case "ProducerID":
		if n >= 0 {
			return "some"
		}
	}
	return fmt.Sprint(n)
}

// identity is what tells an element from the others of its list.
func (s *Side) identity(e reflect.Value) string {
	for _, name := range []string{"Topic", "TopicID", "Partition", "Group", "Key", "ResourceName", "Name", "InstanceID", "MemberID", "ProducerID"} {
		field := e.FieldByName(name)
		if !field.IsValid() || field.IsZero() && name != "Partition" {
			continue
		}
		if field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		switch v := field.Interface().(type) {
		case string:
			return s.meaning(v)
		case [16]byte:
			return s.nameOfID(v)
		case int64:
			return s.nameOfProducer(v)
		default:
			return fmt.Sprint(v)
		}
	}
	return ""
}

// foreign says whether an element of a list is another sequence's topic or group, or the server's own.
func (s *Side) foreign(e reflect.Value) bool {
	for _, name := range []string{"Topic", "Group"} {
		field := e.FieldByName(name)
		if field.IsValid() && field.Kind() == reflect.Pointer {
			field = field.Elem()
		}
		if !field.IsValid() || field.Kind() != reflect.String {
			continue
		}
		if text := field.String(); strings.HasPrefix(text, familyPrefix) || strings.HasPrefix(text, "__") {
			return !strings.HasPrefix(text, s.prefix)
		}
	}
	return false
}

// familyPrefix begins the names of all sequences' topics and groups.
const familyPrefix = "diff-"

// meaning is a text with the sequence's name for what has another on each server.
func (s *Side) meaning(text string) string {
	for name, id := range s.members {
		if text == id && id != "" {
			return "member " + name
		}
	}
	if given.MatchString(text) {
		return given.ReplaceAllString(text, "$1-*")
	}
	return strings.TrimPrefix(text, s.prefix)
}

// given is a member id that the server has made, and nobody has been told yet: what the client is called, and something random.
var given = regexp.MustCompile(`^(differential|instance-\w+)-[0-9a-f-]{32,36}$`)

func (s *Side) nameOfID(id [16]byte) string {
	if id == [16]byte{} {
		return "zero"
	}
	for name, known := range s.topicIDs {
		if known == id {
			return name
		}
	}
	if [4]byte(id[:4]) == [4]byte{0xde, 0xad, 0xbe, 0xef} {
		return fmt.Sprintf("unknown %x", id[12:])
	}
	return "new"
}

// moment is a time as the sequence wrote it, or now for one that the server took.
func (s *Side) moment(ms int64) string {
	switch d := ms - s.base; {
	case ms < 0:
		return fmt.Sprint(ms)
	case d >= 0 && d < plannedTimes:
		return fmt.Sprintf("base+%d", d)
	case ms < 1<<32:
		return fmt.Sprint(ms)
	}
	return "now"
}
