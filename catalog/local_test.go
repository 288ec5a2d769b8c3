package catalog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/iceberg-go/io"
)

// TestSyncLocalFiles shows that the library's file:// is ours afterwards, also when it is called twice, and that it writes what it is given.
func TestSyncLocalFiles(t *testing.T) {
	SyncLocalFiles()
	SyncLocalFiles()
	dir := t.TempDir()
	fs, err := io.LoadFS(t.Context(), nil, "file://"+dir)
	if err != nil {
		t.Fatal(err)
	}
	writer, ok := fs.(syncedFiles)
	if !ok {
		t.Fatalf("file:// is %T", fs)
	}
	if err := writer.WriteFile("file://"+dir+"/deep/er/a", []byte("one")); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "deep/er/a")); err != nil || string(got) != "one" {
		t.Errorf("read %q, %v", got, err)
	}
	w, err := writer.Create(filepath.Join(dir, "b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err == nil {
		t.Error("a file that cannot be synced is closed without an error")
	}
	if err := writer.WriteFile(dir, nil); err == nil {
		t.Error("a folder was written as a file")
	}
}
