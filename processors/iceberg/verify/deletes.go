package verify

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/apache/iceberg-go/table"
)

// What the library takes for the deletes of a scan, in bytes, by measurement rounded up. Positions are in a column, and in a set while their data
// file is read; vectors are bitmaps; keys are in sets, as text. All of it is held until the last file of the scan has been read.
const (
	positionBytes = 64
	vectorBytes   = 2 // of a position in it, at most
	keyBytes      = 128

	passBytes   = 128 << 20 // of deletes that are held at a time, where that is enough for one data file
	fileBytes   = 1 << 30   // of the deletes that apply to one data file, at most
	refusedHelp = "have an engine rewrite the table's data files so that its deletes are applied, and verify again; without --deep it is verified by metadata"
)

// pass is data files that are read together, with the deletes that apply to them.
type pass struct {
	tasks []table.FileScanTask
	bytes int64
	held  map[string]bool // equality delete files, and combinations of them, that are counted
}

// passes parts files with deletes, so that those of each pass hold most bytes of deletes at most, or are one file. It is an error if those of
// one are more than refused. It sorts the tasks: those to which the same deletes apply come one after the other.
func passes(tasks []table.FileScanTask, most, refused int64) ([][]table.FileScanTask, error) {
	slices.SortStableFunc(tasks, func(a, b table.FileScanTask) int { return cmp.Compare(equalities(a), equalities(b)) })
	var out [][]table.FileScanTask
	at := pass{held: map[string]bool{}}
	for _, t := range tasks {
		bytes := at.weigh(t)
		if len(at.tasks) > 0 && at.bytes+bytes > most {
			out = append(out, at.tasks)
			at = pass{held: map[string]bool{}}
			bytes = at.weigh(t)
		}
		if len(at.tasks) == 0 && bytes > refused {
			return nil, fmt.Errorf("the deletes that apply to data file %s take %d MiB of memory, more than %d: %s", t.File.FilePath(), bytes>>20, refused>>20, refusedHelp)
		}
		at.take(t, bytes)
	}
	if len(at.tasks) > 0 {
		out = append(out, at.tasks)
	}
	return out, nil
}

// weigh is how many bytes more the deletes of a file take in the pass.
func (p *pass) weigh(t table.FileScanTask) int64 {
	var bytes, keys int64
	for _, f := range t.DeleteFiles {
		bytes += positionBytes * min(f.Count(), t.File.Count()) // those of other data files are left out
	}
	for _, f := range t.DeletionVectorFiles {
		bytes += vectorBytes * f.Count()
	}
	for _, f := range t.EqualityDeleteFiles {
		keys += f.Count()
		if !p.held[f.FilePath()] {
			bytes += keyBytes * f.Count()
		}
	}
	if len(t.EqualityDeleteFiles) > 1 && !p.held[equalities(t)] {
		bytes += keyBytes * keys // they are put together for each combination
	}
	return bytes
}

// take adds a file to the pass.
func (p *pass) take(t table.FileScanTask, bytes int64) {
	p.tasks, p.bytes = append(p.tasks, t), p.bytes+bytes
	for _, f := range t.EqualityDeleteFiles {
		p.held[f.FilePath()] = true
	}
	p.held[equalities(t)] = true
}

// equalities names the equality delete files that apply to a file.
func equalities(t table.FileScanTask) string {
	var all string
	for _, f := range t.EqualityDeleteFiles {
		all += f.FilePath() + "\n"
	}
	return all
}
