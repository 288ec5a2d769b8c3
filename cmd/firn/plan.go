package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg/plan"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/plugin"
)

// jobPlan is what a job would make of a store.
type jobPlan struct {
	Job     string         `json:"job"`
	Read    int64          `json:"sampled_bytes"`
	Tables  []*plan.Report `json:"tables"`
	Month   planBill       `json:"month"`
	journal int
}

// planBill is what a month of the job costs, about: requests and what its files take after it.
type planBill struct {
	Prices   prices  `json:"prices"`
	Puts     int64   `json:"puts"`
	Gets     int64   `json:"gets"` // at most: idle journals are asked once a second
	Bytes    int64   `json:"bytes"`
	Requests float64 `json:"requests_dollars"`
	Storage  float64 `json:"storage_dollars"` // for a month's files, a month
}

// commitPuts are the objects that a commit writes beside its data files: manifest, manifest list, and the table's metadata, which some
// catalogs write themselves.
const commitPuts = 3

// mostSampled is how much of the log a plan reads at most.
const mostSampled = 256 << 20

func planCommand() *cobra.Command {
	var files []string
	var store, data, size string
	var asJSON bool
	var price prices
	c := &cobra.Command{
		Use:   "plan -f JOB.yaml",
		Short: "What a job would make of the log: tables, rejects, files, and what a month costs",
		Long: `What a job would make of the log, before it makes anything: tables, rejects, files, and what a month costs.

A sample of the log, some segments of each partition spread over time, goes through the job's own decoding, transforms and sink, into
tables in memory. Nothing is written and no catalog is asked. It prints the table as Spark would make it; what the fields of the
records hold, and which values become something else in their column; which records would be dead letters, and why; and what a day
would bring at the pace of the last one. A log of less than an hour is taken for an hour's, and it says so. It takes seconds, whatever the
size of the store.

A sample does not show what is rare. File sizes are those of a sample, and larger files compress better.`,
		Example: `  firn plan -f job.yaml
  firn plan -f job.yaml --sample 256MiB
  firn plan -f job.yaml --json | jq -r '.[].tables[].ddl'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			bytes, err := job.ParseSize(size)
			if err != nil {
				return fmt.Errorf("--sample: %w", err)
			}
			if bytes > mostSampled {
				return fmt.Errorf("--sample: %s is more than %s: a sample is held in memory, and a larger one of the same log says little more", size, byteSize(mostSampled))
			}
			jobs, err := readJobs(files)
			if err != nil {
				return err
			}
			plans := []*jobPlan{}
			for _, j := range jobs {
				p, err := planOf(c.Context(), j, cmp.Or(store, j.Source.Store, filepath.Join(data, "store")), bytes, price)
				if err != nil {
					return fmt.Errorf("job %s: %w", j.Name, err)
				}
				plans = append(plans, p)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), plans)
			}
			for _, p := range plans {
				printPlan(c.OutOrStdout(), p)
			}
			return nil
		},
	}
	c.Flags().StringArrayVarP(&files, "file", "f", nil, "job `file`; repeatable; without one the job of firn dev")
	c.Flags().StringVar(&data, "data", defaultData, "`folder` of the store where a job file names none")
	c.Flags().StringVar(&store, "store", "", storeHelp+"; overrides source.store of the job files")
	c.Flags().StringVar(&size, "sample", "32MiB", "how much of the log is read, about; at most 256MiB")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	price.register(c)
	return c
}

func planOf(ctx context.Context, j *job.Job, url string, bytes int64, price prices) (p *jobPlan, err error) {
	match, err := kfs.MatchTopics(j.Source.Topics, j.Source.Pattern)
	if err != nil {
		return nil, err
	}
	space, err := openStore(ctx, url)
	if err != nil {
		return nil, err
	}
	if closer, ok := space.(io.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	sample, err := inspect.TakeSample(ctx, space, match, bytes)
	if err != nil {
		return nil, err
	}
	p = &jobPlan{Job: j.Name, Read: sample.Read, journal: sample.Journals}
	p.Tables, err = planTables(ctx, j, sample)
	if err != nil {
		return nil, err
	}
	p.Month = monthOf(p, price)
	return p, nil
}

// planTables makes the tables of a job from a sample.
func planTables(ctx context.Context, j *job.Job, sample *inspect.Sample) ([]*plan.Report, error) {
	route, err := j.Route()
	if err != nil {
		return nil, err
	}
	decoding, err := j.Decoding()
	if err != nil {
		return nil, err
	}
	return plan.Tables(ctx, plan.Config{
		Job: j.Name, Freshness: time.Duration(j.Commit.Freshness),
		Table: func(topic string) processors.Table {
			return processors.Table{Name: route(topic), Partition: j.Table.Partition, Properties: j.Table.Properties}
		},
		Remake: func(table string) (*pipeline.Remake, error) {
			steps, err := j.Steps(plugin.Env{Job: j.Name, Table: table, Logger: slog.New(slog.DiscardHandler), Allocator: memory.DefaultAllocator})
			return &pipeline.Remake{Decode: decoding, Transforms: steps, Allocator: memory.DefaultAllocator}, err
		},
	}, sample)
}

// monthOf reckons what a month costs at the pace of a day.
func monthOf(p *jobPlan, price prices) planBill {
	b := planBill{Prices: price, Gets: int64(p.journal) * 24 * 3600 * daysPerMonth}
	for _, t := range p.Tables {
		b.Puts += int64((t.Day.Files + commitPuts*t.Day.Commits) * daysPerMonth)
		b.Bytes += int64(t.Day.Bytes * daysPerMonth)
	}
	b.Requests = float64(b.Puts)/1000*price.Puts + float64(b.Gets)/1000*price.Gets
	b.Storage = float64(b.Bytes) / (1 << 30) * price.Storage
	return b
}

func printPlan(out io.Writer, p *jobPlan) {
	fmt.Fprintf(out, "job %s: a sample of %s\n", p.Job, byteSize(p.Read))
	if len(p.Tables) == 0 {
		fmt.Fprintln(out, "  there are no records of its topics")
	}
	for _, t := range p.Tables {
		fmt.Fprintf(out, "\n%s, from %s: %d of %d sampled records are rows, %d are left out\n", t.Table, strings.Join(t.Topics, ", "), t.Rows, t.Sampled, t.LeftOut)
		if len(t.Topics) > 1 {
			fmt.Fprintln(out, "  the job takes one of these topics and halts the others: give them jobs of their own, with different tables")
		}
		if t.Refused != "" {
			fmt.Fprintf(out, "  no table can be made: %s\n", t.Refused)
		} else {
			fmt.Fprintln(out)
			for line := range strings.SplitSeq(t.DDL, "\n") {
				fmt.Fprintln(out, printable(line))
			}
		}
		for i, r := range t.Rejects {
			if i == 0 {
				fmt.Fprintln(out, "\nno rows:")
			}
			fmt.Fprintf(out, "  %s: %d records, %.2g %%\n", printable(r.Class), r.Records, 100*float64(r.Records)/float64(t.Sampled))
			for _, example := range r.Examples {
				fmt.Fprintf(out, "    %s\n", printable(example))
			}
		}
		printFields(out, t.Fields)
		fmt.Fprintf(out, "\nthe log has %d records now; the sample's rows lie in %d partitions, %s bytes each\n", t.Records, t.Partitions, about(t.RowBytes))
		fmt.Fprintf(out, "a day, about: %s rows, %s, in %s commits and %s files of %s\n", about(t.Day.Rows), byteSize(int64(t.Day.Bytes)), about(t.Day.Commits), about(t.Day.Files), byteSize(int64(t.Day.FileBytes)))
		if over := time.Duration(t.Day.Over * float64(time.Second)); over < inspect.PaceLeast {
			fmt.Fprintf(out, "  the log has no more than %s of its records, which were taken for an hour's: in truth it may be up to %s times as much\n",
				max(over, time.Second).Round(time.Second), about(inspect.PaceLeast.Seconds()/max(over, time.Second).Seconds()))
		}
	}
	m := p.Month
	fmt.Fprintf(out, "\na month, at list prices: %d PUT and at most %d GET requests, $%.2f; its files take %s, $%.2f a month\n", m.Puts, m.Gets, m.Requests, byteSize(m.Bytes), m.Storage)
}

// about is an estimate for people: three digits, and zeros where more would say too much.
func about(x float64) string {
	if x < 100 {
		return strconv.FormatFloat(x, 'g', 3, 64)
	}
	scale := math.Pow(10, math.Floor(math.Log10(x))-2)
	return strconv.FormatFloat(math.Round(x/scale)*scale, 'f', 0, 64)
}

// printFields tells of the fields whose values do not all have their column's own kind.
func printFields(out io.Writer, fields []plan.Field) {
	first := true
	for _, f := range fields {
		if f.Type != "" && len(f.Coerced) == 0 {
			continue
		}
		if first {
			fmt.Fprintln(out, "\nfields that become something else:")
			first = false
		}
		if f.Type == "" {
			fmt.Fprintf(out, "  %s: no column\n", printable(f.Field))
			continue
		}
		for _, kind := range f.Coerced {
			fmt.Fprintf(out, "  %s: %s in a column of %s, %d records, such as %s\n", printable(f.Field), kind, f.Type, f.Seen[kind].Records, printable(f.Seen[kind].Example))
		}
	}
}
