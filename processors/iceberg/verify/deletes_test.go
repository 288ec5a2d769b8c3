package verify

import (
	"slices"
	"strings"
	"testing"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
)

// deleteFile is a data or delete file of so many records.
func deleteFile(t *testing.T, content iceberg.ManifestEntryContent, path string, records int64) iceberg.DataFile {
	t.Helper()
	b, err := iceberg.NewDataFileBuilder(*iceberg.UnpartitionedSpec, content, path, iceberg.ParquetFile, nil, nil, nil, records, 1)
	if err != nil {
		t.Fatal(err)
	}
	return b.Build()
}

// TestPasses parts files by the deletes that are held for them. A task is written as a data file with its positions, vectors and keys.
func TestPasses(t *testing.T) {
	type deletes = map[string]int64 // by file
	type task struct {
		data                    string
		rows                    int64
		positions, vector, keys deletes
	}
	for _, c := range []struct {
		name    string
		tasks   []task
		want    string // data files by pass
		refused string // the data file; "" if none is
	}{
		{"none", nil, "", ""},
		{"all in one", []task{{"a", 9, deletes{"p": 3}, nil, nil}, {"b", 9, deletes{"q": 7}, nil, nil}}, "a b", ""},
		{"one position more", []task{{"a", 9, deletes{"p": 3}, nil, nil}, {"b", 9, deletes{"q": 8}, nil, nil}, {"c", 9, deletes{"r": 2}, nil, nil}}, "a|b c", ""},
		{"positions of other files too", []task{{"a", 5, deletes{"p": 1000}, nil, nil}, {"b", 5, deletes{"p": 1000}, nil, nil}, {"c", 1, deletes{"p": 1000}, nil, nil}}, "a b|c", ""},
		{"one file more than a pass", []task{{"a", 1, deletes{"p": 1}, nil, nil}, {"b", 20, deletes{"q": 20}, nil, nil}, {"c", 1, deletes{"r": 1}, nil, nil}}, "a|b|c", ""},
		{"a file that is refused", []task{{"a", 1, deletes{"p": 1}, nil, nil}, {"b", 30, deletes{"q": 21}, nil, nil}}, "", "b"},
		{"vectors", []task{{"a", 900, nil, deletes{"v": 160}, nil}, {"b", 900, nil, deletes{"w": 160}, nil}, {"c", 9, nil, deletes{"x": 1}, nil}}, "a b|c", ""},
		{"the same keys for several", []task{{"a", 9, nil, nil, deletes{"k": 3}}, {"b", 9, nil, nil, deletes{"l": 3}}, {"c", 9, nil, nil, deletes{"k": 3}}, {"d", 9, nil, nil, deletes{"l": 3}}}, "a c|b d", ""},
		{"combinations of keys", []task{{"a", 9, nil, nil, deletes{"k": 1, "l": 1}}, {"b", 9, nil, nil, deletes{"k": 1, "l": 1}}, {"c", 9, nil, nil, deletes{"l": 1, "m": 1}}}, "a b|c", ""},
		{"keys that are refused", []task{{"a", 9, nil, nil, deletes{"k": 11}}}, "", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := func(content iceberg.ManifestEntryContent, all deletes) (out []iceberg.DataFile) {
				for path, n := range all {
					out = append(out, deleteFile(t, content, path, n))
				}
				slices.SortFunc(out, func(a, b iceberg.DataFile) int { return strings.Compare(a.FilePath(), b.FilePath()) })
				return out
			}
			var tasks []table.FileScanTask
			for _, one := range c.tasks {
				tasks = append(tasks, table.FileScanTask{
					File: deleteFile(t, iceberg.EntryContentData, one.data, one.rows), DeleteFiles: files(iceberg.EntryContentPosDeletes, one.positions),
					DeletionVectorFiles: files(iceberg.EntryContentPosDeletes, one.vector), EqualityDeleteFiles: files(iceberg.EntryContentEqDeletes, one.keys),
				})
			}
			parted, err := passes(tasks, 10*positionBytes, 20*positionBytes)
			if c.refused != "" {
				if err == nil || !strings.Contains(err.Error(), "data file "+c.refused+" take") {
					t.Errorf("%v, want that %s is refused", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var all []string
			for _, tasks := range parted {
				var names []string
				for _, one := range tasks {
					names = append(names, one.File.FilePath())
				}
				all = append(all, strings.Join(names, " "))
			}
			if got := strings.Join(all, "|"); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
