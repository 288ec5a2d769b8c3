package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	icebergsql "github.com/apache/iceberg-go/catalog/sql"
	"github.com/apache/iceberg-go/table"
	_ "modernc.org/sqlite" // the database/sql driver "sqlite"

	"github.com/firn-io/firn/kfs/redacted"
)

// openSQL opens the SQL catalog that the uri's scheme names.
func openSQL(ctx context.Context, name string, props map[string]string) (*Catalog, error) {
	if err := checkSQL(props); err != nil {
		return nil, err
	}
	return openSQLite(ctx, name, props)
}

func checkSQL(props map[string]string) error {
	if uri := props["uri"]; !strings.HasPrefix(uri, "sqlite:") {
		return fmt.Errorf("uri %q: the sql catalog is there for sqlite:////absolute/path/catalog.db", redacted.URL(uri))
	}
	return checkSQLite(props)
}

func checkSQLite(props map[string]string) error {
	_, uri := sqlitePath(props["uri"])
	_, warehouse := warehouseLocation(props["warehouse"])
	return errors.Join(uri, warehouse)
}

// openSQLite opens a catalog in a SQLite file. Its properties: uri, sqlite:////absolute/path/catalog.db as pyiceberg writes it;
// warehouse, the absolute location of new tables. The tables' files are written by this process, so old metadata files are removed
// by it too.
func openSQLite(_ context.Context, name string, props map[string]string) (*Catalog, error) {
	path, err := sqlitePath(props["uri"])
	if err != nil {
		return nil, err
	}
	warehouse, err := warehouseLocation(props["warehouse"])
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("directory of the catalog file: %w", err)
	}
	// WAL lets readers in while a commit writes; the timeout makes a second writer wait instead of fail.
	dsn := (&url.URL{Scheme: "file", Path: path}).String() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)"
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for key, value := range props {
		all[key] = value
	}
	all["warehouse"] = warehouse
	client, err := icebergsql.NewCatalog(name, db, icebergsql.SQLite, all)
	if err != nil {
		db.Close()
		return nil, err
	}
	return &Catalog{
		client: client,
		defaults: map[string]string{
			table.MetadataDeleteAfterCommitEnabledKey: "true",
			table.MetadataPreviousVersionsMaxKey:      "20",
		},
		closers:      []io.Closer{client, db},
		ownsMetadata: true,
	}, nil
}

// File is the file in which the catalog lies; ok is false if it is none, or the configuration is wrong.
func (c *Config) File() (path string, ok bool) {
	if c.Type != "sqlite" && c.Type != "sql" {
		return "", false
	}
	path, err := sqlitePath(c.Properties["uri"])
	return path, err == nil
}

// sqlitePath is the file that a SQLAlchemy URL names: sqlite:////abs/catalog.db, or an absolute path.
func sqlitePath(uri string) (string, error) {
	path := uri
	if rest, ok := strings.CutPrefix(uri, "sqlite:"); ok {
		rest, ok = strings.CutPrefix(rest, "///")
		if !ok {
			return "", fmt.Errorf("uri %q: write sqlite:////absolute/path/catalog.db", redacted.URL(uri))
		}
		path = rest
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("uri %q is not absolute: write sqlite:////absolute/path/catalog.db", redacted.URL(uri))
	}
	return filepath.Clean(path), nil
}

// warehouseLocation is the warehouse as an absolute location with a scheme: engines resolve relative ones differently.
func warehouseLocation(s string) (string, error) {
	switch {
	case s == "":
		return "", fmt.Errorf("warehouse is missing: write file:///absolute/path")
	case filepath.IsAbs(s):
		return "file://" + filepath.Clean(s), nil
	case strings.HasPrefix(s, "file:///"), strings.Contains(s, "://") && !strings.HasPrefix(s, "file:"):
		return strings.TrimRight(s, "/"), nil
	}
	return "", fmt.Errorf("warehouse %q is not absolute: write file:///absolute/path", s)
}
