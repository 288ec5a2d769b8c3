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
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/kfs/blob/s3"
	"github.com/firn-io/firn/runtime/host"
)

const storeHelp = host.StoreHelp

// storeName is a store's URL or folder without its parameters, to be told to clients.
func storeName(text string) string {
	name, _, _ := strings.Cut(text, "?")
	return name
}

// openStore opens the namespace that a URL names.
func openStore(ctx context.Context, text string) (blob.Store, error) { return open.Store(ctx, text) }

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
