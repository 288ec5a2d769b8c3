package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/runtime/host"
)

// rebuildResult is what a rebuild has done.
type rebuildResult struct {
	Job     string          `json:"job"`
	Table   string          `json:"table"`
	DryRun  bool            `json:"dry_run,omitempty"`
	To      rebuild.Place   `json:"to,omitempty"`
	Name    string          `json:"name,omitempty"` // of the branch, or of the table, in which it is made
	Why     string          `json:"why,omitempty"`  // it is not made on a branch
	Sources []rebuildSource `json:"sources,omitempty"`
	Diff    *rebuild.Diff   `json:"diff,omitempty"`
	// Outcome is planned, built, swapped, finished (that an earlier run has swapped in), abandoned, kept (what was before) or dropped.
	Outcome  string        `json:"outcome"`
	Replaced string        `json:"replaced,omitempty"` // the tag, or the table, of what was before, once it is swapped in
	Old      []rebuild.Old `json:"old,omitempty"`      // what finished rebuilds have left
}

// rebuildSource is what a rebuild has to do of one source partition.
type rebuildSource struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`  // where the log begins
	Until     int64  `json:"until"` // where the table stands
	At        int64  `json:"at"`    // where the rebuild stands; -1 if it has nothing yet
	First     int64  `json:"first"` // where the table begins
}

// rebuildFlags are the command line of a rebuild.
type rebuildFlags struct {
	tableFlags
	table string
	to    string
	besideFlags
	yes     bool
	dry     bool
	abandon bool
	old     bool
	partial bool
}

func (p *program) rebuildCommand() *cobra.Command {
	var flags rebuildFlags
	c := &cobra.Command{
		Use:   "rebuild -f JOB.yaml [--table TABLE]",
		Short: "Make a table of a job anew from the log, with a changed job file, and swap it in",
		Long: `Make a table of a job anew from the log, with a changed job file, and swap it in.

After decoding or transforms have changed, old rows are as they were. A rebuild reads all that the log still has of the table's topic, makes
rows of it as the job file says now, beside the table, its readers and the job at work. When it stands where the table stands, or about,
it shows what differs: rows, dead letters, and values and nulls of each column. Then it asks, catches up with what the job has committed
meanwhile, and swaps. The job's position is that of the rebuild from then on: no record is lost and none comes twice.

A job that commits again before the rebuild has caught up is asked to wait: the table is paused, what is left is read, and the swap ends the
pause. A job that waits says so in its log, firn status says so too, and nothing that it has read is lost. No pause lasts longer than a
minute: if the rebuild is killed in it, the job goes on when it is over, or when --abandon ends it.

  1. change the job file
  2. firn rebuild -f job.yaml            the job may run, with the former file or with the new one
  3. start the job with the new file     with the former one it halts, for its rows would be as they were before

Where the new rows are made, --to:
  branch  of the table, firn_rebuild, if its columns and partitioning hold them: a table has one schema for all its branches. The swap is one
          commit, pinned to the head that the rebuild has caught up with; what was before stays under a tag, before_rebuild_TIME.
  table   of its own, TABLE__rebuild. The swap seals the old table, so that nobody commits to it any more, and renames both; for the moment
          between the two renames there is no table of the name. What was before stays as TABLE__before_rebuild_TIME. The job halts, and
          must be started again, also with the new file.
  auto    by a sample of the log (default)

Dead letters whose records are rows now, or are left out, are marked as resolved; records that are no rows any more become dead letters.
Until the swap nothing changes for readers. Killed at any point, it goes on where it was when it is started again. --abandon
takes away what there is of a rebuild that is not swapped in; a process that still reads for it ends with an error. Run one at a time: a second process
with the same file works on the same rebuild, which loses nothing and gains nothing, or, before the first commit of that, begins one in its place, and the
first one ends with an error. It says so when it begins, and names the other.

What was before stays, and the files with it, until --drop-old drops it: it lists what finished rebuilds of the table have left, asks, or is told
--yes, and drops the tags, whose files are for firn sweep then, and the tables. While a rebuild is not finished it drops nothing.

A rebuild is made of the log alone: rows that others have deleted from the table, or changed, are as the log has them, and rows that others have
added are not there. Before it asks it says whether others have done so, as far as snapshots are left to tell.

Where the log does not have the table's first records any more, their rows cannot be made anew: it refuses, unless --partial. Exits with 0 when
it has done what it was asked for, else with 1.`,
		Example: `  firn rebuild -f job.yaml --dry-run                  # what it would do
  firn rebuild -f job.yaml                            # build, compare, ask, swap
  firn rebuild -f job.yaml --yes --json | jq .diff
  firn rebuild -f job.yaml --table analytics.events   # of a job with several tables
  firn rebuild -f job.yaml --abandon
  firn rebuild -f job.yaml --drop-old --dry-run       # what rebuilds have left`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(flags.files) != 1 {
				return errors.New("a rebuild is of one job: use -f once")
			}
			memory, spill, err := flags.parse()
			if err != nil {
				return err
			}
			return flags.each(c.Context(), func(j *jobTables) error {
				b, err := p.newRebuilding(c.Context(), j, &flags, c.ErrOrStderr())
				if err != nil {
					return err
				}
				b.settings = host.Settings{Data: flags.data, Store: flags.store, MemoryBytes: memory}
				b.spill = spill
				result := &rebuildResult{Job: j.job.Name, Table: b.Table, DryRun: flags.dry}
				if err := b.run(c.Context(), &flags, result, func(show func(io.Writer) error, question string) (bool, error) {
					return confirm(c, flags.yes, show, question)
				}); err != nil {
					return fmt.Errorf("rebuild of table %s: %w", b.Table, err)
				}
				return printRebuild(c.OutOrStdout(), result, flags.asJSON)
			})
		},
	}
	flags.tableFlags.add(c)
	flags.besideFlags.add(c)
	c.Flags().StringVar(&flags.table, "table", "", "the `table`, namespace.table, if the job has several")
	c.Flags().StringVar(&flags.to, "to", "auto", "where the new rows are made: branch, table or auto")
	c.Flags().BoolVar(&flags.yes, "yes", false, "swap without asking")
	c.Flags().BoolVar(&flags.dry, "dry-run", false, "say what would be done, and write nothing")
	c.Flags().BoolVar(&flags.abandon, "abandon", false, "take away what there is of a rebuild that is not swapped in")
	c.Flags().BoolVar(&flags.old, "drop-old", false, "drop what finished rebuilds have left of the table as it was before")
	c.Flags().BoolVar(&flags.partial, "partial", false, "go without the rows that the log does not have any more")
	return c
}

// run brings a rebuild as far as the flags say.
func (b *rebuilding) run(ctx context.Context, flags *rebuildFlags, result *rebuildResult, confirm func(show func(io.Writer) error, question string) (bool, error)) error {
	switch {
	case flags.abandon && flags.old:
		return errors.New("--abandon and --drop-old: use one of them")
	case flags.old:
		return b.dropOld(ctx, flags, result, confirm)
	case flags.abandon:
		if result.Outcome = "abandoned"; flags.dry {
			return errors.New("--abandon and --dry-run: use one of them")
		}
		return b.abandon(ctx)
	}
	if err := b.place(ctx, flags); err != nil {
		return err
	}
	standing, err := b.Standing(ctx)
	switch {
	case errors.Is(err, rebuild.ErrSwapped) && flags.dry:
		return fmt.Errorf("%w: without --dry-run the command finishes it", err)
	case errors.Is(err, rebuild.ErrSwapped):
		result.Outcome = "finished"
		return b.finish(ctx)
	case errors.Is(err, rebuild.ErrOther):
		return fmt.Errorf("%w: finish it with that file, or take it away with --abandon", err)
	case err != nil:
		return err
	}
	if result.Sources, err = b.plan(ctx, standing, flags.partial); err != nil {
		return err
	}
	if err := b.tellOthers(ctx); err != nil {
		return err
	}
	result.To, result.Name, result.Why = b.To, b.name(), b.why
	if result.Outcome = "planned"; flags.dry {
		return nil
	}
	if !b.begun {
		// An object that an earlier rebuild has left would be taken for what this one has committed.
		if err := errors.Join(b.probe(ctx), b.tables.release(ctx, b.Name())); err != nil {
			return err
		}
	}
	standing, err = b.CatchUp(ctx)
	switch {
	case errors.Is(err, rebuild.ErrSwapped): // by another process, meanwhile
		result.Outcome = "finished"
		return b.finish(ctx)
	case err != nil:
		return b.explain(err)
	}
	if result.Diff, err = b.Diff(ctx, standing); err != nil {
		return err
	}
	result.Outcome = "built"
	if ok, err := confirm(func(out io.Writer) error { return printDiff(out, result.Diff) }, "put this in the place of "+b.Table); err != nil || !ok {
		return err
	}
	if err := b.swap(ctx, result); err != nil {
		return b.explain(err)
	}
	result.Outcome = "swapped"
	return nil
}

// explain says what to do about errors.
func (b *rebuilding) explain(err error) error {
	if errors.Is(err, rebuild.ErrBusy) {
		return fmt.Errorf("%w; the job goes on. Start the same command again, when there is less to do for both, or stop the job for that time", err)
	}
	if errors.Is(err, rebuild.ErrGone) {
		return err
	}
	return fmt.Errorf("%w; the same command goes on where it ended", err)
}

// confirm shows what it is about and asks. Where nobody can answer, the answer is no.
func confirm(c *cobra.Command, yes bool, show func(io.Writer) error, question string) (bool, error) {
	if yes {
		return true, nil
	}
	if !isTerminal(c.InOrStdin()) {
		return false, nil
	}
	if err := show(c.ErrOrStderr()); err != nil {
		return false, err
	}
	fmt.Fprintf(c.ErrOrStderr(), "%s? [y/N] ", question)
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

func printRebuild(out io.Writer, r *rebuildResult, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	if r.Outcome == "planned" {
		fmt.Fprintf(out, "a dry run: table %s of job %s would be made anew in %s %s\n", r.Table, r.Job, r.To, r.Name)
		if r.Why != "" {
			fmt.Fprintf(out, "not on a branch of it: %s\n", r.Why)
		}
		return printTable(out, "TOPIC\tPARTITION\tFROM\tUNTIL\tTABLE BEGINS\tREBUILD STANDS", r.Sources, func(w io.Writer, s rebuildSource) {
			at := "-"
			if s.At >= 0 {
				at = fmt.Sprint(s.At)
			}
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%s\n", s.Topic, s.Partition, s.From, s.Until, s.First, at)
		})
	}
	if r.Diff != nil {
		if err := printDiff(out, r.Diff); err != nil {
			return err
		}
	}
	switch r.Outcome {
	case "built":
		fmt.Fprintf(out, "table %s is as it was; the rebuild is in %s %s. The same command with --yes swaps it in, --abandon takes it away.\n", r.Table, r.To, r.Name)
	case "swapped":
		fmt.Fprintf(out, "table %s is the rebuilt one; what was before is %s %s. Start the job with this job file. --drop-old drops what was before.\n", r.Table, map[rebuild.Place]string{rebuild.OnBranch: "under its tag", rebuild.InTable: "table"}[r.To], r.Replaced)
	case "finished":
		fmt.Fprintf(out, "table %s had been rebuilt, and that is finished now. Start the job with the job file of the rebuild.\n", r.Table)
	case "kept", "dropped":
		if len(r.Old) == 0 {
			fmt.Fprintf(out, "no rebuild has left anything of table %s as it was before.\n", r.Table)
			return nil
		}
		if err := printOld(out, r.Old); err != nil {
			return err
		}
		fmt.Fprintln(out, map[string]string{"kept": "all of it is kept; --yes drops it.", "dropped": "all of it is dropped. Files that only a tag had are for firn sweep."}[r.Outcome])
	case "abandoned":
		fmt.Fprintf(out, "nothing is left of a rebuild of table %s that was not swapped in.\n", r.Table)
	}
	return nil
}

// dropOld drops what finished rebuilds have left.
func (b *rebuilding) dropOld(ctx context.Context, flags *rebuildFlags, result *rebuildResult, confirm func(show func(io.Writer) error, question string) (bool, error)) (err error) {
	result.Outcome = "kept"
	if result.Old, err = b.Old(ctx); err != nil || len(result.Old) == 0 || flags.dry {
		return err
	}
	if ok, err := confirm(func(out io.Writer) error { return printOld(out, result.Old) }, "drop this of "+b.Table); err != nil || !ok {
		return err
	}
	for _, old := range result.Old {
		if err := b.DropOld(ctx, old); err != nil {
			return err
		}
	}
	result.Outcome = "dropped"
	return nil
}

func printOld(out io.Writer, all []rebuild.Old) error {
	return printTable(out, "WHAT WAS BEFORE\tNAME", all, func(w io.Writer, o rebuild.Old) {
		fmt.Fprintf(w, "%s\t%s\n", map[rebuild.Place]string{rebuild.OnBranch: "tag", rebuild.InTable: "table"}[o.Place], o.Name)
	})
}

func printDiff(out io.Writer, d *rebuild.Diff) error {
	fmt.Fprintf(out, "rows %d → %d, dead letters %d → %d\n", d.Rows[0], d.Rows[1], d.Letters[0], d.Letters[1])
	err := printTable(out, "COLUMN\tTYPE\tVALUES\tNULLS\tREBUILT\tVALUES\tNULLS", d.Columns, func(w io.Writer, c rebuild.Column) {
		fmt.Fprintf(w, "%s\t%s\t%s\n", c.Name, countText(c.Old), countText(c.New))
	})
	for _, note := range d.Notes {
		fmt.Fprintln(out, "note:", note)
	}
	return err
}

func countText(c *rebuild.Count) string {
	switch {
	case c == nil:
		return "-\t-\t-"
	case c.Values < 0:
		return c.Type + "\t?\t?"
	}
	return fmt.Sprintf("%s\t%d\t%d", c.Type, c.Values, c.Nulls)
}

// swap puts the rebuild in the table's place.
func (b *rebuilding) swap(ctx context.Context, result *rebuildResult) error {
	if err := b.keep(ctx); err != nil {
		return err
	}
	if err := b.Swap(ctx); err != nil {
		return err
	}
	account, _, err := b.Catalog.Account(ctx, b.Table, b.Store)
	if err != nil {
		return err
	}
	if rebuilt := account.Rebuilt[b.Job]; rebuilt != nil {
		result.Replaced = rebuilt.Replaced
	}
	return b.tables.release(ctx, b.Name())
}

func (b *rebuilding) finish(ctx context.Context) error {
	if err := b.Finish(ctx); err != nil {
		return err
	}
	return b.tables.release(ctx, b.Name())
}

func (b *rebuilding) abandon(ctx context.Context) (err error) {
	if b.To, err = b.Begun(ctx); err != nil {
		return err
	}
	if err := b.Abandon(ctx); errors.Is(err, rebuild.ErrSwapped) {
		return fmt.Errorf("%w already: the same command without --abandon finishes it", err)
	} else if err != nil {
		return err
	}
	return b.tables.release(ctx, b.Name())
}
