// Command query reads the table of the quick start from its Iceberg catalog and prints the number of earthquakes and their mean
// magnitude by hour. It shows that the table is plain Iceberg: nothing of Firn is needed to read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	_ "github.com/apache/iceberg-go/catalog/sql"
	_ "modernc.org/sqlite"
)

func main() {
	data := flag.String("data", "firn-data", "the `folder` of firn dev")
	table := flag.String("table", "earthquakes", "the `table`, in namespace default")
	wait := flag.Int64("wait", 0, "wait until the table has so many `rows`")
	timeout := flag.Duration("timeout", time.Minute, "how long to wait")
	since := flag.Int64("since", 0, "Unix `milliseconds` of the last acknowledgement, to print the freshness against")
	flag.Parse()
	if err := run(*data, *table, *wait, *timeout, *since); err != nil {
		log.Fatal(err)
	}
}

func run(data, table string, wait int64, timeout time.Duration, since int64) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	rows, visible, err := scan(ctx, data, table, wait)
	if err != nil {
		return err
	}
	hours := map[int64]*hour{}
	for _, r := range rows {
		h := hours[r.time/3_600_000]
		if h == nil {
			h = &hour{}
			hours[r.time/3_600_000] = h
		}
		h.count++
		if r.known {
			h.sum += r.magnitude
			h.known++
		}
	}
	print(hours)
	fmt.Printf("%d rows", len(rows))
	if since > 0 {
		fmt.Printf(", all visible %.2f s after the last one was acknowledged", max(0, visible.Sub(time.UnixMilli(since)).Seconds()))
	}
	fmt.Println()
	return nil
}

type quake struct {
	time      int64 // Unix milliseconds
	magnitude float64
	known     bool // some events have no magnitude
}

type hour struct {
	count, known int
	sum          float64
}

// scan loads the table until it has at least wait rows, and reads it. visible is when the snapshot that brought the last row was committed.
func scan(ctx context.Context, data, name string, wait int64) ([]quake, time.Time, error) {
	abs, err := filepath.Abs(data)
	if err != nil {
		return nil, time.Time{}, err
	}
	cat, err := catalog.Load(ctx, "default", iceberg.Properties{
		"type": "sql", "sql.driver": "sqlite", "sql.dialect": "sqlite",
		"uri":       "file:" + filepath.Join(abs, "catalog.db") + "?_pragma=busy_timeout(5000)&mode=ro",
		"warehouse": "file://" + filepath.Join(abs, "warehouse"), "init_catalog_tables": "false",
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	var last error
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		tbl, err := cat.LoadTable(ctx, []string{"default", name})
		if err == nil && tbl.CurrentSnapshot() != nil {
			_, read, err := tbl.Scan().ToArrowRecords(ctx)
			if err != nil {
				return nil, time.Time{}, err
			}
			var rows []quake
			for batch, err := range read {
				if err != nil {
					return nil, time.Time{}, err
				}
				if rows, err = appendQuakes(rows, batch); err != nil {
					return nil, time.Time{}, err
				}
				batch.Release()
			}
			if int64(len(rows)) >= wait {
				return rows, time.UnixMilli(tbl.CurrentSnapshot().TimestampMs), nil
			}
			last = fmt.Errorf("%d of %d rows", len(rows), wait)
		} else if err == nil {
			last = errors.New("no snapshot yet")
		} else if last = err; wait == 0 {
			return nil, time.Time{}, err
		}
		select {
		case <-ctx.Done():
			return nil, time.Time{}, fmt.Errorf("table default.%s: %w (%w)", name, last, ctx.Err())
		case <-tick.C:
		}
	}
}

// appendQuakes takes properties.time and properties.mag out of a batch.
func appendQuakes(rows []quake, batch arrow.RecordBatch) ([]quake, error) {
	columns := batch.Schema().FieldIndices("properties")
	if len(columns) != 1 {
		return nil, fmt.Errorf("the table has no column properties: %s", batch.Schema())
	}
	properties, ok := batch.Column(columns[0]).(*array.Struct)
	if !ok {
		return nil, fmt.Errorf("properties is no struct: %s", batch.Schema())
	}
	fields := properties.DataType().(*arrow.StructType)
	at, hasTime := fields.FieldIdx("time")
	mag, hasMag := fields.FieldIdx("mag")
	if !hasTime || !hasMag {
		return nil, fmt.Errorf("properties has no time and mag: %s", fields)
	}
	times, ok := properties.Field(at).(*array.Int64)
	if !ok {
		return nil, fmt.Errorf("properties.time is no long: %s", fields)
	}
	magnitudes, ok := properties.Field(mag).(*array.Float64)
	if !ok {
		return nil, fmt.Errorf("properties.mag is no double: %s", fields)
	}
	for i := range properties.Len() {
		rows = append(rows, quake{times.Value(i), magnitudes.Value(i), magnitudes.IsValid(i)})
	}
	return rows, nil
}

// shown is how many hours are printed: enough to see what it is.
const shown = 8

func print(hours map[int64]*hour) {
	var order []int64
	for h := range hours {
		order = append(order, h)
	}
	slices.Sort(order)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "hour (UTC)\tearthquakes\tmean magnitude\t")
	for i, h := range order {
		if i == shown {
			fmt.Fprintf(w, "… %d more hours\t\t\t\n", len(order)-shown)
			break
		}
		mean := "-"
		if x := hours[h]; x.known > 0 {
			mean = fmt.Sprintf("%.2f", x.sum/float64(x.known))
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t\n", time.UnixMilli(h*3_600_000).UTC().Format("2006-01-02 15:04"), hours[h].count, mean)
	}
	w.Flush()
}
