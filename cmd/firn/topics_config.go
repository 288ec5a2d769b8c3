package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// configInfo is a topic's config as --json prints it.
type configInfo struct {
	Name    string `json:"name"`
	Value   string `json:"value"`
	Default string `json:"default"`
	Set     bool   `json:"set"` // for this topic; else the value is the default
	Doc     string `json:"doc"`
}

// configChange is what --set and --unset ask for.
type configChange struct {
	set   []string // KEY=VALUE
	unset []string
}

const configHelp = `Show a topic's configs, or change them.

--set gives configs a value for this topic, --unset sends them back to the default. All changes of a command
are made together or not at all, and records are judged by them from then on. --explain says what each config does here;
some that Kafka knows are accepted for the sake of tools and have no effect.`

const configExample = `  firn topics config events
  firn topics config events --explain
  firn topics config events --set max.message.bytes=5000000 --set message.timestamp.type=LogAppendTime
  firn topics config events --unset max.message.bytes --json`

func (t *topicsTool) configCommand() *cobra.Command {
	var change configChange
	var explain bool
	c := &cobra.Command{
		Use: "config TOPIC", Short: "Show and change a topic's configs", Args: cobra.ExactArgs(1), Long: configHelp, Example: configExample,
		RunE: func(c *cobra.Command, args []string) error {
			alteration, err := change.request(args[0])
			if err != nil {
				return err
			}
			return t.connectClient(c.Context(), func(ctx context.Context, client *kgo.Client) error {
				if alteration != nil {
					if err := alterConfigs(ctx, client, alteration); err != nil {
						return err
					}
				}
				configs, err := describeConfigs(ctx, client, args[0])
				if err != nil {
					return err
				}
				switch {
				case t.asJSON:
					return printJSON(c.OutOrStdout(), configs)
				case explain:
					return printTable(c.OutOrStdout(), "CONFIG\tVALUE\tFROM\tWHAT IT DOES", configs, func(w io.Writer, i configInfo) {
						fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", i.Name, i.Value, i.from(), i.Doc)
					})
				}
				return printTable(c.OutOrStdout(), "CONFIG\tVALUE\tFROM", configs, func(w io.Writer, i configInfo) {
					fmt.Fprintf(w, "%s\t%s\t%s\n", i.Name, i.Value, i.from())
				})
			})
		},
	}
	c.Flags().StringArrayVar(&change.set, "set", nil, "a config and its new value, `KEY=VALUE`; may be repeated")
	c.Flags().StringArrayVar(&change.unset, "unset", nil, "a `KEY` that goes back to its default; may be repeated")
	c.Flags().BoolVar(&explain, "explain", false, "say what each config does")
	return c
}

// from says where a config's value comes from.
func (i *configInfo) from() string {
	if i.Set {
		return "topic"
	}
	return "default"
}

// request is the change as a request; nil if there is none.
func (c *configChange) request(topic string) (*kmsg.IncrementalAlterConfigsRequest, error) {
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for _, s := range c.set {
		key, value, err := parseSetting("--set", s)
		if err != nil {
			return nil, err
		}
		resource.Configs = append(resource.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Op: kmsg.IncrementalAlterConfigOpSet, Value: &value})
	}
	for _, key := range c.unset {
		resource.Configs = append(resource.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: key, Op: kmsg.IncrementalAlterConfigOpDelete})
	}
	if len(resource.Configs) == 0 {
		return nil, nil
	}
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.Resources = append(req.Resources, resource)
	return req, nil
}

// parseSetting parses KEY=VALUE.
func parseSetting(flag, s string) (key, value string, err error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok || key == "" {
		return "", "", fmt.Errorf("%s %q: want KEY=VALUE, as in retention.ms=86400000", flag, s)
	}
	return key, value, nil
}

func alterConfigs(ctx context.Context, client *kgo.Client, req *kmsg.IncrementalAlterConfigsRequest) error {
	topic := req.Resources[0].ResourceName
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("changing the configs of %q: %w", topic, err)
	}
	for _, r := range resp.Resources {
		if err := configError(topic, r.ErrorCode, r.ErrorMessage); err != nil {
			return err
		}
	}
	return nil
}

// describeConfigs gives a topic's configs, in order of name.
func describeConfigs(ctx context.Context, client *kgo.Client, topic string) ([]configInfo, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	req.Resources = append(req.Resources, resource)
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("describing the configs of %q: %w", topic, err)
	}
	configs := []configInfo{}
	for _, r := range resp.Resources {
		if err := configError(topic, r.ErrorCode, r.ErrorMessage); err != nil {
			return nil, err
		}
		for _, config := range r.Configs {
			info := configInfo{Name: config.Name, Value: textOf(config.Value), Doc: textOf(config.Documentation)}
			info.Set = config.Source == kmsg.ConfigSourceDynamicTopicConfig
			if !info.Set {
				info.Default = info.Value
			}
			for _, s := range config.ConfigSynonyms {
				if s.Source == kmsg.ConfigSourceDefaultConfig {
					info.Default = textOf(s.Value)
				}
			}
			configs = append(configs, info)
		}
	}
	slices.SortFunc(configs, func(a, b configInfo) int { return cmp.Compare(a.Name, b.Name) })
	return configs, nil
}

// configError is a broker's refusal, in its own words where it has some and the topic is there.
func configError(topic string, code int16, message *string) error {
	err := kerr.ErrorForCode(code)
	switch {
	case err == nil:
		return nil
	case message == nil, errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InvalidTopicException):
		return topicError(topic, err)
	}
	return fmt.Errorf("topic %q: %s; \"firn topics config %s --explain\" shows what there is", topic, *message, topic)
}

// textOf is a nullable string; "" for null.
func textOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
