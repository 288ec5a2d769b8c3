package main

import (
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs/inspect"
)

// prices are list prices in US dollars. The defaults are those that AWS has published for S3 Standard in us-east-1, first 50 TB: something to
// begin with and to change, not a quotation.
type prices struct {
	Storage float64 `json:"storage_gb_month"` // of 2^30 bytes for a month
	Puts    float64 `json:"puts_1000"`        // PUT and LIST
	Gets    float64 `json:"gets_1000"`        // GET; DELETE costs nothing
}

func (p *prices) register(c *cobra.Command) {
	c.Flags().Float64Var(&p.Storage, "price-storage", 0.023, "`dollars` for a GiB and month")
	c.Flags().Float64Var(&p.Puts, "price-puts", 0.005, "`dollars` for 1000 PUT or LIST requests")
	c.Flags().Float64Var(&p.Gets, "price-gets", 0.0004, "`dollars` for 1000 GET requests")
}

// bill is what a month costs at the pace of the last day.
type bill struct {
	Prices  prices  `json:"prices"`
	Storage float64 `json:"storage"` // dollars, for what is there now
	Puts    int64   `json:"puts"`    // requests a month, of brokers
	Lists   int64   `json:"lists"`
	Gets    int64   `json:"gets"`
	Broker  float64 `json:"brokers"`  // dollars, for these requests
	Follow  int64   `json:"job_gets"` // requests a month of one job that follows every journal
	Job     float64 `json:"job"`      // dollars for these, at most: idle journals are asked once a second
}

const daysPerMonth = 30

// billOf reckons what a month costs. Brokers put an object for each flush, two for each segment, and a checkpoint with an index page for
// every 300 objects, which they read back; a segment is read back when it is made and again before what it was made of goes, and an object
// once before it goes. They list checkpoints four times an hour and journal while something waits to be deleted; that is counted for all hours.
func billOf(u *inspect.Usage, p prices) bill {
	b := bill{Prices: p, Storage: float64(u.Bytes) / (1 << 30) * p.Storage}
	for _, j := range u.Journals {
		objects := j.Day.Objects * daysPerMonth
		meta := 2 * objects / 300
		b.Puts += objects + meta
		b.Gets += objects + meta
		b.Lists += objects/300 + 24*daysPerMonth*4
		b.Follow += max(objects, 24*3600*daysPerMonth)
	}
	for _, q := range u.Partitions {
		b.Puts += q.Day.Objects * daysPerMonth
		b.Gets += 2 * q.Day.Objects * daysPerMonth
	}
	b.Broker = float64(b.Puts+b.Lists)/1000*p.Puts + float64(b.Gets)/1000*p.Gets
	b.Job = float64(b.Follow) / 1000 * p.Gets
	return b
}

func bucketCommand() *cobra.Command {
	var store string
	var grace time.Duration
	var asJSON bool
	var price prices
	c := &cobra.Command{
		Use:   "bucket",
		Short: "What takes how much of a store, what waits to be deleted, and what a month costs",
		Long: `What takes how much of a store, by topic, partition and tier; what waits to be deleted, and until when; restore points and jobs that
hold something; and what a month costs at list prices, at the pace of the last day. It asks the store alone: a LIST of all keys (one request
for a thousand), and a GET for each checkpoint, index page and job, for each restore point and its states, and for each object that no
checkpoint covers yet.`,
		Example: "  firn bucket\n  firn bucket --store file:///var/lib/firn\n  firn bucket --store 's3://bucket/prefix?region=eu-central-1' --price-storage 0.0245 --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			space, err := openStore(c.Context(), store)
			if err != nil {
				return err
			}
			u, err := inspect.Use(c.Context(), space)
			if err != nil {
				return err
			}
			b := billOf(u, price)
			if asJSON {
				return printJSON(c.OutOrStdout(), struct {
					*inspect.Usage
					Month bill `json:"month"`
				}{u, b})
			}
			return printUsage(c.OutOrStdout(), u, b, grace)
		},
	}
	c.Flags().StringVar(&store, "store", filepath.Join(defaultData, "store"), storeHelp)
	c.Flags().DurationVar(&grace, "grace", 6*time.Hour, "how `long` the brokers wait before they delete")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON in place of tables")
	price.register(c)
	return c
}

func printUsage(out io.Writer, u *inspect.Usage, b bill, grace time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d objects, %s\n\n", u.Objects, byteSize(u.Bytes))
	fmt.Fprintln(w, "TOPIC\tPARTITION\tOFFSETS\tJOURNAL\tSEGMENTS\t\tWAIT TO GO\t")
	for _, p := range u.Partitions {
		topic := p.Topic
		if p.Ended {
			topic += " (deleted)"
		}
		fmt.Fprintf(w, "%s\t%d\t[%d, %d)\t%s\t%s\tin %d\t%s\tin %d\n", topic, p.Partition, p.LogStart, p.Next, byteSize(p.Journal),
			byteSize(p.Segments.Bytes), p.Segments.Objects, byteSize(p.Waiting.Bytes), p.Waiting.Objects)
	}
	fmt.Fprintln(w, "\nJOURNAL\tLIVE\t\tRELEASED\t\tTHEY GO\tCHECKPOINTS, PAGES\tLAST DAY\t")
	for _, j := range u.Journals {
		fmt.Fprintf(w, "%d\t%s\tin %d\t%s\tin %d\t%s\t%s\t%s\tin %d\n", j.Journal, byteSize(j.Live.Bytes), j.Live.Objects, byteSize(j.Released.Bytes), j.Released.Objects,
			goes(u, &j, grace), byteSize(j.Meta.Bytes), byteSize(j.Day.Bytes), j.Day.Objects)
	}
	fmt.Fprintf(w, "\nother\t%s\tin %d\n", byteSize(u.Other.Bytes), u.Other.Objects)
	for i, s := range u.Snapshots {
		if i == 0 {
			fmt.Fprintln(w, "\nRESTORE POINT\tMADE\tKEEPS WHAT WOULD GO\t")
		}
		if s.Err != "" {
			fmt.Fprintf(w, "%s\t\t%s\tin %d: everything, for it cannot be read: %s\n", s.Name, byteSize(s.Held.Bytes), s.Held.Objects, s.Err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%s\tin %d\n", s.Name, s.Created.Format("2006-01-02 15:04 UTC"), byteSize(s.Held.Bytes), s.Held.Objects)
	}
	for i, job := range u.Jobs {
		if i == 0 {
			fmt.Fprintln(w, "\nJOB\tMAY STILL READ")
		}
		if job.Err != "" {
			fmt.Fprintf(w, "%s\t%s: everything, for its object cannot be read: %s\n", job.Job, byteSize(job.Bytes), job.Err)
			continue
		}
		fmt.Fprintf(w, "%s\t%s\n", job.Job, byteSize(job.Bytes))
	}
	fmt.Fprintln(w, "\nA MONTH, AT THE PACE OF THE LAST DAY\tREQUESTS\tPRICE\tDOLLARS")
	fmt.Fprintf(w, "storage, as it is now\t\t%g a GiB\t%.2f\n", b.Prices.Storage, b.Storage)
	fmt.Fprintf(w, "brokers: PUT\t%d\t%g a thousand\t%.2f\n", b.Puts, b.Prices.Puts, float64(b.Puts)/1000*b.Prices.Puts)
	fmt.Fprintf(w, "brokers: LIST\t%d\t%g a thousand\t%.2f\n", b.Lists, b.Prices.Puts, float64(b.Lists)/1000*b.Prices.Puts)
	fmt.Fprintf(w, "brokers: GET\t%d\t%g a thousand\t%.2f\n", b.Gets, b.Prices.Gets, float64(b.Gets)/1000*b.Prices.Gets)
	fmt.Fprintf(w, "each job that follows: GET, at most\t%d\t%g a thousand\t%.2f\n", b.Follow, b.Prices.Gets, b.Job)
	fmt.Fprintf(w, "\nThis took %d LIST and %d GET requests. Consumers of old records, takeovers and catalogs are not counted.\n", u.Requests.Lists, u.Requests.Gets)
	return w.Flush()
}

// goes says when the released objects of a journal go.
func goes(u *inspect.Usage, j *inspect.JournalUsage, grace time.Duration) string {
	switch {
	case j.Released.Objects == 0:
		return ""
	case j.Held.Objects == j.Released.Objects:
		return "when restore points are deleted"
	case j.Held.Objects > 0:
		return fmt.Sprintf("%s in %d when restore points are deleted", byteSize(j.Held.Bytes), j.Held.Objects)
	case j.Since.IsZero():
		return "after the next checkpoints"
	}
	return "after " + j.Since.Add(grace).UTC().Format("2006-01-02 15:04 UTC")
}
