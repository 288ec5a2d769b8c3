package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/firn-io/firn/kfs"
)

// topicsTool is `firn topics`: topics, by way of the Kafka protocol.
type topicsTool struct{ admin }

func topicsCommand() *cobra.Command {
	t := new(topicsTool)
	c := &cobra.Command{
		Use:   "topics",
		Short: "List, describe, create, configure and delete topics",
		Long: `List, describe, create, configure and delete topics of a running cluster, over the Kafka protocol. ls and describe can also ask the store
alone, with --store: then no broker is needed, and sizes are told.`,
	}
	t.flags(c)
	c.AddCommand(t.lsCommand(), t.describeCommand(), t.createCommand(), t.configCommand(), t.deleteCommand())
	return c
}

// topicInfo is a topic as --json prints it.
type topicInfo struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Records    int64             `json:"records"` // offsets between the log starts and the ends
	Partitions []partitionInfo   `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"` // those that were set; only when described
}

type partitionInfo struct {
	Partition int32 `json:"partition"`
	Leader    int32 `json:"leader"` // -1 if there is none at the moment
	Start     int64 `json:"start"`  // -1 where it could not be asked
	End       int64 `json:"end"`
}

// load finds topics: all of them if none is named.
func (t *topicsTool) load(ctx context.Context, admin *kadm.Client, names ...string) ([]topicInfo, error) {
	details, err := admin.ListTopics(ctx, names...)
	if err != nil {
		return nil, fmt.Errorf("listing topics: %w", err)
	}
	for _, d := range details.Sorted() {
		if d.Err != nil {
			return nil, topicError(d.Topic, d.Err)
		}
	}
	if len(details) == 0 {
		return []topicInfo{}, nil
	}
	starts, err := admin.ListStartOffsets(ctx, details.Names()...)
	if err != nil {
		return nil, fmt.Errorf("listing log starts: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, details.Names()...)
	if err != nil {
		return nil, fmt.Errorf("listing log ends: %w", err)
	}
	topics := make([]topicInfo, 0, len(details))
	for _, d := range details.Sorted() {
		topic := topicInfo{Name: d.Topic, ID: kfs.TopicID(d.ID).String()}
		for _, p := range d.Partitions.Sorted() {
			info := partitionInfo{Partition: p.Partition, Leader: p.Leader, Start: offsetOf(starts, d.Topic, p.Partition), End: offsetOf(ends, d.Topic, p.Partition)}
			if info.Start >= 0 && info.End >= 0 {
				topic.Records += info.End - info.Start
			}
			topic.Partitions = append(topic.Partitions, info)
		}
		topics = append(topics, topic)
	}
	slices.SortFunc(topics, func(a, b topicInfo) int { return cmp.Compare(a.Name, b.Name) })
	return topics, nil
}

func offsetOf(listed kadm.ListedOffsets, topic string, partition int32) int64 {
	if o, ok := listed.Lookup(topic, partition); ok && o.Err == nil {
		return o.Offset
	}
	return -1
}

// topicError says what to do about the usual mistakes.
func topicError(topic string, err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition):
		return fmt.Errorf("topic %q does not exist; \"firn topics ls\" lists those that do", topic)
	case errors.Is(err, kerr.TopicAlreadyExists):
		return fmt.Errorf("topic %q exists already; \"firn topics describe %s\" shows it", topic, topic)
	case errors.Is(err, kerr.InvalidTopicException):
		return fmt.Errorf("%q cannot be a topic's name: use up to 249 letters, digits, dots, underscores and hyphens", topic)
	}
	return fmt.Errorf("topic %q: %w", topic, err)
}

func (t *topicsTool) lsCommand() *cobra.Command {
	store := ""
	c := &cobra.Command{
		Use: "ls", Short: "List topics", Args: cobra.NoArgs,
		Example: "  firn topics ls\n  firn topics ls --brokers broker-1:9092 --json\n  firn topics ls --store file:///var/lib/firn",
		RunE: func(c *cobra.Command, _ []string) error {
			if store != "" {
				return listStoredTopics(c, store, t.asJSON)
			}
			return t.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				topics, err := t.load(ctx, admin)
				if err != nil {
					return err
				}
				if t.asJSON {
					return printJSON(c.OutOrStdout(), topics)
				}
				return printTable(c.OutOrStdout(), "TOPIC\tPARTITIONS\tRECORDS\tID", topics, func(w io.Writer, i topicInfo) {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", i.Name, len(i.Partitions), i.Records, i.ID)
				})
			})
		},
	}
	c.Flags().StringVar(&store, "store", "", storedHelp)
	return c
}

func (t *topicsTool) describeCommand() *cobra.Command {
	store := ""
	c := &cobra.Command{
		Use: "describe TOPIC", Short: "Show a topic's partitions and the configs that were set", Args: cobra.ExactArgs(1),
		Example: "  firn topics describe events\n  firn topics describe events --json",
		RunE: func(c *cobra.Command, args []string) error {
			if store != "" {
				return describeStoredTopic(c, store, args[0], t.asJSON)
			}
			return t.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				topics, err := t.load(ctx, admin, args[0])
				if err != nil {
					return err
				}
				topic := topics[0]
				if topic.Configs, err = setConfigs(ctx, admin, args[0]); err != nil {
					return err
				}
				out := c.OutOrStdout()
				if t.asJSON {
					return printJSON(out, topic)
				}
				fmt.Fprintf(out, "topic %s, id %s, %d records\n", topic.Name, topic.ID, topic.Records)
				for _, key := range slices.Sorted(maps.Keys(topic.Configs)) {
					fmt.Fprintf(out, "config %s=%s\n", key, topic.Configs[key])
				}
				return printTable(out, "PARTITION\tLEADER\tSTART\tEND", topic.Partitions, func(w io.Writer, p partitionInfo) {
					fmt.Fprintf(w, "%d\t%d\t%d\t%d\n", p.Partition, p.Leader, p.Start, p.End)
				})
			})
		},
	}
	c.Flags().StringVar(&store, "store", "", storedHelp)
	return c
}

// setConfigs are the configs of a topic that are its own.
func setConfigs(ctx context.Context, admin *kadm.Client, topic string) (map[string]string, error) {
	resources, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, fmt.Errorf("describing the configs of %q: %w", topic, err)
	}
	set := map[string]string{}
	for _, r := range resources {
		if r.Err != nil {
			return nil, topicError(topic, r.Err)
		}
		for _, config := range r.Configs {
			if config.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
				set[config.Key] = config.MaybeValue()
			}
		}
	}
	return set, nil
}

func (t *topicsTool) createCommand() *cobra.Command {
	var partitions int32
	var settings []string
	c := &cobra.Command{
		Use: "create TOPIC", Short: "Create a topic", Args: cobra.ExactArgs(1),
		Example: "  firn topics create events\n  firn topics create events --partitions 12 --config retention.ms=86400000",
		RunE: func(c *cobra.Command, args []string) error {
			configs := map[string]*string{}
			for _, s := range settings {
				key, value, err := parseSetting("--config", s)
				if err != nil {
					return err
				}
				configs[key] = &value
			}
			if partitions < 1 && partitions != -1 {
				return fmt.Errorf("--partitions %d: a topic has at least one", partitions)
			}
			return t.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				made, err := admin.CreateTopic(ctx, partitions, -1, configs, args[0])
				if made.ErrMessage != "" && errors.Is(err, made.Err) && !errors.Is(err, kerr.TopicAlreadyExists) {
					return fmt.Errorf("topic %q: %s", args[0], made.ErrMessage)
				}
				if err != nil {
					return topicError(args[0], err)
				}
				if t.asJSON {
					return printJSON(c.OutOrStdout(), map[string]any{"name": args[0], "id": kfs.TopicID(made.ID).String(), "partitions": made.NumPartitions})
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "created %s with %d partitions\n", args[0], made.NumPartitions)
				return err
			})
		},
	}
	c.Flags().Int32Var(&partitions, "partitions", -1, "how many partitions; -1 for the broker's default")
	c.Flags().StringArrayVar(&settings, "config", nil, "a config of the topic, KEY=VALUE; may be repeated")
	return c
}

func (t *topicsTool) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete TOPIC...", Short: "Delete topics and their records", Args: cobra.MinimumNArgs(1),
		Long:    "Delete topics and their records, at once and without asking. Tables that were made from them stay.",
		Example: "  firn topics delete events",
		RunE: func(c *cobra.Command, args []string) error {
			return t.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				results, err := admin.DeleteTopics(ctx, args...)
				if err != nil {
					return fmt.Errorf("deleting topics: %w", err)
				}
				deleted := []string{}
				var errs []error
				for _, r := range results.Sorted() {
					if r.Err != nil {
						errs = append(errs, topicError(r.Topic, r.Err))
						continue
					}
					deleted = append(deleted, r.Topic)
				}
				if t.asJSON {
					errs = append(errs, printJSON(c.OutOrStdout(), map[string]any{"deleted": deleted}))
				} else {
					for _, name := range deleted {
						fmt.Fprintln(c.OutOrStdout(), "deleted", name)
					}
				}
				return errors.Join(errs...)
			})
		},
	}
}
