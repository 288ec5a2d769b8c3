package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

// brokersTool is `firn brokers`: the live brokers, by way of the Kafka protocol.
type brokersTool struct{ admin }

func brokersCommand() *cobra.Command {
	b := new(brokersTool)
	c := &cobra.Command{
		Use:   "brokers",
		Short: "List the brokers of a cluster",
		Long:  "List the brokers of a running cluster, over the Kafka protocol.",
	}
	b.flags(c)
	c.AddCommand(b.lsCommand())
	return c
}

// brokerInfo is a broker as --json prints it.
type brokerInfo struct {
	ID         int32  `json:"id"`
	Address    string `json:"address"`    // what clients are told
	Controller bool   `json:"controller"` // it owns journal 0
	Leads      int    `json:"leads"`      // partitions
}

func (b *brokersTool) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List live brokers, and how many partitions each leads", Args: cobra.NoArgs,
		Example: "  firn brokers ls\n  firn brokers ls --brokers broker-1:9092 --json",
		RunE: func(c *cobra.Command, _ []string) error {
			return b.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				rows, leaderless, err := listBrokers(ctx, admin)
				if err != nil {
					return err
				}
				out := c.OutOrStdout()
				if b.asJSON {
					return printJSON(out, rows)
				}
				err = printTable(out, "ID\tADDRESS\tLEADS\tCONTROLLER", rows, func(w io.Writer, r brokerInfo) {
					controller := ""
					if r.Controller {
						controller = "yes"
					}
					fmt.Fprintf(w, "%d\t%s\t%d\t%s\n", r.ID, r.Address, r.Leads, controller)
				})
				if err == nil && leaderless > 0 {
					_, err = fmt.Fprintf(out, "%d partitions have no leader at the moment\n", leaderless)
				}
				return err
			})
		},
	}
}

func listBrokers(ctx context.Context, admin *kadm.Client) (rows []brokerInfo, leaderless int, err error) {
	m, err := admin.Metadata(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("listing brokers: %w", err)
	}
	leads := map[int32]int{}
	for _, topic := range m.Topics {
		for _, p := range topic.Partitions {
			leads[p.Leader]++
		}
	}
	rows = []brokerInfo{}
	for _, n := range m.Brokers {
		rows = append(rows, brokerInfo{
			ID: n.NodeID, Address: net.JoinHostPort(n.Host, strconv.Itoa(int(n.Port))), Controller: n.NodeID == m.Controller, Leads: leads[n.NodeID],
		})
	}
	return rows, leads[-1], nil
}
