package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/kfs/blob/s3"
)

const storeHelp = "where the log is: s3://bucket/prefix?endpoint=…&region=…, file:///dir or a folder"

// openStore opens the namespace that a URL names.
func openStore(ctx context.Context, text string) (blob.Store, error) {
	dir, ok, err := folder(text)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return file.Open(dir)
	}
	return s3.Open(ctx, text)
}

// storeName is a store's URL or folder without its parameters, to be told to clients.
func storeName(text string) string {
	name, _, _ := strings.Cut(text, "?")
	return name
}

// openObject opens what firn kfs looks into, for reading only: a namespace, or a single object, which key then names.
func openObject(ctx context.Context, text string) (store blob.Store, key string, err error) {
	dir, ok, err := folder(text)
	switch {
	case err != nil:
		return nil, "", err
	case ok:
		if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
			dir, key = filepath.Split(dir)
		}
		store, err = file.OpenReadOnly(dir)
		return store, key, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("%q: %w", text, err)
	}
	if strings.HasSuffix(u.Path, ".kfs") || strings.HasSuffix(u.Path, ".kfm") || strings.HasSuffix(u.Path, ".index") {
		i := strings.LastIndexByte(u.Path, '/')
		u.Path, key = u.Path[:i], u.Path[i+1:]
	}
	store, err = s3.Open(ctx, u.String())
	return store, key, err
}

// folder is the folder that a path or a file:// URL names. ok is false for URLs of object stores.
func folder(text string) (dir string, ok bool, err error) {
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
		return "", false, fmt.Errorf("store %q: there are s3:// and file://", text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", false, fmt.Errorf("store %q: %w", text, err)
	}
	if u.Host != "" || !filepath.IsAbs(u.Path) || u.RawQuery != "" {
		return "", false, fmt.Errorf("store %q: write file:///absolute/folder, with three slashes and nothing behind it", text)
	}
	return filepath.FromSlash(u.Path), true, nil
}
