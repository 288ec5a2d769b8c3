package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/file"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/kfs/blob/s3"
	"github.com/firn-io/firn/kfs/namespace"
	"github.com/firn-io/firn/kfs/redacted"
	"github.com/firn-io/firn/runtime/host"
)

const storeHelp = host.StoreHelp

// storeName is a store's URL or folder without its parameters, to be told to clients.
func storeName(text string) string {
	name, _, _ := strings.Cut(text, "?")
	return redacted.URL(name)
}

// openStore opens the namespace that a URL names, where something is expected to be: a folder that is not there is not made. A namespace that is
// being restored is refused.
func openStore(ctx context.Context, text string) (blob.Store, error) {
	if dir, ok, err := open.Folder(text); err == nil && ok {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("store %s: there is no such folder", storeName(text))
		}
	}
	store, err := open.Store(ctx, text)
	if err != nil {
		return nil, err
	}
	return store, usable(ctx, text, store)
}

// usable refuses a namespace that is being restored.
func usable(ctx context.Context, text string, store blob.Store) error {
	if err := namespace.Usable(ctx, store); err != nil {
		return fmt.Errorf("store %s: %w", storeName(text), err)
	}
	return nil
}

// openObject opens what firn kfs looks into, for reading only: a namespace, or a single object, which key then names.
func openObject(ctx context.Context, text string) (store blob.Store, key string, err error) {
	dir, ok, err := open.Folder(text)
	switch {
	case err != nil:
		return nil, "", err
	case ok:
		if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
			dir, key = filepath.Split(dir)
		}
		if store, err = file.OpenReadOnly(dir); err == nil && key == "" {
			err = usable(ctx, text, store)
		}
		return store, key, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, "", fmt.Errorf("store URL: %w", redacted.ParseError(err))
	}
	if strings.HasSuffix(u.Path, ".kfs") || strings.HasSuffix(u.Path, ".kfm") || strings.HasSuffix(u.Path, ".index") {
		i := strings.LastIndexByte(u.Path, '/')
		u.Path, key = u.Path[:i], u.Path[i+1:]
	}
	if store, err = s3.Open(ctx, u.String()); err == nil && key == "" {
		err = usable(ctx, text, store)
	}
	return store, key, err
}
