package api

import (
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
// Topics have the configs of the metadata package. Of a broker it tells the few that its own settings mean in Kafka's terms; they
// cannot be changed through the protocol. Other kinds of resources are refused.
func describeConfigs(b *Backend) API {
	c := &configDescriber{b}
	return serve(32, concurrent(c.handle))
}

// groupConfigs is why nothing is told or changed of a group's configs.
const groupConfigs = "groups have no configs of their own: the session timeout and the heartbeat interval are the same for all"

type configDescriber struct{ *Backend }

func (c *configDescriber) handle(_ context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for _, resource := range req.Resources {
		answer := kmsg.NewDescribeConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = resource.ResourceType, resource.ResourceName
		configs, err := c.describe(&resource)
		answer.ErrorCode, answer.ErrorMessage = Code(err), message(err)
		for _, config := range configs {
			if resource.ConfigNames != nil && !slices.Contains(resource.ConfigNames, config.Name) {
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
		resp.Resources = append(resp.Resources, answer)
	}
	return resp, nil
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
			configs = append(configs, describeConfig(v, configSource(v)))
		}
		return configs, nil
	case kmsg.ConfigResourceTypeBroker:
		if self := strconv.Itoa(int(c.Cluster.Self().ID)); r.ResourceName != "" && r.ResourceName != self {
			return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("broker %s tells only its own configs, not those of %q", self, r.ResourceName))
		}
		return c.ownConfigs(), nil
	case kmsg.ConfigResourceTypeGroupConfig:
		return nil, refuse(kerr.InvalidRequest, groupConfigs)
	}
	return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %d are not known", r.ResourceType))
}

func (c *configDescriber) ownConfigs() []kmsg.DescribeConfigsResponseResourceConfig {
	var configs []kmsg.DescribeConfigsResponseResourceConfig
	add := func(name string, kind metadata.ConfigType, value, doc string) {
		v := metadata.ConfigValue{ConfigDef: metadata.ConfigDef{Name: name, Type: kind, Doc: doc}, Value: value, IsDefault: true}
		config := describeConfig(v, kmsg.ConfigSourceStaticBrokerConfig)
		config.ReadOnly, config.IsDefault = true, false
		configs = append(configs, config)
	}
	self := c.Cluster.Self()
	add("advertised.listeners", metadata.TypeString, fmt.Sprintf("PLAINTEXT://%s:%d", self.Host, self.Port), "Where clients reach this broker.")
	add("auto.create.topics.enable", metadata.TypeBoolean, strconv.FormatBool(c.AutoCreate), "Whether a topic that a client asks for by name is created.")
	add("broker.id", metadata.TypeInt, strconv.Itoa(int(self.ID)), "This broker.")
	add("default.replication.factor", metadata.TypeInt, "1", "The object store replicates.")
	add("fetch.max.bytes", metadata.TypeInt, strconv.FormatInt(c.FetchBytes, 10), "The most that one fetch answers beyond a first batch.")
	add("node.id", metadata.TypeInt, strconv.Itoa(int(self.ID)), "This broker.")
	add("num.partitions", metadata.TypeInt, strconv.Itoa(int(c.Partitions)), "Partitions of a topic whose creator does not say how many.")
	return configs
}

func describeConfig(v metadata.ConfigValue, source kmsg.ConfigSource) kmsg.DescribeConfigsResponseResourceConfig {
	config := kmsg.NewDescribeConfigsResponseResourceConfig()
	config.Name, config.Value = v.Name, kmsg.StringPtr(v.Value)
	config.IsDefault, config.Source = v.IsDefault, source
	config.ConfigType, config.Documentation = kmsg.ConfigType(v.Type), kmsg.StringPtr(v.Doc)
	synonym := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
	synonym.Name, synonym.Value, synonym.Source = v.Name, config.Value, source
	config.ConfigSynonyms = append(config.ConfigSynonyms, synonym)
	return config
}
