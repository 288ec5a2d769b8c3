package pipeline

import (
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/runtime/processor"
)

// The job files of seeds whose job file changes. Under the first one a record with a field called later is a dead letter, under the second
// one it is a row. Processes that run keep theirs, so for a time both decide; but of what one has decided the other decides nothing.
const (
	simFirst  = "first"
	simSecond = "second"
)

// configure gives a process the job file as it is now.
func (p *simProcess) configure(cfg *Config) {
	p.file = p.simulation.file
	if p.file == "" {
		return
	}
	route, errors := cfg.Route, cfg.Errors
	cfg.Hash, cfg.Kept, cfg.OpenTransforms = p.file, []byte(p.file), simSteps(p.file)
	cfg.Former = func(_ string, kept []byte) (*Form, error) {
		return &Form{OpenTransforms: simSteps(string(kept)), Route: route, Errors: errors}, nil
	}
}

// rollOut ends the processes that have the first job file.
func (s *simulation) rollOut() {
	if s.file == "" {
		return
	}
	s.file = simSecond
	for _, p := range s.alive() {
		if p.file == simFirst {
			s.say("%d is told to stop: the job file has changed", p.n)
			p.cancel()
		}
	}
}

// simSteps are the transforms of a job file.
func simSteps(file string) func(string) ([]Step, error) {
	if file == simFirst {
		return steps(applied(refuseLater))
	}
	return nil
}

// refuseLater rejects the rows with a value in the column later.
func refuseLater(b processor.Batch) (processor.Batch, error) {
	at := b.Records.Schema().FieldIndices("later")
	if len(at) == 0 {
		return b, nil
	}
	defer b.Records.Release()
	offsets, later := b.Records.Column(2).(*array.Int64), b.Records.Column(at[0])
	keep := make([]bool, offsets.Len())
	for i := range keep {
		if keep[i] = later.IsNull(i); !keep[i] {
			b.Rejected = append(b.Rejected, processor.Rejection{Offset: offsets.Value(i), Class: "later", Message: "not yet"})
		}
	}
	var err error
	b.Records, err = processor.KeepRows(b.Records, keep, memory.DefaultAllocator)
	return b, err
}

// simLife is a life of a table in a process.
type simLife struct {
	worker  *worker
	letters processor.Positions // where the dead letters stood when it began
}

// begins notes with what a life of a table begins. The caller holds p.mu.
func (p *simProcess) begins(w *worker) {
	if p.lives[w.table.topic].worker != w {
		p.lives[w.table.topic] = simLife{w, maps.Clone(w.letterPositions)}
	}
}

// checkDecided checks that what a process adds to a table, of these sources, was no dead letter when the life began that has decided it. The
// caller holds p.mu.
func (p *simProcess) checkDecided(name string, snapshot *icetable.Snapshot, ranges map[string][4]int64) {
	s := p.simulation
	letters := s.lake.tables[simLetters]
	if name == simLetters || letters == nil || snapshot.Summary.Properties["firn.kind"] != "data" {
		return
	}
	dead := s.headRows(letters)
	for _, path := range s.lake.addedFiles(snapshot) {
		for _, row := range s.lake.rowsOf(path) {
			for source, at := range p.lives[topicOf(name)].letters {
				key := iceberg.SourceKey(source)
				if _, ours := ranges[key]; ours && source.Topic == row.topic && source.Partition == row.partition && row.offset < at && dead.has(key, row.offset) {
					s.wrong("%d decides anew that %s offset %d is a row, and had seen it as a dead letter", p.n, sourceName(key), row.offset)
				}
			}
		}
	}
}

// addedFiles are the data files that a snapshot has and its parent has not.
func (l *simLake) addedFiles(snapshot *icetable.Snapshot) []string {
	var before []string
	for _, t := range l.tables {
		if snapshot.ParentSnapshotID == nil {
			break
		}
		if parent := t.now().SnapshotByID(*snapshot.ParentSnapshotID); parent != nil {
			before = l.filesOf(parent)
		}
	}
	return slices.DeleteFunc(slices.Clone(l.filesOf(snapshot)), func(path string) bool { return slices.Contains(before, path) })
}
