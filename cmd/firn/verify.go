package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors/iceberg/verify"
)

// exitUnverified is the exit code where it is not known whether anything is wrong.
const exitUnverified = 2

func verifyCommand() *cobra.Command {
	var flags tableFlags
	deep, strict := false, false
	c := &cobra.Command{
		Use:   "verify [-f JOB.yaml] [TABLE...]",
		Short: "Prove that every offset is in the tables of a job once",
		Long: `Prove that every offset is in the tables of a job once.

Compares what the receipts of the job's commits account for with what each snapshot did and with the files that are there: holes,
overlaps, missing and foreign rows, duplicated files, a branch that was rolled back. It reads the catalog, metadata and
manifests only, asks no broker, and may run beside the job. --deep reads the offset of every row and names each one that is missing
or there twice.

Rows that others have deleted are listed by snapshot and are no fault, unless --strict. Tables that were compacted, or whose
snapshots have expired, are verified all the same; there counts take the place of receipts.

Exits with 0 if everything is right, with 1 if something is wrong, and with 2 if that could not be found out.`,
		Example: `  firn verify                                  # the tables of firn dev
  firn verify -f job.yaml --deep analytics.events
  firn verify -f job.yaml --json | jq '.[].findings'`,
		RunE: func(c *cobra.Command, args []string) error {
			var reports []*verify.Report
			err := flags.each(c.Context(), func(j *jobTables) error {
				return verifyJob(c.Context(), j, args, deep, strict, progressLine(c.ErrOrStderr(), "files"), func(r *verify.Report) { reports = append(reports, r) })
			})
			if err != nil {
				return &exitError{exitUnverified, fmt.Errorf("not everything was verified: %w", err)}
			}
			for _, name := range args {
				if !slices.ContainsFunc(reports, func(r *verify.Report) bool { return r.Table == name }) {
					return &exitError{exitUnverified, fmt.Errorf("%s is none of the job's tables; without arguments all of them are verified", name)}
				}
			}
			findings := 0
			for _, r := range reports {
				findings += len(r.Findings)
			}
			if flags.asJSON {
				err = printJSON(c.OutOrStdout(), reports)
			} else {
				for _, r := range reports {
					printReport(c.OutOrStdout(), r)
				}
				if len(reports) == 0 {
					fmt.Fprintln(c.OutOrStdout(), "no table has been filled yet: there is nothing to verify")
				}
			}
			if err == nil && findings > 0 {
				err = fmt.Errorf("%d findings", findings)
			}
			return err
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&deep, "deep", false, "read the offset of every row")
	c.Flags().BoolVar(&strict, "strict", false, "rows that others have removed are faults too")
	return c
}

// verifyJob verifies the job's tables and its dead letters, or those of them that are named.
func verifyJob(ctx context.Context, j *jobTables, names []string, deep, strict bool, progress func(table string) func(done, total int), report func(*verify.Report)) error {
	letters := j.job.DeadLetterTable()
	template, err := j.job.Template()
	if err != nil {
		return err
	}
	divisions := map[string]*verify.Division{}
	for _, t := range append(slices.Clone(j.tables), kfs.JobTable{Table: letters}) {
		if len(names) > 0 && !slices.Contains(names, t.Table) {
			continue
		}
		cfg := verify.Config{
			Catalog: j.catalog, Store: j.store, Table: t.Table, Job: j.job.Name, DeadLetters: letters, Whole: j.job.Whole(),
			Deep: deep, Strict: strict, Progress: progress(t.Table),
		}
		switch {
		case t.Table == letters:
			cfg.DeadLetters, cfg.Whole, cfg.Letters = "", false, true
		case template.ByContent() && len(t.Sources) > 0:
			name := template.Of(t.Sources[0].Topic).Name()
			if divisions[name] == nil {
				divisions[name] = &verify.Division{}
			}
			cfg.Whole, cfg.WholeTogether, cfg.Division = false, cfg.Whole, divisions[name]
		}
		r, err := verify.Table(ctx, cfg)
		switch {
		case errors.Is(err, catalog.ErrNoTable) && !filled(&t):
			continue // nothing has come for it yet
		case errors.Is(err, catalog.ErrNoTable):
			r = &verify.Report{Table: t.Table, Findings: []verify.Finding{{Kind: verify.Missing, What: "the job has filled this table; it does not exist"}}}
		case err != nil:
			return err
		}
		report(r)
	}
	if len(names) > 0 {
		return nil // a part of the tables tells nothing of all
	}
	for _, name := range slices.Sorted(maps.Keys(divisions)) {
		if r := divisions[name].Report(name); r != nil {
			report(r)
		}
	}
	return nil
}

// filled reports whether the job's object says that something was committed to a table.
func filled(t *kfs.JobTable) bool {
	return t.UUID != "" || slices.ContainsFunc(t.Sources, func(s kfs.JobSource) bool { return s.Committed > 0 })
}

// progressLine tells now and then how many of the files of a table, or what else they are, have been read.
func progressLine(out io.Writer, what string) func(table string) func(done, total int) {
	last := time.Now()
	return func(table string) func(done, total int) {
		return func(done, total int) {
			if now := time.Now(); now.Sub(last) >= progressInterval {
				last = now
				fmt.Fprintf(out, "… %s: %d of %d %s\n", table, done, total, what)
			}
		}
	}
}

func printReport(out io.Writer, r *verify.Report) {
	verdict := "ok"
	if len(r.Findings) > 0 {
		verdict = fmt.Sprintf("%d findings", len(r.Findings))
	}
	how := "by metadata"
	if r.Deep {
		how = "every row read"
	}
	fmt.Fprintf(out, "%s: %s (%s: %d rows in %d files, %d snapshots)\n", r.Table, verdict, how, r.Rows, r.Files, r.Snapshots)
	for _, s := range r.Sources {
		var spans []string
		for _, span := range s.Spans {
			spans = append(spans, span.String())
		}
		line := fmt.Sprintf("  %s  %s", s.Source, strings.Join(spans, " "))
		if s.Rows != catalog.UnknownRows {
			line += fmt.Sprintf("  %d rows", s.Rows)
		}
		if s.Letters > 0 {
			line += fmt.Sprintf(", %d dead letters", s.Letters)
		}
		if s.Found >= 0 {
			line += fmt.Sprintf(", %d read", s.Found)
		}
		fmt.Fprintln(out, line)
	}
	for _, s := range r.Removals {
		fmt.Fprintf(out, "  removed by others: snapshot %d (%s), %s: %d rows\n", s.Snapshot, s.Operation, time.UnixMilli(s.Time).UTC().Format(time.RFC3339), s.Rows)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "  note: %s\n", n)
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "  WRONG: %s\n", f)
	}
}
