package api

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs"
)

const topicType = kmsg.ConfigResourceTypeTopic

// withConfigs is a fake with a topic "events" that has two configs.
func withConfigs(t *testing.T) *fake {
	return newFake(t, topic(1, "events", 1, kfs.Config{Key: "cleanup.policy", Value: "compact"}, kfs.Config{Key: "retention.ms", Value: "5"}))
}

func (f *fake) configs(name string) (list []string) {
	if t, ok := f.State().Topic(name); ok {
		for _, c := range t.Configs {
			list = append(list, c.Key+"="+c.Value)
		}
	}
	return list
}

func TestAlterConfigs(t *testing.T) {
	value := kmsg.StringPtr
	type config = kmsg.AlterConfigsRequestResourceConfig
	before := []string{"cleanup.policy=compact", "retention.ms=5"}
	for name, test := range map[string]struct {
		kind    kmsg.ConfigResourceType
		topic   string
		configs []config
		want    *kerr.Error
		after   []string
	}{
		"replaces all":    {topicType, "events", []config{{Name: "retention.ms", Value: value("7")}, {Name: "max.message.bytes", Value: value("9")}}, nil, []string{"max.message.bytes=9", "retention.ms=7"}},
		"all to defaults": {topicType, "events", nil, nil, nil},
		"no value":        {topicType, "events", []config{{Name: "retention.ms"}}, kerr.InvalidRequest, before},
		"twice":           {topicType, "events", []config{{Name: "retention.ms", Value: value("7")}, {Name: "retention.ms", Value: value("8")}}, kerr.InvalidRequest, before},
		"unknown config":  {topicType, "events", []config{{Name: "no.such", Value: value("7")}}, kerr.InvalidConfig, before},
		"invalid value":   {topicType, "events", []config{{Name: "retention.ms", Value: value("soon")}}, kerr.InvalidConfig, before},
		"unknown topic":   {topicType, "nobody", nil, kerr.UnknownTopicOrPartition, before},
		"evil topic":      {topicType, "../../evil", []config{{Name: "no.such", Value: value("7")}}, kerr.InvalidTopicException, before},
		"two mistakes":    {topicType, "nobody", []config{{Name: "retention.ms", Value: value("soon")}}, kerr.InvalidConfig, before},
		"and others":      {topicType, "../../evil", []config{{Name: "retention.ms"}}, kerr.InvalidRequest, before},
		"a broker":        {kmsg.ConfigResourceTypeBroker, "7", []config{{Name: "log.retention.ms", Value: value("7")}}, kerr.InvalidRequest, before},
		"something else":  {99, "x", nil, kerr.InvalidRequest, before},
	} {
		for version := int16(0); version <= 2; version++ {
			for _, validateOnly := range []bool{false, true} {
				f := withConfigs(t)
				f.conflict = 2
				req := kmsg.NewPtrAlterConfigsRequest()
				req.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: test.kind, ResourceName: test.topic, Configs: test.configs}}
				req.ValidateOnly = validateOnly
				after := test.after
				if validateOnly {
					after = before
				}
				got := f.call(t, version, req).(*kmsg.AlterConfigsResponse).Resources[0]
				checkAltered(t, name, version, got.ErrorCode, got.ErrorMessage, test.want)
				if got.ResourceType != test.kind || got.ResourceName != test.topic {
					t.Errorf("%s v%d: answered for %v %s", name, version, got.ResourceType, got.ResourceName)
				}
				if have := f.configs("events"); !slices.Equal(have, after) {
					t.Errorf("%s v%d, validate only %t: %v, want %v", name, version, validateOnly, have, after)
				}
			}
		}
	}
}

func checkAltered(t *testing.T, name string, version, code int16, message *string, want *kerr.Error) {
	t.Helper()
	switch {
	case want == nil && (code != 0 || message != nil):
		t.Errorf("%s v%d: %v", name, version, kerr.ErrorForCode(code))
	case want != nil && (code != want.Code || message == nil || *message == ""):
		t.Errorf("%s v%d: %v, want %v and a message", name, version, kerr.ErrorForCode(code), want)
	}
}

func TestIncrementalAlterConfigs(t *testing.T) {
	const (
		set      = kmsg.IncrementalAlterConfigOpSet
		remove   = kmsg.IncrementalAlterConfigOpDelete
		add      = kmsg.IncrementalAlterConfigOpAppend
		subtract = kmsg.IncrementalAlterConfigOpSubtract
	)
	value := kmsg.StringPtr
	type config = kmsg.IncrementalAlterConfigsRequestResourceConfig
	before := []string{"cleanup.policy=compact", "retention.ms=5"}
	for name, test := range map[string]struct {
		kind    kmsg.ConfigResourceType
		topic   string
		configs []config
		want    *kerr.Error
		after   []string
	}{
		"set":                     {topicType, "events", []config{{Name: "max.message.bytes", Op: set, Value: value("9")}}, nil, append([]string{"cleanup.policy=compact", "max.message.bytes=9"}, before[1])},
		"set what is set":         {topicType, "events", []config{{Name: "retention.ms", Op: set, Value: value("6")}}, nil, []string{before[0], "retention.ms=6"}},
		"to the default":          {topicType, "events", []config{{Name: "retention.ms", Op: remove}}, nil, before[:1]},
		"remove what is not set":  {topicType, "events", []config{{Name: "max.message.bytes", Op: remove}}, nil, before},
		"append":                  {topicType, "events", []config{{Name: "cleanup.policy", Op: add, Value: value("delete, compact")}}, nil, []string{"cleanup.policy=compact,delete", before[1]}},
		"append to the default":   {topicType, "events", []config{{Name: "firn.journals", Op: add, Value: value("0")}}, nil, []string{before[0], "firn.journals=0", before[1]}},
		"subtract what is absent": {topicType, "events", []config{{Name: "cleanup.policy", Op: subtract, Value: value("delete")}}, nil, before},
		"subtract all":            {topicType, "events", []config{{Name: "cleanup.policy", Op: subtract, Value: value("compact")}}, nil, []string{"cleanup.policy=", before[1]}},
		"append to no list":       {topicType, "events", []config{{Name: "retention.ms", Op: add, Value: value("1")}}, kerr.InvalidConfig, before},
		"append to nothing known": {topicType, "events", []config{{Name: "no.such", Op: add, Value: value("1")}}, kerr.InvalidConfig, before},
		"no value":                {topicType, "events", []config{{Name: "retention.ms", Op: set}}, kerr.InvalidRequest, before},
		"twice":                   {topicType, "events", []config{{Name: "retention.ms", Op: set, Value: value("1")}, {Name: "retention.ms", Op: remove}}, kerr.InvalidRequest, before},
		"unknown operation":       {topicType, "events", []config{{Name: "retention.ms", Op: 9, Value: value("1")}}, kerr.InvalidRequest, before},
		"unknown config":          {topicType, "events", []config{{Name: "no.such", Op: set, Value: value("1")}}, kerr.InvalidConfig, before},
		"one of two is invalid":   {topicType, "events", []config{{Name: "retention.ms", Op: set, Value: value("6")}, {Name: "segment.ms", Op: set, Value: value("-6")}}, kerr.InvalidConfig, before},
		"a long value":            {topicType, "events", []config{{Name: "firn.journals", Op: set, Value: value("0" + strings.Repeat(",0", 16_000))}}, nil, []string{before[0], "firn.journals=0" + strings.Repeat(",0", 16_000), before[1]}},
		"unknown topic":           {topicType, "nobody", nil, kerr.UnknownTopicOrPartition, before},
		"evil topic":              {topicType, "../../evil", nil, kerr.InvalidTopicException, before},
		"two mistakes":            {topicType, "nobody", []config{{Name: "segment.ms", Op: set, Value: value("-6")}}, kerr.InvalidConfig, before},
		"a broker":                {kmsg.ConfigResourceTypeBroker, "7", []config{{Name: "log.retention.ms", Op: set, Value: value("7")}}, kerr.InvalidRequest, before},
		"a broker's loggers":      {kmsg.ConfigResourceTypeBrokerLogger, "7", nil, kerr.InvalidRequest, before},
		"something else":          {kmsg.ConfigResourceTypeGroupConfig, "g", nil, kerr.InvalidRequest, before},
	} {
		for version := int16(0); version <= 1; version++ {
			for _, validateOnly := range []bool{false, true} {
				f := withConfigs(t)
				req := kmsg.NewPtrIncrementalAlterConfigsRequest()
				req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: test.kind, ResourceName: test.topic, Configs: test.configs}}
				req.ValidateOnly = validateOnly
				after := test.after
				if validateOnly {
					after = before
				}
				got := f.call(t, version, req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
				checkAltered(t, name, version, got.ErrorCode, got.ErrorMessage, test.want)
				if have := f.configs("events"); !slices.Equal(have, after) {
					t.Errorf("%s v%d, validate only %t: %v, want %v", name, version, validateOnly, have, after)
				}
			}
		}
	}
}

// TestValuesThatNoEntryHolds: a value that the journal could not carry is refused before it gets there.
func TestValuesThatNoEntryHolds(t *testing.T) {
	f := withConfigs(t)
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: topicType, ResourceName: "events", Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{
		{Name: "firn.journals", Value: kmsg.StringPtr("0" + strings.Repeat(",0", kfs.MaxString/2+1))},
	}}}
	got := f.call(t, 1, req).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]
	checkAltered(t, "too long", 1, got.ErrorCode, got.ErrorMessage, kerr.InvalidConfig)
}

// TestAlterConfigsTogether: resources of a request are judged one by one, and what changes nothing writes nothing.
func TestAlterConfigsTogether(t *testing.T) {
	f := newFake(t, topic(1, "a", 1), topic(2, "b", 1), topic(3, "c", 1))
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	for _, name := range []string{"a", "twice", "nobody", "twice", "b"} {
		req.Resources = append(req.Resources, kmsg.IncrementalAlterConfigsRequestResource{ResourceType: topicType, ResourceName: name,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("9")}}})
	}
	for round := range 2 {
		states := f.State()
		got := f.call(t, 1, req).(*kmsg.IncrementalAlterConfigsResponse).Resources
		for i, want := range []int16{0, kerr.InvalidRequest.Code, kerr.UnknownTopicOrPartition.Code, kerr.InvalidRequest.Code, 0} {
			if got[i].ErrorCode != want {
				t.Errorf("%s: %d, want %d", got[i].ResourceName, got[i].ErrorCode, want)
			}
		}
		for _, name := range []string{"a", "b"} {
			if have := f.configs(name); !slices.Equal(have, []string{"retention.ms=9"}) {
				t.Errorf("%s: %v", name, have)
			}
		}
		if changed := states != f.State(); changed != (round == 0) {
			t.Errorf("round %d: the state has changed: %t", round, changed)
		}
	}
}

// TestWhereConfigsComeFrom has the synonyms, of a topic's configs and of the broker's.
func TestWhereConfigsComeFrom(t *testing.T) {
	f := withConfigs(t)
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = true
	req.Resources = []kmsg.DescribeConfigsRequestResource{
		{ResourceType: topicType, ResourceName: "events", ConfigNames: []string{"retention.ms", "max.message.bytes", "firn.journals"}},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7", ConfigNames: []string{"log.retention.ms", "message.max.bytes", "num.partitions", "log.dirs"}},
		{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: ""},
		{ResourceType: topicType, ResourceName: "events", ConfigNames: []string{}},
	}
	for version := int16(1); version <= 4; version++ {
		resources := f.call(t, version, req).(*kmsg.DescribeConfigsResponse).Resources
		var got []string
		for _, r := range resources[:2] {
			for _, c := range r.Configs {
				text := c.Name + "=" + *c.Value
				for _, s := range c.ConfigSynonyms {
					text += " " + s.Source.String() + " " + s.Name + "=" + *s.Value
				}
				if c.ReadOnly != (r.ResourceName == "7") || c.IsSensitive {
					t.Errorf("v%d: %+v", version, c)
				}
				got = append(got, text)
			}
		}
		want := []string{
			"firn.journals=",
			"max.message.bytes=1048588 DEFAULT_CONFIG message.max.bytes=1048588",
			"retention.ms=5 DYNAMIC_TOPIC_CONFIG retention.ms=5 DEFAULT_CONFIG log.retention.ms=604800000",
			"log.dirs=store STATIC_BROKER_CONFIG log.dirs=store",
			"log.retention.ms=604800000 DEFAULT_CONFIG log.retention.ms=604800000",
			"message.max.bytes=1048588 DEFAULT_CONFIG message.max.bytes=1048588",
			"num.partitions=4 STATIC_BROKER_CONFIG num.partitions=4",
		}
		if !slices.Equal(got, want) {
			t.Errorf("v%d:\n%s\nwant\n%s", version, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if r := resources[2]; r.ErrorCode != 0 || len(r.Configs) != 0 {
			t.Errorf("v%d: of all brokers: %+v", version, r)
		}
		if r := resources[3]; len(r.Configs) < 20 {
			t.Errorf("v%d: an empty list of names gives %d configs", version, len(r.Configs))
		}
	}
}
