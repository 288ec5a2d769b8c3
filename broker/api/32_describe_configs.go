package api

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
)

// DescribeConfigs: versions 0 to 4, all that kmsg knows.
//
// Topics have the configs of the metadata package; the synonyms say where a value comes from: the topic, or the broker's default, by
// the name that it has in Kafka. Of a broker it tells those defaults, and what its own settings mean in Kafka's terms; they cannot be
// changed through the protocol, and so there are none for all brokers together (a resource without a name). No config names means all,
// be they null or an empty list. Other kinds of resources are refused.
func describeConfigs(b *Backend) API {
	c := &configDescriber{b}
	return serve(32, concurrent(c.handle))
}

// groupConfigs is why nothing is told or changed of a group's configs.
const groupConfigs = "groups have no configs of their own: the session timeout and the heartbeat interval are the same for all"

type configDescriber struct{ *Backend }

func (c *configDescriber) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, resource := range req.Resources {
		answer := kmsg.NewDescribeConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = resource.ResourceType, resource.ResourceName
		configs, err := c.describe(&resource)
		answer.ErrorCode, answer.ErrorMessage = Code(err), message(err)
		for _, config := range configs {
			if len(resource.ConfigNames) > 0 && !slices.Contains(resource.ConfigNames, config.Name) {
				continue
			}
			if !req.IncludeSynonyms {
				config.ConfigSynonyms = nil
			}
			if !req.IncludeDocumentation {
				config.Documentation = nil
			}
			answer.Configs = append(answer.Configs, config)
		}
		if err := r.Reserve(ctx, configsBytes(answer.Configs)); err != nil {
			return nil, err
		}
		resp.Resources = append(resp.Resources, answer)
	}
	return resp, nil
}

// configsBytes is about what configs take in an answer, decoded and encoded.
func configsBytes(configs []kmsg.DescribeConfigsResponseResourceConfig) int64 {
	n := 0
	for _, c := range configs {
		n += elementBytes + 2*(len(c.Name)+len(deref(c.Value))+len(deref(c.Documentation)))
		for _, s := range c.ConfigSynonyms {
			n += elementBytes/2 + 2*len(s.Name) + 2*len(deref(s.Value))
		}
	}
	return int64(n)
}

func (c *configDescriber) describe(r *kmsg.DescribeConfigsRequestResource) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	switch r.ResourceType {
	case kmsg.ConfigResourceTypeTopic:
		topic, err := byValidName(c.Cluster.State(), r.ResourceName)
		if err != nil {
			return nil, err
		}
		var configs []kmsg.DescribeConfigsResponseResourceConfig
		for _, v := range topic.ConfigValues() {
			configs = append(configs, describeTopicConfig(&v))
		}
		return configs, nil
	case kmsg.ConfigResourceTypeBroker:
		self := strconv.Itoa(int(c.Cluster.Self().ID))
		switch r.ResourceName {
		case "":
			return nil, nil
		case self:
			return c.ownConfigs(), nil
		}
		return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("broker %s tells only its own configs, not those of %q", self, r.ResourceName))
	case kmsg.ConfigResourceTypeGroupConfig:
		return nil, refuse(kerr.InvalidRequest, groupConfigs)
	}
	return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %d are not known", r.ResourceType))
}

// ownConfigs are this broker's, in order of name.
func (c *configDescriber) ownConfigs() []kmsg.DescribeConfigsResponseResourceConfig {
	var configs []kmsg.DescribeConfigsResponseResourceConfig
	add := func(source kmsg.ConfigSource, name string, kind metadata.ConfigType, value, doc string) {
		config := describeConfig(&metadata.ConfigDef{Name: name, Type: kind, Doc: doc}, value)
		config.ReadOnly, config.Source = true, source
		config.IsDefault = source == kmsg.ConfigSourceDefaultConfig
		config.ConfigSynonyms = []kmsg.DescribeConfigsResponseResourceConfigConfigSynonym{synonym(name, value, source)}
		configs = append(configs, config)
	}
	for _, def := range metadata.ConfigDefs() {
		if name := def.BrokerName(); name != "" {
			add(kmsg.ConfigSourceDefaultConfig, name, def.Type, def.Default, "The default of a topic's "+def.Name+". "+def.Doc)
		}
	}
	const own = kmsg.ConfigSourceStaticBrokerConfig
	self := c.Cluster.Self()
	add(own, "advertised.listeners", metadata.TypeString, fmt.Sprintf("PLAINTEXT://%s:%d", self.Host, self.Port), "Where clients reach this broker.")
	add(own, "auto.create.topics.enable", metadata.TypeBoolean, strconv.FormatBool(c.AutoCreate), "Whether a topic that a client asks for by name is created.")
	add(own, "broker.id", metadata.TypeInt, strconv.Itoa(int(self.ID)), "This broker.")
	add(own, "default.replication.factor", metadata.TypeInt, "1", "The object store replicates.")
	add(own, "delete.topic.enable", metadata.TypeBoolean, "true", "Topics can be deleted.")
	add(own, "fetch.max.bytes", metadata.TypeInt, strconv.FormatInt(c.FetchBytes, 10), "The most that one fetch answers beyond a first batch.")
	add(own, "log.dirs", metadata.TypeString, c.LogDir, "The object store.")
	add(own, "node.id", metadata.TypeInt, strconv.Itoa(int(self.ID)), "This broker.")
	add(own, "num.partitions", metadata.TypeInt, strconv.Itoa(int(c.Partitions)), "Partitions of a topic whose creator does not say how many.")
	slices.SortFunc(configs, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return cmp.Compare(a.Name, b.Name) })
	return configs
}

// describeTopicConfig describes a topic's config, with the value of the topic before the default.
func describeTopicConfig(v *metadata.ConfigValue) kmsg.DescribeConfigsResponseResourceConfig {
	config := describeConfig(&v.ConfigDef, v.Value)
	config.IsDefault, config.Source = v.IsDefault, configSource(*v)
	if !v.IsDefault {
		config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(v.Name, v.Value, config.Source))
	}
	if name := v.BrokerName(); name != "" {
		config.ConfigSynonyms = append(config.ConfigSynonyms, synonym(name, v.Default, kmsg.ConfigSourceDefaultConfig))
	}
	return config
}

func describeConfig(def *metadata.ConfigDef, value string) kmsg.DescribeConfigsResponseResourceConfig {
	config := kmsg.NewDescribeConfigsResponseResourceConfig()
	config.Name, config.Value = def.Name, kmsg.StringPtr(value)
	config.ConfigType, config.Documentation = kmsg.ConfigType(def.Type), kmsg.StringPtr(def.Doc)
	return config
}

func synonym(name, value string, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfigConfigSynonym {
	s := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	s.Name, s.Value, s.Source = name, kmsg.StringPtr(value), source
	return s
}
