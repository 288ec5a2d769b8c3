package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/plugin"
)

// backfillResult is what a backfill has done.
type backfillResult struct {
	Job     string          `json:"job"`
	ID      string          `json:"id"`
	DryRun  bool            `json:"dry_run,omitempty"`
	Spans   []backfillSpan  `json:"spans"`
	Offsets int64           `json:"offsets"` // that were left to do when it began
	Tables  []backfillTable `json:"tables,omitempty"`
}

type backfillTable struct {
	Table   string `json:"table"`
	Records int64  `json:"records"` // rows and dead letters that this run has committed
}

var backfillID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func (p *program) backfillCommand() *cobra.Command {
	var flags tableFlags
	var resources besideFlags
	var from, until, id string
	dry, abandon := false, false
	c := &cobra.Command{
		Use:   "backfill -f JOB.yaml [--from WHERE] [--until WHERE]",
		Short: "Bring in records from before a job began, into its live tables",
		Long: `Bring in records from before a job began, into its live tables, beside the job at work and without duplicates.

A job that began at latest, or at a time, has left older records out. A backfill reads them from the log, decodes and transforms them as
the job file says now, and commits them under a name of its own, {job}/backfill/{id}, with ranges of its own. Offsets that the job,
or another backfill of it, has accounted for are refused, before anything is read and again with every commit. So is what another backfill
is about to bring in that has begun and not ended, at work or killed, before anything is read.

  --from   earliest (default), a time, or offsets like events:0=1200,events:1=900 or @offsets.json
  --until  where the job began, in each partition (default), or a time or offsets before that

Killed, it goes on where it was when it is started again with the same --id; without --id, that is the same --from and --until. It holds
the records that it needs against retention, and its offsets against other backfills, until it is done; or until it is given up, with
--id and --abandon: what it has brought in stays, and others may bring in the rest.

Rows of a table with partitions are sorted on the local disk first, so that each partition gets few and large files however the records lie
in the log. A commit holds what --spill-size of records become, or ten minutes; a run that ends before its commit does that again. Rows
on disk take more room than records that are compressed: where --spill-size is not enough for a commit, it has more files.
Exits with 0 when all is committed, else with 1.`,
		Example: `  firn backfill -f job.yaml                                    # all that there is from before the job began
  firn backfill -f job.yaml --from 2026-01-01T00:00:00Z --until 2026-02-01T00:00:00Z --id january
  firn backfill -f job.yaml --from events:0=1200 --until events:0=90000 --dry-run
  firn backfill -f job.yaml --id january --abandon             # it was killed, and others are to bring in what it has not`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if len(flags.files) != 1 {
				return errors.New("a backfill is of one job: use -f once")
			}
			if id == "" {
				sum := sha256.Sum256([]byte(from + " " + until))
				id = hex.EncodeToString(sum[:4])
			}
			if !backfillID.MatchString(id) {
				return fmt.Errorf("--id %q: use letters, digits, _ and -, at most 64", id)
			}
			bounds, err := parseBackfill(from, until)
			if err != nil {
				return err
			}
			memory, spill, err := resources.parse()
			if err != nil {
				return err
			}
			return flags.each(c.Context(), func(j *jobTables) error {
				b := &backfill{tables: j, id: id, bounds: bounds}
				if abandon {
					return b.giveUp(c.Context(), c.ErrOrStderr())
				}
				if err := b.plan(c.Context()); err != nil {
					return err
				}
				result := b.result()
				if result.DryRun = dry; dry {
					return printBackfill(c.OutOrStdout(), result, flags.asJSON)
				}
				settings := host.Settings{Data: flags.data, Store: flags.store, MemoryBytes: memory}
				if err := p.runBackfill(c.Context(), b, settings, spill, c.ErrOrStderr(), result); err != nil {
					return fmt.Errorf("%w; the same command goes on where it ended", err)
				}
				return printBackfill(c.OutOrStdout(), result, flags.asJSON)
			})
		},
	}
	flags.add(c)
	c.Flags().StringVar(&from, "from", "earliest", "where to begin: earliest, a time, offsets like events:0=1200 or @offsets.json")
	c.Flags().StringVar(&until, "until", "", "where to end: a time or offsets; without it where the job began")
	c.Flags().StringVar(&id, "id", "", "name of the backfill, to go on with it; without it the same --from and --until are the same backfill")
	resources.add(c)
	c.Flags().BoolVar(&dry, "dry-run", false, "say what would be brought in, and write nothing")
	c.Flags().BoolVar(&abandon, "abandon", false, "give up a backfill that was killed; what it has brought in stays")
	c.MarkFlagsMutuallyExclusive("dry-run", "abandon")
	return c
}

// besideFlags are what commands may use that bring in records beside a job.
type besideFlags struct{ memory, spill, spillSize string }

func (f *besideFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.memory, "memory", "512MiB", "bound of all buffers")
	c.Flags().StringVar(&f.spill, "spill", "", "`folder` on a local disk where rows are sorted by partition; without it that of temporary files")
	c.Flags().StringVar(&f.spillSize, "spill-size", "8GiB", "how much is put there at most, of each table")
}

func (f *besideFlags) parse() (memory int64, spill plugin.Spill, err error) {
	if memory, err = job.ParseSize(f.memory); err != nil {
		return 0, spill, fmt.Errorf("--memory: %w", err)
	}
	if spill.Bytes, err = job.ParseSize(f.spillSize); err != nil {
		return 0, spill, fmt.Errorf("--spill-size: %w", err)
	}
	spill.Folder = cmp.Or(f.spill, os.TempDir())
	if info, err := os.Stat(spill.Folder); err != nil || !info.IsDir() {
		return 0, spill, fmt.Errorf("--spill: there is no folder %s", spill.Folder)
	}
	return memory, spill, nil
}

// runBackfill brings in what is left.
func (p *program) runBackfill(ctx context.Context, b *backfill, settings host.Settings, spill plugin.Spill, progress io.Writer, result *backfillResult) (err error) {
	j := b.tables.job
	what := &host.Beside{Name: b.name(), Receipts: catalog.Backfill(j.Name, b.id), Spill: spill}
	if what.From, what.To = b.offsets(); len(what.To) > 0 {
		if err := b.claim(ctx); err != nil {
			return err
		}
		settings.Beside = what
		if result.Tables, err = p.runBeside(ctx, j, settings, b.spans, progress); err != nil {
			return fmt.Errorf("backfill %s of job %s: %w", b.id, j.Name, err)
		}
	}
	if err := b.release(ctx); err != nil {
		return fmt.Errorf("all is committed, but retention and other backfills still wait for this one: %w", err)
	}
	return nil
}

// name is where the store knows the backfill.
func (b *backfill) name() string { return backfillsName(b.tables.job.Name) + b.id }

// backfillsName is what the names that backfills of a job have in the store begin with.
func backfillsName(job string) string { return job + ".backfill." }

// release takes away what holds records of the log against retention, under a name beside the job.
func (j *jobTables) release(ctx context.Context, name string) error {
	return j.remove(ctx, kfs.JobKey(name))
}

// remove deletes an object of the source's store, if it is there.
func (j *jobTables) remove(ctx context.Context, key string) error {
	if err := j.store.Delete(ctx, key); err != nil && !errors.Is(err, blob.ErrNotFound) {
		return err
	}
	return nil
}

// runBeside brings in spans beside a job, and tells how far it is.
func (p *program) runBeside(ctx context.Context, j *job.Job, settings host.Settings, spans []backfillSpan, progress io.Writer) (tables []backfillTable, err error) {
	runner := p.runner()
	runner.Logger = p.logger
	opened, err := runner.Open(ctx, j, settings)
	if err != nil {
		return nil, err
	}
	finished, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		reportSpans(settings.Beside.Name, spans, opened, progress, isTerminal(progress), p.logger, finished)
	}()
	err = opened.Run(ctx)
	close(finished)
	<-told
	for _, t := range opened.Pipeline.Status().Tables {
		tables = append(tables, backfillTable{Table: t.Table, Records: t.Records})
	}
	return tables, errors.Join(err, opened.Close())
}

func printBackfill(out io.Writer, r *backfillResult, asJSON bool) error {
	if asJSON {
		return printJSON(out, r)
	}
	verb := "were"
	if r.DryRun {
		verb = "are"
	}
	fmt.Fprintf(out, "backfill %s of job %s: %d offsets %s left to bring in\n", r.ID, r.Job, r.Offsets, verb)
	err := printTable(out, "TABLE\tTOPIC\tPARTITION\tFROM\tUNTIL\tBEGAN WITH", r.Spans, func(w io.Writer, s backfillSpan) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\n", s.Table, s.Topic, s.Partition, s.From, s.Until, s.At)
	})
	for _, t := range r.Tables {
		fmt.Fprintf(out, "%d records committed to %s\n", t.Records, t.Table)
	}
	return err
}

// parseBackfill reads --from and --until.
func parseBackfill(from, until string) (b backfillBounds, err error) {
	read := func(flag, text string) (backfillBound, error) {
		end, err := job.ParseUntil(text, os.ReadFile)
		if err == nil && end.Latest {
			err = errors.New("a backfill lies before where the job began: write a time or offsets")
		}
		if err == nil && end.At.After(time.Now()) {
			err = errors.New("that time lies in the future")
		}
		if err != nil {
			return backfillBound{}, fmt.Errorf("%s: %w", flag, err)
		}
		return backfillBound{at: end.At, offsets: end.Offsets}, nil
	}
	if from != "earliest" {
		if b.from, err = read("--from", from); err != nil {
			return b, err
		}
	}
	if until != "" {
		if b.until, err = read("--until", until); err != nil {
			return b, err
		}
	}
	return b, b.ordered()
}

// ordered refuses an end before its beginning.
func (b *backfillBounds) ordered() error {
	if !b.until.at.IsZero() && b.from.at.After(b.until.at) {
		return fmt.Errorf("--until %s lies before --from %s", b.until.at.Format(time.RFC3339), b.from.at.Format(time.RFC3339))
	}
	var errs []error
	for topic, partitions := range b.from.offsets {
		for partition, from := range partitions {
			if until, ok := b.until.offsets[topic][partition]; ok && until < from {
				errs = append(errs, fmt.Errorf("%s/%d: --until %d lies before --from %d", topic, partition, until, from))
			}
		}
	}
	return errors.Join(errs...)
}
