package differential

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func describeValue(v *string) string {
	if v == nil {
		return "null"
	}
	return *v
}

// someConfig is a topic config with a value that it can have, or cannot.
func (g *generator) someConfig() (name string, value *string) {
	values := map[string][]string{
		"retention.ms":                   {"-1", "3600000", "604800000", "-2", "abc", "", "9223372036854775808"},
		"retention.bytes":                {"-1", "1000000000", "x", "-5"},
		"max.message.bytes":              {"1048588", "2000", "0", "-1", "3000000000"},
		"cleanup.policy":                 {"delete", "compact", "compact,delete", "remove", "delete, compact", ""},
		"compression.type":               {"producer", "producer", "brotli"},
		"message.timestamp.type":         {"CreateTime", "LogAppendTime", "Whenever"},
		"min.insync.replicas":            {"1", "0", "one"},
		"segment.bytes":                  {"1073741824", "1", "67108864"},
		"segment.ms":                     {"86400000", "0"},
		"flush.messages":                 {"1000", "0"},
		"min.cleanable.dirty.ratio":      {"0.25", "1.5", "-0.1", "x"},
		"unclean.leader.election.enable": {"true", "false", "TRUE", "yes"},
		"preallocate":                    {"true", "maybe"},
		"no.such.config":                 {"1"},
	}
	names := []string{"retention.ms", "retention.bytes", "max.message.bytes", "max.message.bytes", "cleanup.policy", "compression.type", "message.timestamp.type",
		"min.insync.replicas", "segment.bytes", "segment.ms", "flush.messages", "min.cleanable.dirty.ratio", "unclean.leader.election.enable", "preallocate", "no.such.config"}
	name = of(g, names...)
	if g.maybe(15) {
		return name, nil
	}
	return name, kmsg.StringPtr(of(g, values[name]...))
}

func (g *generator) describeConfigs() {
	topic := g.someTopic()
	kind := of(g, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceType(1), kmsg.ConfigResourceTypeBroker)
	all, synonyms := g.maybe(5), g.maybe(4)
	var names []string
	for range 1 + g.rng.IntN(4) {
		name, _ := g.someConfig()
		names = append(names, name)
	}
	resource := "=" // a broker's own
	switch kind {
	case kmsg.ConfigResourceTypeTopic:
		resource = topic
	case kmsg.ConfigResourceTypeBroker:
		resource, all, names = of(g, "=77", "=x"), false, []string{"no.such.config"}
	}
	step := add(g, fmt.Sprintf("configs %q (all %t) of %v %q", names, all, kind, resource), func(s *Side, r *kmsg.DescribeConfigsRequest) {
		rr := kmsg.NewDescribeConfigsRequestResource()
		rr.ResourceType, rr.ResourceName = kind, s.name(resource)
		if !all {
			rr.ConfigNames = names
		}
		r.Resources, r.IncludeSynonyms = append(r.Resources, rr), synonyms
	})
	if all {
		step.Tag = "all configs"
	}
}

// alterConfigs replaces all configs of a topic or changes some.
func (g *generator) alterConfigs() {
	topic := g.someTopic()
	kind := of(g, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceTypeTopic, kmsg.ConfigResourceType(1))
	validate, twice := g.maybe(6), g.maybe(15)
	type change struct {
		name  string
		value *string
		op    kmsg.IncrementalAlterConfigOp
	}
	var changes []change
	text := ""
	for range 1 + g.rng.IntN(2) {
		c := change{op: of(g, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete,
			kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract)}
		c.name, c.value = g.someConfig()
		if c.op >= kmsg.IncrementalAlterConfigOpAppend && !g.maybe(4) {
			c.name, c.value = "cleanup.policy", kmsg.StringPtr(of(g, "delete", "compact", "remove", ""))
		}
		changes = append(changes, c)
		text += fmt.Sprintf("%s %v %s; ", c.name, c.op, describeValue(c.value))
	}
	text = fmt.Sprintf("%v %s: %s validate only %t, twice %t", kind, topic, text, validate, twice)
	var step *Step
	if g.maybe(3) {
		step = add(g, "replace configs of "+text, func(s *Side, r *kmsg.AlterConfigsRequest) {
			rr := kmsg.NewAlterConfigsRequestResource()
			rr.ResourceType, rr.ResourceName = kind, s.topic(topic)
			for _, c := range changes {
				rc := kmsg.NewAlterConfigsRequestResourceConfig()
				rc.Name, rc.Value = c.name, c.value
				rr.Configs = append(rr.Configs, rc)
			}
			r.Resources, r.ValidateOnly = append(r.Resources, rr), validate // never twice: Kafka would not answer
		})
	} else {
		step = add(g, "change configs of "+text, func(s *Side, r *kmsg.IncrementalAlterConfigsRequest) {
			rr := kmsg.NewIncrementalAlterConfigsRequestResource()
			rr.ResourceType, rr.ResourceName = kind, s.topic(topic)
			for _, c := range changes {
				rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
				rc.Name, rc.Value, rc.Op = c.name, c.value, c.op
				rr.Configs = append(rr.Configs, rc)
			}
			r.Resources, r.ValidateOnly = append(r.Resources, rr), validate
			if twice {
				r.Resources = append(r.Resources, rr)
			}
		})
	}
	for _, c := range changes {
		if c.name == "retention.bytes" && describeValue(c.value) == "-5" {
			step.Tag = "retention.bytes -5"
		}
	}
	step.Then = settleConfigs(topic)
}
