package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// wherePoll is how often `firn where --wait` looks again: a look is a load of the table.
const wherePoll = 500 * time.Millisecond

// exitNotYet is the exit code of `firn where` for a record that is not in a table yet.
const exitNotYet = 3

// whereabouts is what is known of a record.
type whereabouts struct {
	Job       string `json:"job"`
	Table     string `json:"table"`
	State     string `json:"state"`                  // visible, dead_letter, lost, expired, left_out or pending
	Snapshot  int64  `json:"snapshot,omitempty"`     // in which it became visible
	Time      string `json:"committed_at,omitempty"` // RFC 3339
	Position  int64  `json:"position"`               // the next offset that the table does not account for
	Committer string `json:"committer,omitempty"`
}

// The states of a record.
const (
	stateVisible = "visible"
	stateDead    = "dead_letter"
	stateLost    = "lost"     // it was gone from the log before the table had it, and was given up
	stateExpired = "expired"  // committed, in a snapshot that has expired
	stateLeftOut = "left_out" // accounted for, and no row of this table: the job leaves it out, has it in another one, or somebody has deleted it
	statePending = "pending"
)

func whereCommand() *cobra.Command {
	var flags tableFlags
	wait, timeout := false, time.Duration(0)
	c := &cobra.Command{
		Use:   "where TOPIC PARTITION OFFSET",
		Short: "In which snapshot a record became visible",
		Long: `In which snapshot a record became visible: for those who have an offset from a producer's acknowledgement and want to
read their own write from the table.

Exits with 0 if the record is in the table, or in the dead-letter table, or was lost and given up (firn accept-loss), with 1 if the job has come
past it and made nothing of it, as filters do, and with 3 if it is not there yet; --wait waits for it.`,
		Example: `  firn where events 0 41785
  firn where events 0 41785 -f job.yaml --wait --timeout 30s`,
		Args: cobra.ExactArgs(3),
		RunE: func(c *cobra.Command, args []string) error {
			partition, err := strconv.ParseInt(args[1], 10, 32)
			if err != nil || partition < 0 {
				return fmt.Errorf("%q is not a partition", args[1])
			}
			offset, err := strconv.ParseInt(args[2], 10, 64)
			if err != nil || offset < 0 {
				return fmt.Errorf("%q is not an offset", args[2])
			}
			if !wait {
				timeout = 0
			}
			found, err := (&seeker{topic: args[0], partition: int32(partition), offset: offset, wait: timeout}).run(c.Context(), &flags)
			if err != nil {
				return err
			}
			return printWhere(c.OutOrStdout(), found, flags.asJSON)
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&wait, "wait", false, "wait for it to become visible")
	c.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait at most")
	return c
}

// seeker looks for a record.
type seeker struct {
	topic     string
	partition int32
	offset    int64
	wait      time.Duration
}

// run looks in every table of the jobs that the topic goes to, until the record is in all of them or the wait is over.
func (s *seeker) run(ctx context.Context, flags *tableFlags) ([]whereabouts, error) {
	until := time.Now().Add(s.wait)
	for {
		var found []whereabouts
		pending := false
		err := flags.each(ctx, func(j *jobTables) error {
			for _, t := range j.tables {
				for _, source := range t.Sources {
					if source.Topic != s.topic || source.Partition != s.partition {
						continue
					}
					w, err := s.look(ctx, j, t.Table, sourceOf(source))
					if err != nil {
						return err
					}
					pending = pending || w.State == statePending
					found = append(found, w)
				}
			}
			return nil
		})
		if err != nil && !(errors.Is(err, errNotRun) && time.Now().Before(until)) {
			return nil, err
		}
		if len(found) > 0 && !pending || !time.Now().Before(until) {
			if len(found) == 0 {
				return nil, &exitError{exitNotYet, fmt.Errorf("no table has anything of %s/%d yet: does a job read the topic, and is it running?", s.topic, s.partition)}
			}
			return found, nil
		}
		timer := time.NewTimer(wherePoll)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

func (s *seeker) look(ctx context.Context, j *jobTables, table string, source processor.Source) (whereabouts, error) {
	w := whereabouts{Job: j.job.Name, Table: table, State: statePending}
	account, err := j.account(ctx, table)
	if err != nil {
		return w, err
	}
	if account == nil { // there was no row yet to make the table for
		dead, err := s.dead(ctx, j, source)
		if dead {
			w.State, w.Table, w.Position = stateDead, j.job.DeadLetterTable(), s.offset+1
		}
		return w, err
	}
	key := iceberg.SourceKey(source)
	w.Position, _ = account.Position(j.job.Name, key)
	entry, covered := account.Covers(j.job.Name, key, s.offset)
	switch {
	case slices.ContainsFunc(account.Lost(j.job.Name, key), func(lost kfs.Span) bool { return lost.Contains(s.offset) }):
		w.State = stateLost
		return w, nil
	case covered:
		w.State, w.Snapshot, w.Committer = stateVisible, entry.Snapshot.SnapshotID, entry.Receipt.Writer
		w.Time = time.UnixMilli(entry.Snapshot.TimestampMs).UTC().Format(time.RFC3339Nano)
	case accounted(account, j.job.Name, key, s.offset):
		w.State = stateExpired
	default:
		return w, nil
	}
	template, err := j.job.Template()
	if err != nil {
		return w, err
	}
	dead, err := s.dead(ctx, j, source)
	row := true
	if err == nil && (dead || !j.job.Whole() || template.ByContent()) {
		row, err = s.row(ctx, j, table, source) // a letter that is a row too is superseded: the row counts
	}
	switch {
	case err != nil || row:
		return w, err
	case dead:
		w.State, w.Table = stateDead, j.job.DeadLetterTable()
	default:
		w.State = stateLeftOut
	}
	w.Snapshot, w.Time, w.Committer = 0, "", ""
	return w, nil
}

// accounted reports whether a job, or a backfill of it, has accounted for an offset.
func accounted(account *catalog.Account, job, key string, offset int64) bool {
	for _, span := range account.Accounted(job, key) {
		if span.Contains(offset) {
			return true
		}
	}
	return false
}

// dead reports whether the record is a dead letter.
func (s *seeker) dead(ctx context.Context, j *jobTables, source processor.Source) (bool, error) {
	sink, err := j.sink(ctx, j.job.DeadLetterTable())
	if err != nil {
		return false, err
	}
	defer sink.Close()
	offsets, err := sink.DeadOffsets(ctx, source, kfs.Span{Base: s.offset, Next: s.offset + 1})
	return len(offsets) > 0, err
}

// row reports whether the record is a row of a table.
func (s *seeker) row(ctx context.Context, j *jobTables, table string, source processor.Source) (bool, error) {
	sink, err := j.sink(ctx, table)
	if err != nil {
		return false, err
	}
	defer sink.Close()
	rows, err := sink.RowsOf(ctx, source, []int64{s.offset})
	return len(rows) > 0, err
}

// sink opens a table for its rows to be looked at.
func (j *jobTables) sink(ctx context.Context, table string) (*iceberg.Sink, error) {
	sink, err := iceberg.New(iceberg.Config{Catalog: j.catalog, Options: catalog.Options{Job: j.job.Name, Store: j.store}}).Open(ctx, processors.Table{Name: table})
	if err != nil {
		return nil, err
	}
	return sink.(*iceberg.Sink), nil
}

func printWhere(out io.Writer, found []whereabouts, asJSON bool) error {
	pending := false
	for _, w := range found {
		pending = pending || w.State == statePending
	}
	var err error
	if asJSON {
		err = printJSON(out, found)
	} else {
		err = printTable(out, "JOB\tTABLE\tSTATE\tSNAPSHOT\tCOMMITTED AT\tPOSITION", found, func(w io.Writer, f whereabouts) {
			snapshot := "-"
			if f.Snapshot != 0 {
				snapshot = strconv.FormatInt(f.Snapshot, 10)
			}
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\n", f.Job, f.Table, strings.ReplaceAll(f.State, "_", " "), snapshot, orDash(f.Time), f.Position)
		})
	}
	switch {
	case err != nil:
	case pending:
		err = &exitError{exitNotYet, errors.New("not visible yet")}
	case !slices.ContainsFunc(found, func(w whereabouts) bool { return w.State != stateLeftOut }):
		err = errors.New("the job has come past the record and made nothing of it")
	}
	return err
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
