package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/rebuild"
	"github.com/firn-io/firn/runtime/processor"
)

// jobStatus is what tables and bucket say of a job.
type jobStatus struct {
	Job     string         `json:"job"`
	Tables  []tableStatus  `json:"tables"`
	Halts   []kfs.JobHalt  `json:"halts"`
	Workers []workerStatus `json:"workers"` // none if one process runs the job

	homeless bool // the log has records of topics that the job reads and that fill none of its tables
}

// tableStatus is one table of a job. Times are durations in seconds, -1 where they are not known.
type tableStatus struct {
	Table       string         `json:"table"`
	Lag         int64          `json:"lag"`          // offsets that the log has and the table does not account for
	Behind      float64        `json:"behind_s"`     // how long ago the oldest of them was acknowledged, about; 0 without lag
	Freshness   float64        `json:"freshness_s"`  // of the newest commit: how old its oldest record was
	Commit      float64        `json:"commit_s"`     // how long ago that was
	Rows        int64          `json:"rows"`         // that the job has added; -1 if nobody counted
	DeadLetters int64          `json:"dead_letters"` // resolved ones and those of backfills included
	Sources     []sourceStatus `json:"sources"`
	// Backfills are what was brought in from before the job began.
	Backfills []backfillStatus `json:"backfills,omitempty"`
	// Rebuild is a rebuild of the table that is not finished.
	Rebuild *rebuildStatus `json:"rebuild,omitempty"`
}

// rebuildStatus is how far a rebuild has come.
type rebuildStatus struct {
	To      rebuild.Place `json:"to"`
	Swapped bool          `json:"swapped"` // it is the table, or about to be; firn rebuild has to finish it
	Other   bool          `json:"other"`   // another job file than this one has begun it
	Offsets int64         `json:"offsets"` // that it accounts for
	Left    int64         `json:"left"`    // that the table accounts for beyond
	Problem string        `json:"problem,omitempty"`
	// Paused is set while the job waits for the rebuild to be swapped in.
	Paused *catalog.Pause `json:"paused,omitempty"`
}

// rebuilds are the keys of what holds the log for rebuilds of the job's tables. As long as there is a rebuild, the log is held for it.
func (j *jobTables) rebuilds(ctx context.Context) (map[string]bool, error) {
	keys := map[string]bool{}
	for page, err := range j.store.List(ctx, strings.TrimSuffix(kfs.JobKey(rebuild.NamePrefix(j.job.Name)), ".json"), "") {
		if err != nil {
			return nil, fmt.Errorf("list the rebuilds of the job: %w", err)
		}
		for _, o := range page.Objects {
			keys[o.Key] = true
		}
	}
	return keys, nil
}

// rebuildOf tells of a rebuild of a table; nil if it is none of the rebuilds that there are.
func (j *jobTables) rebuildOf(ctx context.Context, table string, rebuilds map[string]bool) (*rebuildStatus, error) {
	r, err := rebuildOf(j, table)
	if err != nil || !rebuilds[kfs.JobKey(r.Name())] {
		return nil, err
	}
	if r.To, err = r.Begun(ctx); err != nil || r.To == "" {
		return nil, err
	}
	s := &rebuildStatus{To: r.To}
	standing, err := r.Standing(ctx)
	switch {
	case errors.Is(err, rebuild.ErrSwapped):
		s.Swapped = true
		return s, nil
	case errors.Is(err, rebuild.ErrOther):
		s.Other = true
		return s, nil
	case err != nil:
		s.Problem = err.Error()
		return s, nil
	}
	s.Left, s.Paused = standing.Left(), standing.Paused
	for _, source := range standing.Sources {
		s.Offsets += max(source.At, source.Table.Base) - source.Table.Base
	}
	return s, nil
}

// backfillStatus is how far a backfill has come.
type backfillStatus struct {
	ID      string `json:"id"`
	Offsets int64  `json:"offsets"` // that it has accounted for
	Rows    int64  `json:"rows"`    // that it has added; -1 if nobody counted
}

// backfillsOf lists the backfills of a table.
func backfillsOf(job string, account *catalog.Account) []backfillStatus {
	var all []backfillStatus
	if account == nil {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(account.Progress)) {
		if !catalog.OwnBackfill(job, name) {
			continue
		}
		b := backfillStatus{ID: strings.TrimPrefix(name, catalog.Backfill(job, ""))}
		for source, p := range account.Progress[name].Sources {
			if next, ok := account.Position(name, source); ok {
				b.Offsets += max(next, p.First) - p.First
			}
			b.Rows = catalog.AddRows(b.Rows, account.Rows(name, source))
		}
		all = append(all, b)
	}
	return all
}

// sourceStatus is one source partition of a table.
type sourceStatus struct {
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"id"`
	Partition int32       `json:"partition"`
	Position  int64       `json:"position"` // the next offset that the table does not account for
	Start     int64       `json:"log_start"`
	End       int64       `json:"log_end"`
	Behind    float64     `json:"behind_s"`
	Gone      bool        `json:"gone,omitempty"` // the topic is deleted
}

func (s *sourceStatus) lag() int64 { return max(0, s.End-max(s.Position, s.Start)) }

func statusCommand() *cobra.Command {
	var flags tableFlags
	partitions := false
	c := &cobra.Command{
		Use:   "status",
		Short: "How far jobs are: lag, freshness, what has halted and why",
		Long: `How far jobs are: lag in offsets and seconds, freshness, what has halted and why. All of it comes from the tables and the bucket:
no job and no broker is asked, and none needs to run. Of a job that several processes share it also tells which of them reads and commits what,
as the one that wrote the job's object last has seen them.

ROWS are those that the job has added and the table's branch has: a rollback takes them, what others delete does not count. DEAD LETTERS are
all that there ever were; firn dlq ls tells which of them are resolved.

Exits with 1 if something has halted, or is tried again and again and cannot go on.`,
		Example: `  firn status
  firn status -f job.yaml --partitions`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			all := []jobStatus{}
			err := flags.each(c.Context(), func(j *jobTables) error {
				s, err := statusOf(c.Context(), j, time.Now())
				if err == nil {
					all = append(all, s)
				}
				return err
			})
			if len(all) == 0 && err != nil {
				return err
			}
			if flags.asJSON {
				err = errors.Join(err, printJSON(c.OutOrStdout(), all))
			} else {
				err = errors.Join(err, printStatus(c.OutOrStdout(), all, partitions))
			}
			for _, s := range all {
				if err == nil && len(s.Halts) > 0 {
					err = fmt.Errorf("job %s: %d halts", s.Job, len(s.Halts))
				}
			}
			return err
		},
	}
	flags.add(c)
	c.Flags().BoolVar(&partitions, "partitions", false, "a line for each partition")
	return c
}

func statusOf(ctx context.Context, j *jobTables, now time.Time) (jobStatus, error) {
	s := jobStatus{Job: j.job.Name, Tables: []tableStatus{}, Halts: append([]kfs.JobHalt{}, j.halts...), Workers: workersOf(j.workers, j.tables)}
	ends, err := inspect.ReadEnds(ctx, j.store)
	if err != nil {
		return s, err
	}
	letters, err := j.account(ctx, j.job.DeadLetterTable())
	if err != nil {
		return s, err
	}
	rebuilds, err := j.rebuilds(ctx)
	if err != nil {
		return s, err
	}
	s.Tables = make([]tableStatus, len(j.tables))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(tablesAtOnce)
	for i, t := range j.tables {
		group.Go(func() (err error) {
			s.Tables[i], err = j.statusOfTable(groupCtx, t, letters, ends, rebuilds, now)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return s, err
	}
	s.homeless, err = homeless(j, ends)
	return s, err
}

// tablesAtOnce is how many tables are looked at at a time: where records name their tables, there are thousands.
const tablesAtOnce = 16

// statusOfTable is one table of a job whose rebuilds, and whose dead letters, are known.
func (j *jobTables) statusOfTable(ctx context.Context, t kfs.JobTable, letters *catalog.Account, ends *inspect.Ends, rebuilds map[string]bool, now time.Time) (tableStatus, error) {
	one := tableStatus{Table: t.Table, Commit: -1, Freshness: -1, Sources: []sourceStatus{}}
	account, err := j.account(ctx, t.Table)
	if err != nil {
		return one, err
	}
	one.Backfills = backfillsOf(j.job.Name, account)
	for _, source := range t.Sources {
		at, err := sourceStatusOf(ctx, j.job.Name, cmp.Or(account, letters), ends, source, now)
		if err != nil {
			return one, err
		}
		one.Lag += at.lag()
		one.Behind = max(one.Behind, at.Behind)
		one.Sources = append(one.Sources, at)
		key := iceberg.SourceKey(sourceOf(source))
		one.DeadLetters += lettersOf(letters, j.job.Name, key)
		one.Rows = catalog.AddRows(one.Rows, rowsOf(account, j.job.Name, key))
	}
	if len(rebuilds) > 0 {
		if one.Rebuild, err = j.rebuildOf(ctx, t.Table, rebuilds); err != nil {
			return one, err
		}
	}
	one.Commit, one.Freshness, err = lastCommit(ctx, j.job.Name, account, ends, now)
	return one, err
}

// homeless reports whether the log has records of a topic that the job reads and that fills none of its tables.
func homeless(j *jobTables, ends *inspect.Ends) (bool, error) {
	match, err := kfs.MatchTopics(j.job.Source.Topics, j.job.Source.Pattern)
	if err != nil {
		return false, err
	}
	filling := map[kfs.TopicID]bool{}
	for _, t := range j.tables {
		for _, s := range t.Sources {
			filling[s.ID] = true
		}
	}
	return slices.ContainsFunc(ends.All(), func(p inspect.Partition) bool {
		return match(p.Name) && !p.Ended && p.Next > p.Start && !filling[p.Topic]
	}), nil
}

// account reads what a table says; nil if there is none.
func (j *jobTables) account(ctx context.Context, name string) (*catalog.Account, error) {
	a, _, err := j.catalog.Account(ctx, name, j.store)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil, nil
	}
	return a, err
}

func sourceOf(s kfs.JobSource) processor.Source {
	return processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition}
}

// rowsOf is how many rows a job has added of a source; catalog.UnknownRows if nobody counted.
func rowsOf(a *catalog.Account, job, source string) int64 {
	if a == nil {
		return 0
	}
	return a.Rows(job, source)
}

// lettersOf is how many dead letters of a source a job and its backfills have added, as far as somebody counted.
func lettersOf(a *catalog.Account, job, source string) int64 {
	n := max(0, rowsOf(a, job, source))
	if a == nil {
		return n
	}
	for name := range a.Progress {
		if catalog.OwnBackfill(job, name) {
			n += max(0, rowsOf(a, name, source))
		}
	}
	return n
}

// sourceStatusOf is where a source stands by an account of the table; of the dead letters, as long as there was no row to make the table for.
func sourceStatusOf(ctx context.Context, job string, account *catalog.Account, ends *inspect.Ends, source kfs.JobSource, now time.Time) (sourceStatus, error) {
	s := sourceStatus{Topic: source.Topic, ID: source.ID, Partition: source.Partition, Position: source.Hold}
	if account != nil {
		if next, ok := account.Position(job, iceberg.SourceKey(sourceOf(source))); ok {
			s.Position = next
		}
	}
	id := kfs.PartitionID{Topic: source.ID, Partition: source.Partition}
	end, ok := ends.Find(id)
	s.Start, s.End, s.Gone = end.Start, end.Next, ok && end.Ended
	if s.lag() == 0 {
		return s, nil
	}
	at, ok, err := ends.Written(ctx, id, max(s.Position, s.Start))
	if s.Behind = -1; ok {
		s.Behind = max(0, now.Sub(time.UnixMilli(at)).Seconds())
	}
	return s, err
}

// lastCommit is how long ago the job's newest commit of rows was, and how old the oldest record in it was then.
func lastCommit(ctx context.Context, job string, account *catalog.Account, ends *inspect.Ends, now time.Time) (ago, freshness float64, err error) {
	ago, freshness = -1, -1
	if account == nil {
		return ago, freshness, nil
	}
	i := slices.IndexFunc(account.Branch, func(e catalog.Entry) bool {
		return e.Receipt != nil && e.Receipt.Job == job && e.Receipt.Kind == catalog.KindData
	})
	if i < 0 {
		return ago, freshness, nil
	}
	committed := time.UnixMilli(account.Branch[i].Snapshot.TimestampMs)
	for key, a := range account.Branch[i].Receipt.Ranges {
		source, err := iceberg.ParseSource(key)
		if err != nil || a.Span.Empty() {
			continue
		}
		at, known, err := ends.Written(ctx, kfs.PartitionID{Topic: source.ID, Partition: source.Partition}, a.Span.Base)
		if err != nil {
			return ago, freshness, err
		}
		if known {
			freshness = max(freshness, committed.Sub(time.UnixMilli(at)).Seconds())
		}
	}
	return max(0, now.Sub(committed).Seconds()), freshness, nil
}
