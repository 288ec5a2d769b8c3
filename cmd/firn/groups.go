package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupsTool is `firn groups`: consumer groups, by way of the Kafka protocol.
type groupsTool struct{ admin }

func groupsCommand() *cobra.Command {
	g := new(groupsTool)
	c := &cobra.Command{
		Use:   "groups",
		Short: "List, describe, reset and delete consumer groups",
		Long: `List, describe, reset and delete consumer groups of a running cluster, over the Kafka protocol. ls and describe can also ask the store alone,
with --store: then no broker is needed, and it is committed offsets and lag that are told, for members are not durable.`,
	}
	g.flags(c)
	c.AddCommand(g.lsCommand(), g.describeCommand(), g.resetCommand(), g.deleteCommand())
	return c
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
	store := ""
	c := &cobra.Command{
		Use: "ls", Short: "List groups", Args: cobra.NoArgs,
		Example: "  firn groups ls\n  firn groups ls --brokers broker-1:9092 --json\n  firn groups ls --store file:///var/lib/firn",
		RunE: func(c *cobra.Command, _ []string) error {
			if store != "" {
				return listStoredGroups(c, store, g.asJSON)
			}
			return g.connectClient(c.Context(), func(ctx context.Context, client *kgo.Client) error {
				listed, err := kmsg.NewPtrListGroupsRequest().RequestWith(ctx, client)
				if err == nil {
					err = kerr.ErrorForCode(listed.ErrorCode)
				}
				if err != nil {
					return fmt.Errorf("listing groups: %w", err)
				}
				type row struct {
					Name  string `json:"name"`
					Type  string `json:"type"` // consumer or classic
					State string `json:"state"`
				}
				rows := []row{}
				for _, l := range listed.Groups {
					rows = append(rows, row{l.Group, l.GroupType, l.GroupState})
				}
				slices.SortFunc(rows, func(a, b row) int { return cmp.Compare(a.Name, b.Name) })
				if g.asJSON {
					return printJSON(c.OutOrStdout(), rows)
				}
				return printTable(c.OutOrStdout(), "GROUP\tTYPE\tSTATE", rows, func(w io.Writer, r row) {
					fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, r.Type, r.State)
				})
			})
		},
	}
	c.Flags().StringVar(&store, "store", "", storedHelp)
	return c
}

func (g *groupsTool) describeCommand() *cobra.Command {
	store := ""
	c := &cobra.Command{
		Use: "describe GROUP", Short: "Show a group's members, its offsets, and how far it is behind", Args: cobra.ExactArgs(1),
		Example: "  firn groups describe readers\n  firn groups describe readers --json",
		RunE: func(c *cobra.Command, args []string) error {
			if store != "" {
				return describeStoredGroup(c, store, args[0], g.asJSON)
			}
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				info, err := describeGroup(ctx, admin, args[0])
				if err != nil {
					return err
				}
				if g.asJSON {
					return printJSON(c.OutOrStdout(), info)
				}
				return info.print(c.OutOrStdout())
			})
		},
	}
	c.Flags().StringVar(&store, "store", "", storedHelp)
	return c
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
