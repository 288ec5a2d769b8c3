package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// lostRecords are records of a partition that are in the log no more and that a table does not account for.
type lostRecords struct {
	Table     string      `json:"table"`
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"topic_id"`
	Partition int32       `json:"partition"`
	From      int64       `json:"from"`
	Until     int64       `json:"until"`
}

func (l *lostRecords) source() processor.Source {
	return processor.Source{Topic: l.Topic, ID: l.ID, Partition: l.Partition}
}

// lossResult is what was lost to a job, and whether its tables go on behind it now.
type lossResult struct {
	Job      string        `json:"job"`
	Lost     []lostRecords `json:"lost"`
	Accepted bool          `json:"accepted"`
	// Halts are what the job had halted on when it ran last, lost or not.
	Halts []kfs.JobHalt `json:"halts,omitempty"`
}

func acceptLossCommand() *cobra.Command {
	var flags tableFlags
	dry, yes := false, false
	c := &cobra.Command{
		Use:   "accept-loss -f JOB.yaml",
		Short: "Let tables go on behind records that the log has lost",
		Long: `Let tables go on behind records that the log has lost.

Where retention, or somebody who deletes records, was faster than a job, its partition halts, for what is lost cannot come into the table any
more. This lists what is lost, asks, and moves the tables' positions behind it, each in one commit, whose receipt says which offsets were
given up. The rows that are there stay, and the job goes on in the same tables when it is started again. firn verify tells of such offsets and
holds them against nobody; firn where calls them lost. It cannot be undone: restored records come into these tables no more.

Where an object of the log is gone or damaged, and there is no copy of it, the log must let go of these records first: DeleteRecords, up to behind them.

It may run beside a job that has halted there; one that has not may hold some of these records in memory, and would lose them: let it end first.
Exits with 0 if nothing is lost, or all of it is accepted, else with 1.`,
		Example: `  firn accept-loss -f job.yaml --dry-run   # what is lost
  firn accept-loss -f job.yaml
  firn accept-loss -f job.yaml --yes --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			results := []*lossResult{}
			err := flags.each(c.Context(), func(j *jobTables) error {
				r, err := lossOf(c.Context(), j)
				if err != nil {
					return err
				}
				results = append(results, r)
				if len(r.Lost) == 0 || dry {
					return nil
				}
				ok, err := confirm(c, yes, func(out io.Writer) error { return printLost(out, r) }, "go on without them")
				if err != nil || !ok {
					return err
				}
				if err := j.forgo(c.Context(), r.Lost); err != nil {
					return fmt.Errorf("job %s: %w", r.Job, err)
				}
				r.Accepted = true
				return nil
			})
			if flags.asJSON {
				err = errors.Join(err, printJSON(c.OutOrStdout(), results))
			} else {
				for _, r := range results {
					err = errors.Join(err, printLoss(c.OutOrStdout(), r))
				}
			}
			for _, r := range results {
				if err == nil && len(r.Lost) > 0 && !r.Accepted {
					err = fmt.Errorf("job %s: records are lost, and its tables do not go on behind them", r.Job)
				}
			}
			return err
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what is lost, and write nothing")
	c.Flags().BoolVar(&yes, "yes", false, "accept it without asking")
	c.MarkFlagsMutuallyExclusive("dry-run", "yes")
	return c
}

// lossOf finds what the log has lost before the job's tables had it.
func lossOf(ctx context.Context, j *jobTables) (*lossResult, error) {
	if j.job.Source.Format == "kafscale" {
		return nil, errors.New("a bucket of KafScale does not say what was trimmed: give the job another table.name")
	}
	r := &lossResult{Job: j.job.Name, Lost: []lostRecords{}, Halts: j.halts}
	ends, err := inspect.ReadEnds(ctx, j.store)
	if err != nil {
		return nil, err
	}
	for _, t := range j.tables {
		account, err := j.account(ctx, t.Table)
		if err != nil {
			return nil, err
		}
		if account == nil || account.Progress[j.job.Name] == nil {
			continue // it has no position yet, and begins where the log does
		}
		for _, key := range slices.Sorted(maps.Keys(account.Progress[j.job.Name].Sources)) {
			source, err := iceberg.ParseSource(key)
			if err != nil {
				return nil, fmt.Errorf("table %s: %w", t.Table, err)
			}
			at, ok := account.Position(j.job.Name, key)
			end, known := ends.Find(kfs.PartitionID{Topic: source.ID, Partition: source.Partition})
			if !ok || !known || end.Ended || at >= end.Start {
				continue
			}
			r.Lost = append(r.Lost, lostRecords{Table: t.Table, Topic: source.Topic, ID: source.ID, Partition: source.Partition, From: at, Until: end.Start})
		}
	}
	return r, nil
}

// forgo moves the tables behind what is lost, one after the other. What has been moved already stays so.
func (j *jobTables) forgo(ctx context.Context, lost []lostRecords) error {
	tables := map[string]map[processor.Source]kfs.Span{}
	for i := range lost {
		l := &lost[i]
		if tables[l.Table] == nil {
			tables[l.Table] = map[processor.Source]kfs.Span{}
		}
		tables[l.Table][l.source()] = kfs.Span{Base: l.From, Next: l.Until}
	}
	for _, table := range slices.Sorted(maps.Keys(tables)) {
		sink, err := j.sink(ctx, table)
		if err != nil {
			return err
		}
		if err := errors.Join(sink.Forgo(ctx, tables[table]), sink.Close()); err != nil {
			return err
		}
	}
	return nil
}

func printLost(out io.Writer, r *lossResult) error {
	return printTable(out, "JOB\tTABLE\tTOPIC\tPARTITION\tFROM\tUNTIL\tOFFSETS", r.Lost, func(w io.Writer, l lostRecords) {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%d\t%d\t%d\n", r.Job, l.Table, l.Topic, l.Partition, l.From, l.Until, l.Until-l.From)
	})
}

func printLoss(out io.Writer, r *lossResult) error {
	switch {
	case len(r.Lost) == 0 && len(r.Halts) > 0:
		_, err := fmt.Fprintf(out, "job %s: the log was trimmed of nothing that its tables do not have, so there is nothing to accept. But when the job ran last it had halted:\n", r.Job)
		printHalts(out, r.Job, r.Halts)
		return err
	case len(r.Lost) == 0:
		_, err := fmt.Fprintf(out, "job %s: nothing is lost\n", r.Job)
		return err
	case r.Accepted:
		err := printLost(out, r)
		fmt.Fprintf(out, "job %s: its tables go on behind these offsets. Start the job again if it runs.\n", r.Job)
		return err
	}
	err := printLost(out, r)
	fmt.Fprintf(out, "job %s: nothing was written. The same command with --yes lets the tables go on behind these offsets.\n", r.Job)
	return err
}
