package catalog

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path"
	"slices"
	"strings"

	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// lister is a client that knows what there is. Every catalog of iceberg-go is one.
type lister interface {
	tableLister
	ListNamespaces(ctx context.Context, parent table.Identifier) ([]table.Identifier, error)
}

// tableLister is a client that knows the tables of a namespace.
type tableLister interface {
	ListTables(ctx context.Context, namespace table.Identifier) iter.Seq2[table.Identifier, error]
}

var _ lister = icebergcat.Catalog(nil)

// List names the tables of a namespace, each as namespace.table. A namespace that does not exist has none.
func (c *Catalog) List(ctx context.Context, namespace string) ([]string, error) {
	l, ok := c.client.(tableLister)
	if !ok {
		return nil, errors.New("the catalog does not list its tables")
	}
	var names []string
	for ident, err := range l.ListTables(ctx, icebergcat.ToIdentifier(namespace)) {
		if errors.Is(err, icebergcat.ErrNoSuchNamespace) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list tables of %s: %w", namespace, err)
		}
		names = append(names, strings.Join(ident, "."))
	}
	return names, nil
}

// Place is where the files of a table are.
type Place struct {
	Table    string   // namespace.table
	Location string   // as the catalog has it
	Folders  []string // that its files may lie in: the location, paths that its properties name, where its metadata files are and were
}

// Path is a location without its scheme, so that s3, s3a and file://, which name the same, look the same.
func Path(location string) string {
	if scheme, rest, ok := strings.Cut(location, "://"); ok && scheme != "" {
		location = rest
	} else {
		location = strings.TrimPrefix(location, "file:")
	}
	return "/" + strings.Trim(path.Clean("/"+location), "/")
}

// Below reports whether a path, as Path gives it, is another or lies in it.
func Below(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, strings.TrimRight(folder, "/")+"/")
}

// Places gives the places of all tables of the catalog, in no order: one load for each. An error ends the sequence.
func (c *Catalog) Places(ctx context.Context) iter.Seq2[Place, error] {
	return func(yield func(Place, error) bool) {
		l, ok := c.client.(lister)
		if !ok {
			yield(Place{}, errors.New("the catalog does not list its tables"))
			return
		}
		for ident, err := range idents(ctx, l) {
			if err != nil {
				yield(Place{}, err)
				return
			}
			t, err := c.load(ctx, ident)
			if errors.Is(err, ErrNoTable) {
				continue // it was dropped in between
			}
			if err != nil {
				yield(Place{}, err)
				return
			}
			if !yield(Place{strings.Join(ident, "."), t.Location(), folders(t)}, nil) {
				return
			}
		}
	}
}

// pathProperties name folders of a table beside its location. The last two are what the first was called before.
var pathProperties = []string{table.WriteDataPathKey, table.WriteMetadataPathKey, "write.object-storage.path", "write.folder-storage.path"}

// folders are the places of a table's files, each once. A table that was moved has left files where its older metadata lies.
func folders(t *table.Table) []string {
	all := []string{t.Location()}
	for _, key := range pathProperties {
		if folder := t.Properties()[key]; folder != "" {
			all = append(all, folder)
		}
	}
	metadata := []string{t.MetadataLocation()}
	for e := range t.Metadata().PreviousFiles() {
		metadata = append(metadata, e.MetadataFile)
	}
	for _, file := range metadata {
		folder := file[:max(0, strings.LastIndex(file, "/"))]
		if t.Properties()[table.WriteMetadataPathKey] == "" {
			folder = strings.TrimSuffix(folder, "/metadata") // where tables have it: data lies beside it
		}
		if folder != "" {
			all = append(all, folder)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// idents lists the tables of all namespaces.
func idents(ctx context.Context, l lister) iter.Seq2[table.Identifier, error] {
	return func(yield func(table.Identifier, error) bool) {
		seen := map[string]bool{}
		queue := []table.Identifier{nil}
		for len(queue) > 0 {
			parent := queue[0]
			queue = queue[1:]
			namespaces, err := l.ListNamespaces(ctx, parent)
			if err != nil {
				yield(nil, fmt.Errorf("list namespaces: %w", err))
				return
			}
			for _, namespace := range namespaces {
				name := strings.Join(namespace, "\x1f")
				if seen[name] {
					continue
				}
				seen[name] = true
				queue = append(queue, namespace)
				for ident, err := range l.ListTables(ctx, namespace) {
					if err != nil {
						yield(nil, fmt.Errorf("list tables of %s: %w", strings.Join(namespace, "."), err))
						return
					}
					if !yield(ident, nil) {
						return
					}
				}
			}
		}
	}
}
