package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// workerStatus is one of the processes that share a job, as the job's object has them: the one of them that wrote it last has seen it.
type workerStatus struct {
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Reads   map[string]string `json:"reads"`   // partitions by topic, as in 0-3,7
	Commits []string          `json:"commits"` // the tables that it commits to for all
}

// workersOf names the topics of what workers read. Topics that are in no table yet go by their ids.
func workersOf(all []kfs.JobWorker, tables []kfs.JobTable) []workerStatus {
	names := map[kfs.TopicID]string{}
	for _, t := range tables {
		for _, s := range t.Sources {
			names[s.ID] = s.Topic
		}
	}
	workers := []workerStatus{}
	for _, w := range all {
		if len(w.Reads) == 0 && len(w.Commits) == 0 && len(all) == 1 {
			continue // it shares nothing: it reads all, or has died
		}
		one := workerStatus{ID: w.ID, Name: w.Name, Reads: map[string]string{}, Commits: append([]string{}, w.Commits...)}
		for id, partitions := range w.Reads {
			name, ok := names[id]
			if !ok || one.Reads[name] != "" { // a topic that was deleted and made again
				name = id.String()
			}
			one.Reads[name] = partitions
		}
		workers = append(workers, one)
	}
	slices.SortFunc(workers, func(a, b workerStatus) int { return strings.Compare(a.Name+a.ID, b.Name+b.ID) })
	return workers
}

// printWorkers writes who reads what and who commits where, for jobs that several processes share.
func printWorkers(out io.Writer, all []jobStatus) error {
	type row struct {
		job string
		workerStatus
	}
	var rows []row
	for _, s := range all {
		for _, w := range s.Workers {
			rows = append(rows, row{s.Job, w})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	return printTable(out, "JOB\tWORKER\tREADS\tCOMMITS TO", rows, func(w io.Writer, r row) {
		var reads []string
		for _, topic := range slices.Sorted(maps.Keys(r.Reads)) {
			reads = append(reads, topic+" "+r.Reads[topic])
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.job, r.Name, orNothing(reads), orNothing(r.Commits))
	})
}

func orNothing(parts []string) string {
	if len(parts) == 0 {
		return "nothing"
	}
	return strings.Join(parts, "; ")
}
