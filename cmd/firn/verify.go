package main

import (
	"cmp"
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
	"github.com/firn-io/firn/runtime/route"
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
snapshots have expired, are verified all the same; there counts take the place of receipts. So they do where the job's file, or one that the
job had before, leaves records out, as filters do: which ones, nothing tells.

Offsets that firn accept-loss has given up are listed and are no fault.

Where the job has halted, and the log has records that wait behind it, they are in no table: that is a fault, too.

Exits with 0 if everything is right, with 1 if something is wrong, and with 2 if that could not be found out: what was verified before
is printed all the same.`,
		Example: `  firn verify                                  # the tables of firn dev
  firn verify -f job.yaml --deep analytics.events
  firn verify -f job.yaml --json | jq '.[].findings'`,
		RunE: func(c *cobra.Command, args []string) error {
			reports := []*verify.Report{}
			var known, empty []string // tables; jobs without any
			err := flags.each(c.Context(), func(j *jobTables) error {
				known = append(known, j.named(nil)...)
				found, err := verifyJob(c.Context(), j, args, deep, strict, progressLine(c.ErrOrStderr(), "files"))
				reports = append(reports, found...)
				if len(found) == 0 && err == nil && len(args) == 0 {
					empty = append(empty, j.job.Name)
				}
				return err
			})
			for _, name := range args {
				if err == nil && !slices.ContainsFunc(reports, func(r *verify.Report) bool { return r.Table == name }) {
					err = unlooked(name, known)
				}
			}
			printErr := printReports(c.OutOrStdout(), reports, empty, flags.asJSON)
			findings := 0
			for _, r := range reports {
				findings += len(r.Findings)
			}
			if err != nil {
				err = fmt.Errorf("not everything was verified: %w", err)
			}
			switch {
			case findings > 0:
				return errors.Join(fmt.Errorf("%d findings", findings), err, printErr)
			case err != nil:
				return &exitError{exitUnverified, errors.Join(err, printErr)}
			}
			return printErr
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&deep, "deep", false, "read the offset of every row")
	c.Flags().BoolVar(&strict, "strict", false, "rows that others have removed are faults too")
	return c
}

// verifyJob verifies the job's tables and its dead letters, or those of them that are named. Beside an error it gives the reports of those that could
// be verified.
func verifyJob(ctx context.Context, j *jobTables, names []string, deep, strict bool, progress func(table string) func(done, total int)) ([]*verify.Report, error) {
	var reports []*verify.Report
	letters := j.job.DeadLetterTable()
	template, err := j.job.Template()
	if err != nil {
		return nil, err
	}
	whole, err := j.whole(ctx)
	if err != nil {
		return nil, err
	}
	var errs []error
	divisions, partly := map[string]*verify.Division{}, map[string]bool{}
	for _, t := range append(slices.Clone(j.tables), kfs.JobTable{Table: letters}) {
		if len(names) > 0 && !slices.Contains(names, t.Table) {
			continue
		}
		cfg := verify.Config{
			Catalog: j.catalog, Store: j.store, Table: t.Table, Job: j.job.Name, DeadLetters: letters, Whole: whole,
			Deep: deep, Strict: strict, Progress: progress(t.Table),
		}
		name := "" // of the division that it is one of
		switch {
		case t.Table == letters:
			cfg.DeadLetters, cfg.Whole, cfg.Letters = "", false, true
		case template.ByContent() && len(t.Sources) > 0:
			name = template.Of(t.Sources[0].Topic).Name()
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
			r = &verify.Report{Table: t.Table, Sources: []verify.Source{}, Findings: []verify.Finding{{Kind: verify.Missing, What: "the job has filled this table; it does not exist"}}}
		case err != nil:
			errs = append(errs, err)
			if name != "" {
				partly[name] = true
			}
			continue
		}
		reports = append(reports, r)
	}
	for _, name := range slices.Sorted(maps.Keys(divisions)) {
		if r := divisions[name].Report(name); r != nil && len(names) == 0 && !partly[name] { // a part of the tables tells nothing of all
			reports = append(reports, r)
		}
	}
	reports, err = withHalts(ctx, j, template, reports, func(h kfs.JobHalt) bool {
		return len(names) == 0 || h.Table == "" || slices.Contains(names, h.Table) || divisions[h.Table] != nil
	})
	return reports, errors.Join(append(errs, err)...)
}

// withHalts adds what has halted to the reports of the tables, or reports for it: what a table has may be right, but records that the log has behind
// a halt come into no table until a person has decided. A partition that has halted before its first row is in no table, and a table may not be there.
// A halt with nothing behind it, as of a process with a job file that is not the job's any more, is a note.
func withHalts(ctx context.Context, j *jobTables, template *route.Template, reports []*verify.Report, concerns func(kfs.JobHalt) bool) ([]*verify.Report, error) {
	halts := slices.DeleteFunc(slices.Clone(j.halts), func(h kfs.JobHalt) bool { return !concerns(h) })
	if len(halts) == 0 {
		return reports, nil
	}
	status, err := statusOf(ctx, j, time.Now())
	if err != nil {
		return reports, fmt.Errorf("what the log has behind halts: %w", err)
	}
	for _, h := range halts {
		i := slices.IndexFunc(reports, func(r *verify.Report) bool { return r.Table == h.Table })
		if i < 0 {
			i, reports = len(reports), append(reports, &verify.Report{Table: cmp.Or(h.Table, "all tables"), Sources: []verify.Source{}})
		}
		f := verify.Finding{Kind: verify.Halt, What: h.What}
		if h.Topic != "" {
			f.Source = fmt.Sprintf("%s/%d", h.Topic, h.Partition)
		}
		if status.nothingBehind(h, template) {
			reports[i].Notes = append(reports[i].Notes, f.String()+"; the log has no records that wait for it")
		} else {
			reports[i].Findings = append(reports[i].Findings, f)
		}
	}
	return reports, nil
}

// nothingBehind reports whether it is known that the log has no records that wait for what has halted.
func (s *jobStatus) nothingBehind(h kfs.JobHalt, template *route.Template) bool {
	if h.Table == "" && h.Topic == "" && s.homeless {
		return false // it may be why
	}
	known := false
	for _, t := range s.Tables {
		for _, at := range t.Sources {
			if h.Table != "" && h.Table != template.Of(at.Topic).Name() || h.Topic != "" && (h.Topic != at.Topic || h.Partition != at.Partition) {
				continue
			}
			if at.lag() > 0 {
				return false
			}
			known = known || at.End > 0
		}
	}
	return known
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

func printReports(out io.Writer, reports []*verify.Report, empty []string, asJSON bool) error {
	if asJSON {
		return printJSON(out, reports)
	}
	for _, r := range reports {
		printReport(out, r)
	}
	for _, job := range empty {
		fmt.Fprintf(out, "job %s has filled no table yet: there is nothing to verify\n", job)
	}
	return nil
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
		if len(s.Lost) > 0 {
			var lost []string
			for _, span := range s.Lost {
				lost = append(lost, span.String())
			}
			line += ", lost and given up: " + strings.Join(lost, " ")
		}
		if s.Found >= 0 {
			line += fmt.Sprintf(", %d read", s.Found)
		}
		fmt.Fprintln(out, line)
	}
	for _, s := range r.Removals {
		rows := "rows of some values"
		if s.Rows >= 0 {
			rows = fmt.Sprintf("%d rows", s.Rows)
		}
		fmt.Fprintf(out, "  removed by others: snapshot %d (%s), %s: %s\n", s.Snapshot, s.Operation, time.UnixMilli(s.Time).UTC().Format(time.RFC3339), rows)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(out, "  note: %s\n", printable(n))
	}
	for _, f := range r.Findings {
		fmt.Fprintf(out, "  WRONG: %s\n", printable(f.String()))
	}
}
