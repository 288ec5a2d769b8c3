package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/firn-io/firn/kfs"
)

func printStatus(out io.Writer, all []jobStatus, partitions bool) error {
	type row struct {
		job   string
		table tableStatus
	}
	var rows []row
	for _, s := range all {
		for _, t := range s.Tables {
			rows = append(rows, row{s.Job, t})
		}
	}
	err := printTable(out, "JOB\tTABLE\tLAG\tBEHIND\tFRESHNESS\tLAST COMMIT\tROWS\tDEAD LETTERS", rows, func(w io.Writer, r row) {
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%d\n", r.job, r.table.Table, r.table.Lag, seconds(r.table.Behind), seconds(r.table.Freshness),
			r.table.lastCommit(), orUnknown(r.table.Rows), r.table.DeadLetters)
	})
	for _, s := range all {
		if len(s.Tables) > screen {
			fmt.Fprintf(out, "\njob %s: %s\n", s.Job, summed(s.Tables))
		}
	}
	if err == nil && partitions {
		for _, r := range rows {
			fmt.Fprintf(out, "\n%s\n", r.table.Table)
			err = errors.Join(err, printTable(out, "TOPIC\tPARTITION\tPOSITION\tLOG START\tLOG END\tLAG\tBEHIND", r.table.Sources, func(w io.Writer, s sourceStatus) {
				topic := s.Topic
				if s.Gone {
					topic += " (deleted)"
				}
				fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%s\n", topic, s.Partition, s.Position, s.Start, s.End, s.lag(), seconds(s.Behind))
			}))
		}
	}
	for _, r := range rows {
		for _, b := range r.table.Backfills {
			fmt.Fprintf(out, "\n%s: backfill %s: %d offsets, %s rows\n", r.table.Table, b.ID, b.Offsets, orUnknown(b.Rows))
		}
	}
	for _, r := range rows {
		switch b := r.table.Rebuild; {
		case b == nil:
		case b.Swapped:
			fmt.Fprintf(out, "\n%s: a rebuild has been swapped in and is not finished: run firn rebuild again\n", r.table.Table)
		case b.Other:
			fmt.Fprintf(out, "\n%s: a rebuild with another job file has been begun in a %s\n", r.table.Table, b.To)
		case b.Problem != "":
			fmt.Fprintf(out, "\n%s: a rebuild in a %s: %s\n", r.table.Table, b.To, b.Problem)
		default:
			fmt.Fprintf(out, "\n%s: a rebuild in a %s: %d offsets, %d left\n", r.table.Table, b.To, b.Offsets, b.Left)
			if b.Paused != nil {
				fmt.Fprintf(out, "%s: the table is paused and the job waits: %s; the swap ends that, and so does firn rebuild --abandon\n", r.table.Table, b.Paused)
			}
		}
	}
	if err == nil {
		err = printWorkers(out, all)
	}
	for _, s := range all {
		printHalts(out, s.Job, s.Halts)
	}
	return err
}

// printHalts tells what of a job has halted, each once: workers may say the same.
func printHalts(out io.Writer, job string, halts []kfs.JobHalt) {
	said := map[kfs.JobHalt]bool{}
	for _, h := range halts {
		h.Worker = ""
		if said[h] {
			continue
		}
		said[h] = true
		where := cmp.Or(h.Table, "the job")
		if h.Topic != "" {
			where += fmt.Sprintf(", %s/%d", h.Topic, h.Partition)
		}
		fmt.Fprintf(out, "\nHALTED: job %s: %s: %s\n", job, where, printable(h.What))
	}
}

// screen is how many tables of a job somebody sees at a glance. More are summed up.
const screen = 50

// summed says how many tables there are and how many of them are behind. Their lags are not added: of tables that records name, each has those offsets
// before it that the others have.
func summed(tables []tableStatus) string {
	behind, most := 0, -1.0
	for _, t := range tables {
		if t.Lag > 0 {
			behind++
			most = max(most, t.Behind)
		}
	}
	if behind == 0 {
		return fmt.Sprintf("%d tables, none is behind", len(tables))
	}
	return fmt.Sprintf("%d tables, %d are behind, the last of them %s", len(tables), behind, seconds(most))
}

// seconds writes a duration for people; "-" if it is not known.
func seconds(s float64) string {
	if s < 0 {
		return "-"
	}
	d := time.Duration(s * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// lastCommit is how long ago rows were committed, as people read it; what has expired with its snapshot is not known.
func (t *tableStatus) lastCommit() string {
	if t.Commit < 0 && t.Rows == 0 {
		return "never"
	}
	return cmp.Or(ago(t.Commit), "-")
}

// ago writes how long ago something was; "" if it never was.
func ago(s float64) string {
	if s < 0 {
		return ""
	}
	return seconds(s) + " ago"
}

func orUnknown(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}
