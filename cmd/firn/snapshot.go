package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/broker/snapshot"
	"github.com/firn-io/firn/kfs"
)

// snapshotTool is `firn snapshot`: restore points, by the store alone.
type snapshotTool struct {
	program *program
	store   string
	asJSON  bool
}

func (p *program) snapshotCommand() *cobra.Command {
	t := &snapshotTool{program: p}
	c := &cobra.Command{
		Use:   "snapshot",
		Short: "Make, list and delete restore points",
		Long: `Make, list and delete restore points: a cluster as it is at one moment, to which "firn restore" brings it back in another place.

A restore point has every record, topic, setting and committed offset that was acknowledged before it was asked for. No records are copied:
what it needs of the store is kept, whatever retention and deletion say, until the restore point is deleted. "firn bucket" shows what that
takes. Brokers need not run, and go on if they do.`,
	}
	c.PersistentFlags().StringVar(&t.store, "store", filepath.Join(defaultData, "store"), storeHelp)
	c.PersistentFlags().BoolVar(&t.asJSON, "json", false, "print JSON in place of tables")
	c.AddCommand(t.createCommand(), t.lsCommand(), t.showCommand(), t.deleteCommand())
	return c
}

func (t *snapshotTool) createCommand() *cobra.Command {
	return &cobra.Command{
		Use: "create NAME", Short: "Make a restore point of what there is now", Args: cobra.ExactArgs(1),
		Long: `Make a restore point of what there is now. It costs a few requests for each journal, one for each object that no checkpoint covers yet (some
hundred), and no copies. It must be done within half an hour, or it is taken back.`,
		Example: "  firn snapshot create before-v2\n  firn snapshot create before-v2 --store 's3://bucket/prefix?region=eu-central-1'",
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(c.Context(), t.store)
			if err != nil {
				return err
			}
			s, err := snapshot.Create(c.Context(), snapshot.Config{Store: store, Log: t.program.logger}, args[0])
			if err != nil {
				return snapshotError(args[0], err)
			}
			if t.asJSON {
				return printJSON(c.OutOrStdout(), s)
			}
			sum := sumOf(s)
			_, err = fmt.Fprintf(c.OutOrStdout(), "restore point %s of cluster %s: %d topics with %d records on %d journals; it needs %s of the store, which stays until it is deleted\n",
				s.Name, s.Cluster, s.Topics, sum.records, len(s.Journals), byteSize(sum.bytes))
			return err
		},
	}
}

// snapshotSum is what a restore point comes to.
type snapshotSum struct{ records, bytes int64 }

func sumOf(s *kfs.Snapshot) (sum snapshotSum) {
	for i := range s.Journals {
		j := &s.Journals[i]
		sum.records += j.Records
		sum.bytes += j.Bytes + j.Settled + j.Length
	}
	return sum
}

// snapshotError says what to do about the usual mistakes.
func snapshotError(name string, err error) error {
	switch {
	case errors.Is(err, snapshot.ErrExists):
		return fmt.Errorf("there is a restore point %q already; choose another name, or \"firn snapshot delete %s\"", name, name)
	case errors.Is(err, snapshot.ErrNotFound):
		return fmt.Errorf("there is no restore point %q; \"firn snapshot ls\" lists those that there are", name)
	}
	return err
}

// snapshotRow is a restore point as --json prints it in a list.
type snapshotRow struct {
	Name     string        `json:"name"`
	Created  string        `json:"created,omitempty"` // RFC 3339
	Error    string        `json:"error,omitempty"`   // why it cannot be read: nothing of the store is deleted then
	Snapshot *kfs.Snapshot `json:"snapshot,omitempty"`
}

func (t *snapshotTool) lsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List restore points", Args: cobra.NoArgs,
		Example: "  firn snapshot ls\n  firn snapshot ls --store file:///var/lib/firn --json",
		RunE: func(c *cobra.Command, _ []string) error {
			store, err := openStore(c.Context(), t.store)
			if err != nil {
				return err
			}
			found, err := snapshot.List(c.Context(), store)
			if err != nil {
				return err
			}
			rows := []snapshotRow{}
			for _, f := range found {
				row := snapshotRow{Name: f.Name, Snapshot: f.Snapshot}
				if f.Err != nil {
					row.Error = f.Err.Error()
				} else {
					row.Created = timeOf(f.Snapshot.Created)
				}
				rows = append(rows, row)
			}
			if t.asJSON {
				return printJSON(c.OutOrStdout(), rows)
			}
			return printTable(c.OutOrStdout(), "RESTORE POINT\tCREATED\tTOPICS\tRECORDS\tNEEDS", rows, func(w io.Writer, r snapshotRow) {
				if r.Snapshot == nil {
					fmt.Fprintf(w, "%s\tcannot be read, so nothing is deleted: %s\n", r.Name, r.Error)
					return
				}
				sum := sumOf(r.Snapshot)
				fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%s\n", r.Name, r.Created, r.Snapshot.Topics, sum.records, byteSize(sum.bytes))
			})
		},
	}
}

// timeOf writes Unix milliseconds for people.
func timeOf(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

func (t *snapshotTool) showCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show NAME", Short: "Show where a restore point cuts the journals, and what it needs of each", Args: cobra.ExactArgs(1),
		Example: "  firn snapshot show before-v2",
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(c.Context(), t.store)
			if err != nil {
				return err
			}
			s, err := snapshot.Read(c.Context(), store, args[0])
			if err != nil {
				return snapshotError(args[0], err)
			}
			out := c.OutOrStdout()
			if t.asJSON {
				return printJSON(out, s)
			}
			fmt.Fprintf(out, "restore point %s, made at %s of cluster %s, lineage %s, %d topics\n", s.Name, timeOf(s.Created), s.Cluster, s.Lineage, s.Topics)
			return printTable(out, "JOURNAL\tENDS WITH OBJECT\tNEEDS OBJECTS FROM\tBYTES\tSEGMENTS\tBYTES\tPARTITIONS\tRECORDS", s.Journals, func(w io.Writer, j kfs.SnapshotJournal) {
				from := "-"
				if j.From <= j.Sequence {
					from = fmt.Sprint(j.From)
				}
				fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%s\t%d\t%d\n", j.Journal, j.Sequence, from, byteSize(j.Bytes), j.Segments, byteSize(j.Settled), j.Partitions, j.Records)
			})
		},
	}
}

func (t *snapshotTool) deleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Short: "Delete a restore point, and let go of what only it needs", Args: cobra.ExactArgs(1),
		Long: `Delete a restore point, without asking, also one that cannot be read. What only it needs is deleted by the brokers: objects of journals
within minutes, segments at once or, after the broker has changed, when they have not been needed for --grace. What was restored from it stays.`,
		Example: "  firn snapshot delete before-v2",
		RunE: func(c *cobra.Command, args []string) error {
			store, err := openStore(c.Context(), t.store)
			if err != nil {
				return err
			}
			if err := snapshot.Delete(c.Context(), store, args[0]); err != nil {
				return snapshotError(args[0], err)
			}
			if t.asJSON {
				return printJSON(c.OutOrStdout(), map[string]string{"deleted": args[0]})
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), "deleted", args[0])
			return err
		},
	}
}
