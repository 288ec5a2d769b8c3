package file

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/firn-io/firn/kfs/blob"
)

// TestCopyBetweenDirectories copies from one folder to another, and makes files of their own.
func TestCopyBetweenDirectories(t *testing.T) {
	from, into := openTemp(t), openTemp(t)
	if _, err := from.Put(t.Context(), "a/b", []byte("records"), true); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Copy(t.Context(), blob.Prefix(from, "a/"), "b", into, "c/d", 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from.root.Name(), "a/b"), []byte("damaged"), 0o666); err != nil {
		t.Fatal(err)
	}
	if got, _, err := blob.ReadAll(t.Context(), into, "c/d", blob.All, 100); err != nil || string(got) != "records" {
		t.Errorf("the copy holds %q, %v", got, err)
	}
	readOnly, err := OpenReadOnly(from.root.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	if _, err := into.Copy(t.Context(), readOnly, "a/b", "e"); err != nil {
		t.Errorf("from a store that is open for reading: %v", err)
	}
	if _, err := readOnly.Copy(t.Context(), into, "e", "f"); !errors.Is(err, errReadOnly) {
		t.Errorf("into a store that is open for reading: %v", err)
	}
}
