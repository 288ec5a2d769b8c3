package differential

import (
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestGenerateIsTheSameEachTime holds that a seed is enough to play a sequence again.
func TestGenerateIsTheSameEachTime(t *testing.T) {
	common := map[int16]Range{}
	for key := range int16(kmsg.MaxKey + 1) {
		if r := kmsg.RequestForKey(key); r != nil {
			common[key] = Range{0, r.MaxVersion()}
		}
	}
	texts := func(seed uint64) (all []string) {
		for _, s := range Generate(seed, common).Steps {
			all = append(all, s.Text)
		}
		return all
	}
	for seed := range uint64(50) {
		if a, b := texts(seed), texts(seed); !slices.Equal(a, b) {
			t.Errorf("seed %d:\n%q\n%q", seed, a, b)
		}
	}
	if slices.Equal(texts(1), texts(2)) {
		t.Error("two seeds are one")
	}
}

// TestCompare shows that differences are found, and that an explanation explains its own only.
func TestCompare(t *testing.T) {
	s := &Sequence{Seed: 7, Steps: []Step{{key: 3, version: 9, Tag: "odd"}, {key: 3, version: 9}, {key: 3, version: 9}}}
	same := Outcome{{"Topics[a]", "row"}, {"Topics[a].ErrorCode", "NONE"}, {"Topics[a].Partitions[0]", "row"}, {"Topics[a].Partitions[0].ErrorCode", "NONE"}}
	changed := slices.Clone(same)
	changed[1].Value = "INVALID_TOPIC_EXCEPTION"
	less := same[:2]
	refused, unlike := slices.Clone(same), slices.Clone(changed)
	refused[1].Value, unlike[3].Value = "UNKNOWN_TOPIC_ID", "LEADER_NOT_AVAILABLE"
	for name, test := range map[string]struct {
		ours, theirs []Outcome
		known        []Explanation
		want         []string // paths
		explained    int
	}{
		"the same":          {[]Outcome{same, same, same}, []Outcome{same, same, same}, nil, nil, 0},
		"a value":           {[]Outcome{same, same, same}, []Outcome{same, changed, same}, nil, []string{"Topics[a].ErrorCode"}, 0},
		"a row, told once":  {[]Outcome{same, same, same}, []Outcome{same, less, same}, nil, []string{"Topics[a].Partitions[0]"}, 0},
		"a row more":        {[]Outcome{same, less, same}, []Outcome{same, same, same}, nil, []string{"Topics[a].Partitions[0]"}, 0},
		"the first only":    {[]Outcome{same, less, less}, []Outcome{same, same, same}, nil, []string{"Topics[a].Partitions[0]"}, 0},
		"explained":         {[]Outcome{same, less, same}, []Outcome{same, same, changed}, []Explanation{{API: "Metadata", Path: "Topics[*].Partitions[*", Firn: absent}}, []string{"Topics[a].Partitions[0]", "Topics[a].ErrorCode"}, 1},
		"explained, ends":   {[]Outcome{same, less, same}, []Outcome{same, same, changed}, []Explanation{{API: "Metadata", Ends: true}}, []string{"Topics[a].Partitions[0]"}, 1},
		"of another server": {[]Outcome{same, less, same}, []Outcome{same, same, same}, []Explanation{{Against: "kfake"}}, []string{"Topics[a].Partitions[0]"}, 0},
		"of another API":    {[]Outcome{same, less, same}, []Outcome{same, same, same}, []Explanation{{API: "Fetch"}}, []string{"Topics[a].Partitions[0]"}, 0},
		"of other versions": {[]Outcome{same, less, same}, []Outcome{same, same, same}, []Explanation{{Versions: Range{0, 8}}}, []string{"Topics[a].Partitions[0]"}, 0},
		"of another tag":    {[]Outcome{same, less, same}, []Outcome{same, same, same}, []Explanation{{Tag: "odd"}}, []string{"Topics[a].Partitions[0]"}, 0},
		"of its tag":        {[]Outcome{less, same, same}, []Outcome{same, same, same}, []Explanation{{Tag: "odd"}}, []string{"Topics[a].Partitions[0]"}, 1},
		"another value":     {[]Outcome{same, same, same}, []Outcome{same, changed, same}, []Explanation{{Firn: "NONE", Other: "UNKNOWN*"}}, []string{"Topics[a].ErrorCode"}, 0},
		"a consequence":     {[]Outcome{same, same, same}, []Outcome{same, unlike, same}, []Explanation{{Path: "Topics[a].ErrorCode"}}, []string{"Topics[a].ErrorCode", "Topics[a].Partitions[0].ErrorCode"}, 2},
		"no consequence":    {[]Outcome{same, refused, same}, []Outcome{same, unlike, same}, []Explanation{{Path: "Topics[a].ErrorCode"}}, []string{"Topics[a].ErrorCode", "Topics[a].Partitions[0].ErrorCode"}, 1},
		"not its cause":     {[]Outcome{same, same, same}, []Outcome{same, unlike, same}, []Explanation{{Path: "*.Partitions[0].ErrorCode"}}, []string{"Topics[a].ErrorCode", "Topics[a].Partitions[0].ErrorCode"}, 1},
		"beside an error":   {[]Outcome{same, refused, same}, []Outcome{same, same, same}, []Explanation{{Path: "Topics[a].ErrorCode", Refused: true}}, []string{"Topics[a].ErrorCode"}, 1},
		"beside none":       {[]Outcome{same, same, same}, []Outcome{same, changed, same}, []Explanation{{Path: "Topics[a].ErrorCode", Refused: true}}, []string{"Topics[a].ErrorCode"}, 0},
		"another path":      {[]Outcome{same, same, same}, []Outcome{same, changed, same}, []Explanation{{Path: "Topics[b].ErrorCode"}}, []string{"Topics[a].ErrorCode"}, 0},
	} {
		for i := range test.known {
			if test.known[i].Against == "" {
				test.known[i].Against = "kafka"
			}
		}
		var paths []string
		explained := 0
		for _, d := range Compare("kafka", s, test.ours, test.theirs, test.known) {
			paths = append(paths, d.Fact.Path)
			if d.Explained != nil {
				explained++
			}
		}
		if !slices.Equal(paths, test.want) || explained != test.explained {
			t.Errorf("%s: %q, %d explained; want %q, %d", name, paths, explained, test.want, test.explained)
		}
	}
}

// TestExplanationsSayWhy holds that every explanation explains something, and not everything.
func TestExplanationsSayWhy(t *testing.T) {
	for _, e := range Known() {
		if e.Why == "" || e.Against == "" || e.Tag == "" && e.Path == "" && e.Firn == "" && e.Other == "" {
			t.Errorf("%+v", e)
		}
	}
}

// TestFactsNameWhatIsDifferent shows what becomes of an answer.
func TestFactsNameWhatIsDifferent(t *testing.T) {
	side := &Side{prefix: "diff-x-", base: 1_000_000_000_000, members: map[string]string{"g0a": "member-123"}, topicIDs: map[string][16]byte{"t0": {1}}}
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version, resp.ThrottleMillis, resp.ControllerID = 12, 7, 3
	for _, name := range []string{"diff-x-t0", "diff-y-t0", "__consumer_offsets"} {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic, topic.TopicID, topic.ErrorCode = kmsg.StringPtr(name), [16]byte{1}, 3
		part := kmsg.NewMetadataResponseTopicPartition()
		part.Leader, part.LeaderEpoch, part.Replicas = 9, 4, []int32{9}
		topic.Partitions = append(topic.Partitions, part)
		resp.Topics = append(resp.Topics, topic)
	}
	want := Outcome{
		{"AuthorizedOperations", "-2147483648"}, {"ErrorCode", "NONE"}, {"Topics[t0]", "row"}, {"Topics[t0].AuthorizedOperations", "-2147483648"},
		{"Topics[t0].ErrorCode", "UNKNOWN_TOPIC_OR_PARTITION"}, {"Topics[t0].Partitions[0]", "row"}, {"Topics[t0].Partitions[0].ErrorCode", "NONE"},
		{"Topics[t0].Partitions[0].ISR", "0 of them"}, {"Topics[t0].Partitions[0].LeaderEpoch", "some"}, {"Topics[t0].Partitions[0].Partition", "0"}, {"Topics[t0].Partitions[0].Replicas", "1 of them"},
		{"Topics[t0].Topic", "t0"}, {"Topics[t0].TopicID", "t0"},
	}
	if got := side.facts(resp); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	for text, want := range map[string]string{"member-123": "member g0a", "diff-x-g0": "g0", "other": "other",
		"differential-145e59c28941c5414a23df3ab2f7758b": "differential-*", "instance-g0b-1670779b-efc6-4345-9581-2faad4ef18b0": "instance-g0b-*"} {
		if got := side.meaning(text); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
	for ms, want := range map[int64]string{-1: "-1", 1_000_000_000_005: "base+5", 1_000_003_600_000: "now"} {
		if got := side.moment(ms); got != want {
			t.Errorf("%d is %s, want %s", ms, got, want)
		}
	}
}
