package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors/iceberg/sweep"
	"github.com/firn-io/firn/runtime/work"
)

func sweepCommand() *cobra.Command {
	var flags tableFlags
	older, young, dry := time.Duration(0), false, false
	c := &cobra.Command{
		Use:   "sweep -f JOB.yaml [TABLE...]",
		Short: "Delete files of a job's tables that nothing refers to",
		Long: `Delete files of a job's tables that nothing refers to.

A process that was killed leaves data files that no commit has named, a commit that lost to another leaves manifests, and expiry
forgets metadata. Nothing else deletes them. A file goes only if it lies below the table's location and in no other table's folder, is
Parquet, Avro or table metadata, is older than --older by the store's clock, and no snapshot that the table retains, on any branch or
tag, refers to it. The job may run, and so may other engines: they must only not hold files back for days before they commit them.

Tables of other catalogs in the same place are not known: keep one location to one catalog. Nor is it known of a table elsewhere that it
was made of this one's files, as Spark's snapshot procedure makes it; nor what a catalog with branches and a history of its own, as Nessie is,
has beside the branch that the job commits to: do not sweep there. Start with --dry-run.
Exits with 0 if everything was looked at and what was to go is gone, else with 1.`,
		Example: `  firn sweep -f job.yaml --dry-run
  firn sweep -f job.yaml
  firn sweep -f job.yaml --older 240h analytics.events
  firn sweep -f job.yaml --json | jq '.[].swept'`,
		RunE: func(c *cobra.Command, args []string) error {
			reports := []*sweep.Report{}
			var known []string
			err := flags.each(c.Context(), func(j *jobTables) error {
				known = append(known, j.named(nil)...)
				waiting, err := j.waiting(c.Context())
				if err != nil {
					return err
				}
				for _, name := range j.named(args) {
					r, err := sweep.Table(c.Context(), sweep.Config{Catalog: j.catalog, Table: name, Older: older, Young: young, Waiting: waiting, DryRun: dry})
					if errors.Is(err, catalog.ErrNoTable) {
						continue
					}
					if r != nil {
						reports = append(reports, r)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			for _, name := range args {
				if err == nil && !slices.ContainsFunc(reports, func(r *sweep.Report) bool { return r.Table == name }) {
					err = unlooked(name, known)
				}
			}
			if err != nil && len(reports) == 0 {
				return err
			}
			var printErr error
			if flags.asJSON {
				printErr = printJSON(c.OutOrStdout(), reports)
			} else {
				printErr = printSweeps(c.OutOrStdout(), reports, dry)
			}
			return errors.Join(err, printErr)
		},
	}
	flags.add(c)
	c.Flags().DurationVar(&older, "older", sweep.Least, "how `long` ago a file must have been written")
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would go, and delete nothing")
	c.Flags().BoolVar(&young, "risk-running-writes", false, "allow less than 72h: deletes files that an engine is about to commit, which then has rows that nobody can read; for tests of your own")
	return c
}

// waiting reports whether workers have handed over groups of files that wait for a commit.
func (j *jobTables) waiting(ctx context.Context) (bool, error) {
	for page, err := range j.store.List(ctx, work.GroupsPrefix(j.job.Name), "") {
		if err != nil {
			return false, fmt.Errorf("groups that wait for a commit: %w", err)
		}
		if len(page.Objects) > 0 {
			return true, nil
		}
	}
	return false, nil
}

func printSweeps(out io.Writer, reports []*sweep.Report, dry bool) error {
	var swept, bytes, failed int64
	err := printTable(out, "TABLE\tLISTED\t\tREFERRED TO\tYOUNG\tORPHANS\t\tOF THEM DATA\tFOLDERS OF OTHERS", reports, func(w io.Writer, r *sweep.Report) {
		var sum sweep.Sum
		for _, s := range r.Swept {
			sum.Files, sum.Bytes = sum.Files+s.Files, sum.Bytes+s.Bytes
		}
		swept, bytes, failed = swept+sum.Files, bytes+sum.Bytes, failed+r.Failed
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%s\t%d\t%s\n", r.Table, r.Listed.Files, byteSize(r.Listed.Bytes), r.Kept.Files, r.Young.Files,
			sum.Files, byteSize(sum.Bytes), r.Swept[sweep.Data].Files, orDash(strings.Join(r.Skipped, " ")))
	})
	verb := "deleted"
	if dry {
		verb = "would be deleted"
	}
	fmt.Fprintf(out, "%d files, %s, %s", swept, byteSize(bytes), verb)
	if failed > 0 {
		fmt.Fprintf(out, "; %d could not be", failed)
	}
	fmt.Fprintln(out)
	return err
}
