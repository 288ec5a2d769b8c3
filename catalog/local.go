package catalog

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"

	"github.com/apache/iceberg-go/io"
)

// SyncLocalFiles makes what iceberg-go writes to local folders (manifests, metadata) durable before the catalog points to it. The
// library's own files are not synced, so that after a power cut a catalog could name metadata that is not there. It replaces the
// library's handler of file:// for the whole process; main calls it once, before anything is opened.
func SyncLocalFiles() {
	for _, scheme := range []string{"file", ""} {
		io.Unregister(scheme)
		io.Register(scheme, func(context.Context, *url.URL, map[string]string) (io.IO, error) { return syncedFiles{}, nil })
	}
}

// syncedFiles is the library's local file system, with every file and its folder synced when it is closed.
type syncedFiles struct{ io.LocalFS }

var _ io.WriteFileIO = syncedFiles{}

// Create implements io.WriteFileIO.
func (f syncedFiles) Create(name string) (io.FileWriter, error) {
	w, err := f.LocalFS.Create(name)
	if err != nil {
		return nil, err
	}
	file, ok := w.(*os.File)
	if !ok {
		return nil, errors.Join(errors.New("the library's local files are no files"), w.Close())
	}
	return syncedFile{file}, nil
}

// WriteFile implements io.WriteFileIO.
func (f syncedFiles) WriteFile(name string, content []byte) error {
	w, err := f.Create(name)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return errors.Join(err, w.Close())
}

type syncedFile struct{ *os.File }

// Close syncs the file and the folder that names it.
func (f syncedFile) Close() error {
	err := f.Sync()
	if err := errors.Join(err, f.File.Close()); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(f.Name()))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
