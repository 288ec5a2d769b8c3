package main

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
)

// retryLine is what became of the letters of one table.
type retryLine struct {
	Job string `json:"job"`
	deadletter.Retried
}

func dlqRetryCommand() *cobra.Command {
	var flags tableFlags
	var which letterFlags
	dry, resolved := false, false
	c := &cobra.Command{
		Use:   "retry -f JOB.yaml",
		Short: "Bring in dead letters that have become good",
		Long: `Bring in dead letters that have become good.

Takes dead letters through the decoding and the transforms that the job file has now, and commits the records that are rows by
them. Each comes once: a commit is made only on top of a table that was seen not to have the row. The job's position stays where it
is, the job may run, and a retry that was interrupted, or two at once, do no harm. Then the letters are marked as resolved.

  repaired    the record is a row now
  superseded  it was a row already: the letter is marked as resolved, nothing else
  left out    the job's filters leave it out now: likewise
  ahead       the job has not committed to the table as far as this record yet: try again later
  former      the record is of a topic that was deleted, and the table is filled from the one of that name that was created again
  dead        it still is no row; the reasons are listed

Run it with the same job file that the running job has: change the file, restart the job, then retry.
Exits with 0 if all was tried, whatever came of it, else with 1.`,
		Example: `  firn dlq retry -f job.yaml --dry-run             # what would become of them
  firn dlq retry -f job.yaml --class type_conflict --topic events
  firn dlq retry -f job.yaml --resolved            # rows of resolved letters that a rollback has taken away
  firn dlq retry -f job.yaml --json | jq '.[].dead'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			lines := []retryLine{}
			err := flags.each(c.Context(), func(j *jobTables) error {
				r, err := retryOf(j)
				if err != nil {
					return err
				}
				r.Select, r.Resolved, r.DryRun = which.selection(), resolved, dry
				progress := progressLine(c.ErrOrStderr(), "letters")
				r.Told = func(table string, done, total int) { progress(table)(done, total) }
				done, err := r.Run(c.Context())
				for _, d := range done {
					lines = append(lines, retryLine{j.job.Name, d})
				}
				return err
			})
			if err != nil && len(lines) == 0 {
				return err
			}
			if flags.asJSON {
				if printErr := printJSON(c.OutOrStdout(), lines); err == nil {
					err = printErr
				}
				return err
			}
			if printErr := printRetries(c.OutOrStdout(), lines, dry); err == nil {
				err = printErr
			}
			return err
		},
	}
	flags.add(c)
	which.add(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would become of the letters, and write nothing")
	c.Flags().BoolVar(&resolved, "resolved", false, "resolved letters too: bring their rows back where they are gone, also where somebody has deleted them")
	return c
}

// retryOf is a retry of the dead letters of a job.
func retryOf(j *jobTables) (*deadletter.Retry, error) {
	route, err := j.job.Route()
	if err != nil {
		return nil, err
	}
	decoding, err := j.job.Decoding()
	if err != nil {
		return nil, err
	}
	return &deadletter.Retry{
		Catalog: j.catalog, Store: j.store, Job: j.job.Name, Writer: writerName(), Letters: j.job.DeadLetterTable(),
		Table: func(topic string) processors.Table {
			return processors.Table{Name: route(topic), Partition: j.job.Table.Partition, Properties: j.job.Table.Properties}
		},
		Remake: func(table string) (*pipeline.Remake, error) {
			steps, err := j.job.Steps(plugin.Env{Job: j.job.Name, Table: table, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
			return &pipeline.Remake{Decode: decoding, Transforms: steps, Allocator: memory.DefaultAllocator}, err
		},
	}, nil
}

func printRetries(out io.Writer, lines []retryLine, dry bool) error {
	if len(lines) == 0 {
		_, err := fmt.Fprintln(out, "there are no dead letters to retry")
		return err
	}
	if dry {
		fmt.Fprintln(out, "a dry run: nothing was written")
	}
	err := printTable(out, "JOB\tTABLE\tLETTERS\tREPAIRED\tSUPERSEDED\tLEFT OUT\tAHEAD\tFORMER\tDEAD", lines, func(w io.Writer, l retryLine) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\n", l.Job, l.Table, l.Letters, l.Repaired, l.Superseded, l.LeftOut, l.Ahead, l.Former, l.Dead)
	})
	for _, l := range lines {
		for _, r := range l.Reasons {
			fmt.Fprintf(out, "still dead in %s: %d letters, %s; %s\n", l.Table, r.Letters, printable(r.Class), printable(r.Example))
		}
	}
	return err
}
