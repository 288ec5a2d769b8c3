package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/broker/snapshot"
	"github.com/firn-io/firn/kfs/blob/open"
)

// restoreResult is what --json prints.
type restoreResult struct {
	Snapshot string `json:"snapshot"`
	Source   string `json:"source_cluster"`
	Cluster  string `json:"cluster,omitempty"` // empty for a dry run of a restore that has not begun
	Lineage  string `json:"lineage,omitempty"`
	To       string `json:"to"`
	Topics   int    `json:"topics"`
	Records  int64  `json:"records"`
	Objects  int    `json:"objects"` // to be copied in all
	Bytes    int64  `json:"bytes"`   // indexes are not counted
	There    int    `json:"objects_there"`
	Restored bool   `json:"restored"` // false: a dry run
}

func (p *program) restoreCommand() *cobra.Command {
	var from, store, to string
	var parallel int
	dryRun, asJSON := false, false
	c := &cobra.Command{
		Use:   "restore --from NAME --to URL",
		Short: "Bring a cluster back, in another place, as it was at a restore point",
		Long: `Bring a cluster back, in another place, as it was at a restore point: records at the offsets they had, topics with their ids and settings, log
starts, committed offsets of groups, what is known of idempotent producers. Members of groups are not restored: consumers join anew.

--to is another prefix of the same bucket, another bucket at the same endpoint, or another folder: then the store copies by itself. Between
stores of different kinds the bytes go through this program. Nothing may be there. Until all is there brokers, jobs and all
other commands refuse the place. A restore that ends early is gone on with by the same command.

The result is a cluster of its own, with a new cluster id and lineage, and the old one goes on untouched. Start its brokers with --store URL; if
both clusters share an etcd, with another --etcd-prefix. A job that has filled tables from the old cluster halts on the new lineage,
because from the restore point on the same offset may be another record: give it new tables, or let "firn verify" show you where the
tables stand first. Jobs are not registered in the new place before they are started there.`,
		Example: `  firn restore --from before-v2 --store 's3://bucket/prefix?region=eu-central-1' --to 's3://bucket/restored?region=eu-central-1' --dry-run
  firn restore --from before-v2 --store 's3://bucket/prefix?region=eu-central-1' --to 's3://bucket/restored?region=eu-central-1'
  firn broker --store 's3://bucket/restored?region=eu-central-1' --etcd etcd1:2379 --etcd-prefix /firn-restored/`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if parallel < 1 {
				return fmt.Errorf("--parallel %d: at least one copy at a time", parallel)
			}
			source, err := openStore(c.Context(), store)
			if err != nil {
				return err
			}
			into, err := open.Store(c.Context(), to)
			if err != nil {
				return fmt.Errorf("--to: %w", err)
			}
			r := snapshot.NewRestore(snapshot.RestoreConfig{
				From: source, Name: from, Into: into, Parallel: parallel, Progress: restoreProgress(c.ErrOrStderr()), Log: p.logger,
			})
			plan, err := r.Plan(c.Context())
			if err == nil && !dryRun {
				err = r.Run(c.Context())
			}
			if err != nil {
				if errors.Is(err, snapshot.ErrNotFound) {
					return snapshotError(from, err)
				}
				return fmt.Errorf("restoring %s into %s: %w", from, storeName(to), err)
			}
			return printRestored(c.OutOrStdout(), plan, to, !dryRun, asJSON)
		},
	}
	c.Flags().StringVar(&from, "from", "", "the restore point's `name`")
	c.Flags().StringVar(&store, "store", filepath.Join(defaultData, "store"), storeHelp)
	c.Flags().StringVar(&to, "to", "", "where the cluster is restored, a `URL` as of --store, with nothing there")
	c.Flags().IntVar(&parallel, "parallel", 16, "`how many` objects are copied at a time")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "say what would be copied, and write nothing")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.MarkFlagRequired("from")
	c.MarkFlagRequired("to")
	return c
}

// restoreProgress says now and then how far a restore is.
func restoreProgress(out io.Writer) func(snapshot.Progress) {
	last := time.Now()
	return func(p snapshot.Progress) {
		if now := time.Now(); now.Sub(last) >= progressInterval {
			last = now
			fmt.Fprintf(out, "… %d of %d objects, %s of %s\n", p.Copied, p.Objects, byteSize(p.CopiedBytes), byteSize(p.Bytes))
		}
	}
}

func printRestored(out io.Writer, plan *snapshot.Plan, to string, done, asJSON bool) error {
	s := plan.Snapshot
	r := restoreResult{
		Snapshot: s.Name, Source: s.Cluster.String(), To: storeName(to), Topics: s.Topics, Records: sumOf(s).records,
		Objects: plan.Objects, Bytes: plan.Bytes, There: plan.Copied, Restored: done,
	}
	if !plan.Cluster.IsZero() {
		r.Cluster, r.Lineage = plan.Cluster.String(), plan.Lineage.String()
	}
	if asJSON {
		return printJSON(out, r)
	}
	fmt.Fprintf(out, "restore point %s of cluster %s, made at %s: %d topics, %d records\n", r.Snapshot, r.Source, timeOf(s.Created), r.Topics, r.Records)
	if !done {
		fmt.Fprintf(out, "would copy %d objects, %s, into %s", r.Objects-r.There, byteSize(r.Bytes-plan.CopiedBytes), r.To)
		if plan.Resumed {
			fmt.Fprintf(out, "; %d are there from an earlier run", r.There)
		}
		_, err := fmt.Fprintln(out)
		return err
	}
	_, err := fmt.Fprintf(out, "restored into %s as cluster %s, lineage %s: %d objects, %s; start brokers with --store '%s'\n", r.To, r.Cluster, r.Lineage, r.Objects, byteSize(r.Bytes), to)
	return err
}
