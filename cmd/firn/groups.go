package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// groupsTool is `firn groups`: consumer groups, by way of the Kafka protocol.
type groupsTool struct{ admin }

func groupsCommand() *cobra.Command {
	g := new(groupsTool)
	c := &cobra.Command{
		Use:   "groups",
		Short: "List, describe, reset and delete consumer groups",
		Long:  "List, describe, reset and delete consumer groups of a running cluster, over the Kafka protocol.",
	}
	g.flags(c)
	c.AddCommand(g.lsCommand(), g.describeCommand(), g.resetCommand(), g.deleteCommand())
	return c
}

// groupInfo is a group as --json prints it.
type groupInfo struct {
	Name    string         `json:"name"`
	State   string         `json:"state"`
	Members int            `json:"members"`
	Lag     int64          `json:"lag"`
	Offsets []groupOffsets `json:"offsets"`
}

type groupOffsets struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1 if nothing is
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`              // -1 if not known
	Client    string `json:"client,omitempty"` // who reads the partition now
}

// groupError says what to do about the usual mistakes.
func groupError(group string, err error) error {
	switch {
	case errors.Is(err, kerr.GroupIDNotFound):
		return fmt.Errorf("group %q does not exist; \"firn groups ls\" lists those that do", group)
	case errors.Is(err, kerr.NonEmptyGroup), errors.Is(err, kerr.UnknownMemberID), errors.Is(err, kerr.RebalanceInProgress):
		return fmt.Errorf("group %q has members; stop its consumers first, \"firn groups describe %s\" shows them", group, group)
	}
	return fmt.Errorf("group %q: %w", group, err)
}

func (g *groupsTool) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List groups", Args: cobra.NoArgs,
		Example: "  firn groups ls\n  firn groups ls --brokers broker-1:9092 --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				listed, err := admin.ListGroups(ctx)
				if err != nil {
					return fmt.Errorf("listing groups: %w", err)
				}
				type row struct {
					Name  string `json:"name"`
					State string `json:"state"`
				}
				rows := []row{}
				for _, l := range listed.Sorted() {
					rows = append(rows, row{l.Group, l.State})
				}
				if g.asJSON {
					return printJSON(c.OutOrStdout(), rows)
				}
				return printTable(c.OutOrStdout(), "GROUP\tSTATE", rows, func(w io.Writer, r row) { fmt.Fprintf(w, "%s\t%s\n", r.Name, r.State) })
			})
		},
	}
}

// describe finds a group.
func (g *groupsTool) describe(ctx context.Context, admin *kadm.Client, name string) (*groupInfo, error) {
	lags, err := admin.Lag(ctx, name)
	if err != nil {
		return nil, groupError(name, err)
	}
	lag := lags[name]
	if err := lag.Error(); err != nil {
		return nil, groupError(name, err)
	}
	if lag.State == "Dead" || lag.State == "" {
		return nil, groupError(name, kerr.GroupIDNotFound)
	}
	info := &groupInfo{Name: name, State: lag.State, Members: len(lag.Members), Offsets: []groupOffsets{}}
	for _, l := range lag.Lag.Sorted() {
		o := groupOffsets{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
		if l.Member != nil {
			o.Client = l.Member.ClientID
		}
		info.Lag += max(l.Lag, 0)
		info.Offsets = append(info.Offsets, o)
	}
	return info, nil
}

func (g *groupsTool) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "describe GROUP", Short: "Show a group's offsets and how far it is behind", Args: cobra.ExactArgs(1),
		Example: "  firn groups describe readers\n  firn groups describe readers --json",
		RunE: func(c *cobra.Command, args []string) error {
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				info, err := g.describe(ctx, admin, args[0])
				if err != nil {
					return err
				}
				out := c.OutOrStdout()
				if g.asJSON {
					return printJSON(out, info)
				}
				fmt.Fprintf(out, "group %s, %s, %d members, %d records behind\n", info.Name, info.State, info.Members, info.Lag)
				return printTable(out, "TOPIC\tPARTITION\tCOMMITTED\tEND\tLAG\tCLIENT", info.Offsets, func(w io.Writer, o groupOffsets) {
					fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", o.Topic, o.Partition, o.Committed, o.End, o.Lag, o.Client)
				})
			})
		},
	}
}

func (g *groupsTool) resetCommand() *cobra.Command {
	var topic, to string
	c := &cobra.Command{
		Use: "reset GROUP --topic TOPIC --to earliest|latest|OFFSET", Short: "Set a group's offsets of a topic", Args: cobra.ExactArgs(1),
		Long:    "Set a group's offsets of all partitions of a topic. The group's consumers must be stopped.",
		Example: "  firn groups reset readers --topic events --to earliest\n  firn groups reset readers --topic events --to 1000",
		RunE: func(c *cobra.Command, args []string) error {
			exact, err := strconv.ParseInt(to, 10, 64)
			if to != "earliest" && to != "latest" && (err != nil || exact < 0) {
				return fmt.Errorf("--to %q: want earliest, latest or an offset", to)
			}
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				offsets, err := resetTo(ctx, admin, topic, to, exact)
				if err != nil {
					return err
				}
				if err := admin.CommitAllOffsets(ctx, args[0], offsets); err != nil {
					return groupError(args[0], err)
				}
				info, err := g.describe(ctx, admin, args[0])
				if err != nil {
					return err
				}
				if g.asJSON {
					return printJSON(c.OutOrStdout(), info)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "reset %s on %s to %s, now %d records behind\n", args[0], topic, to, info.Lag)
				return err
			})
		},
	}
	c.Flags().StringVar(&topic, "topic", "", "the topic")
	c.Flags().StringVar(&to, "to", "", "earliest, latest, or an offset, which is moved into each partition's log")
	c.MarkFlagRequired("topic")
	c.MarkFlagRequired("to")
	return c
}

// resetTo is an offset for each partition of a topic, within its log.
func resetTo(ctx context.Context, admin *kadm.Client, topic, to string, exact int64) (kadm.Offsets, error) {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, topicError(topic, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, topicError(topic, err)
	}
	offsets := kadm.Offsets{}
	for partition, start := range starts[topic] {
		end := ends[topic][partition].Offset
		at := max(start.Offset, min(exact, end))
		switch to {
		case "earliest":
			at = start.Offset
		case "latest":
			at = end
		}
		offsets.AddOffset(topic, partition, at, -1)
	}
	return offsets, nil
}

func (g *groupsTool) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete GROUP", Short: "Delete a group and its offsets", Args: cobra.ExactArgs(1),
		Long:    "Delete a group and its offsets, without asking. Its consumers must be stopped.",
		Example: "  firn groups delete readers",
		RunE: func(c *cobra.Command, args []string) error {
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				results, err := admin.DeleteGroups(ctx, args[0])
				if err = errors.Join(err, results[args[0]].Err); err != nil {
					return groupError(args[0], err)
				}
				if g.asJSON {
					return printJSON(c.OutOrStdout(), map[string]string{"deleted": args[0]})
				}
				_, err = fmt.Fprintln(c.OutOrStdout(), "deleted", args[0])
				return err
			})
		},
	}
}
