// Package open opens the store that a URL names: an S3 bucket or a folder.
package open

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/kfs/blob/s3"
	"github.com/firn-io/firn/kfs/redacted"
)

// Store opens s3://bucket/prefix?endpoint=…&region=…, file:///dir, or the folder of a path. One that is an io.Closer is to be closed.
func Store(ctx context.Context, text string) (blob.Store, error) {
	dir, ok, err := Folder(text)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return file.Open(dir)
	}
	return s3.Open(ctx, text)
}

// Check says what is wrong with the text of a store, without looking for the store.
func Check(text string) error {
	_, isFolder, err := Folder(text)
	if err == nil && !isFolder {
		_, err = s3.ParseURL(text)
	}
	return err
}

// Folder is the folder that a path or a file:// URL names. ok is false for URLs of object stores.
func Folder(text string) (dir string, ok bool, err error) {
	scheme, _, isURL := strings.Cut(text, "://")
	switch {
	case text == "":
		return "", false, fmt.Errorf("no store was given: use --store")
	case !isURL:
		dir, err = filepath.Abs(text)
		return dir, true, err
	case scheme == "s3":
		return "", false, nil
	case scheme != "file":
		return "", false, fmt.Errorf("store %q: there are s3:// and file://", redacted.URL(text))
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", false, fmt.Errorf("store %q: %w", redacted.URL(text), redacted.ParseError(err))
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" {
		return "", false, fmt.Errorf("store %q: write file:///absolute/folder, with three slashes and nothing behind it", redacted.URL(text))
	}
	return filepath.FromSlash(u.Path), true, nil
}
