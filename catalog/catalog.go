// Package catalog commits to Iceberg tables so that every offset of a source is in a table exactly once.
//
// The table is the only record of progress. Every commit of a job carries a receipt: in the snapshot's summary the ranges of source
// offsets that it accounts for, in a table property the job's cumulative position. Both are set in the same atomic commit as the data
// files, pinned to the snapshot that was read. So whoever commits, however often it is tried, whatever an answer says: a range is
// admitted only where the table's position stands, and at most once.
//
// The package promises that a Commit that returns nil has landed once; that one that returns an error either has not landed or can be
// told from the table later; and that two committers at once are safe. It never deletes a file that a request has named, never trusts
// the class or the text of a catalog's error, never lets the library retry on its own, and never goes on where a table says something
// that a person must judge (HaltError).
//
// A table can be made anew aside, on a branch or in a table of its own, with receipts and a position of its own (Catalog.Aside), and put in
// the place of what was there by one commit that is pinned to it (Catalog.Swap, Catalog.Seal).
//
// Sources are opaque strings. What is before the last slash names a stream, see Stream.
package catalog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// Config says which catalog to open, in the words of pyiceberg and iceberg-go.
type Config struct {
	Type       string            // sqlite, sql (by uri), rest
	Name       string            // the catalog's name, which SQL catalogs store beside every table; empty is "default"
	Properties map[string]string // uri, warehouse, credential, …
}

// Client is what the protocol asks of a catalog. Every catalog of iceberg-go is one.
type Client interface {
	LoadTable(ctx context.Context, ident table.Identifier) (*table.Table, error)
	CreateTable(ctx context.Context, ident table.Identifier, schema *iceberg.Schema, opts ...icebergcat.CreateTableOpt) (*table.Table, error)
	CommitTable(ctx context.Context, ident table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error)
	CreateNamespace(ctx context.Context, namespace table.Identifier, props iceberg.Properties) error
}

var _ Client = icebergcat.Catalog(nil)

// Catalog is an open catalog. It is safe for concurrent use.
type Catalog struct {
	client Client
	// defaults are the properties of new tables that the kind of catalog asks for.
	defaults map[string]string
	closers  []io.Closer
	// ownsMetadata says that this process writes the tables' metadata files, so that removing old ones is its task too.
	ownsMetadata bool
}

// kind is one kind of catalog.
type kind struct {
	check func(props map[string]string) error // what is wrong with properties, as far as that is known without connecting
	open  func(ctx context.Context, name string, props map[string]string) (*Catalog, error)
	known []string // its own properties
}

// kinds are the catalogs that Open knows.
var kinds = map[string]kind{
	"sqlite": {checkSQLite, openSQLite, []string{"uri", "warehouse"}},
	"sql":    {checkSQL, openSQL, []string{"uri", "warehouse"}},
	"rest":   {checkREST, openREST, []string{"uri", "warehouse", "credential", "token", "scope", "prefix", "oauth2-server-uri"}},
}

// storageProperties are properties of where tables lie that most who have them need. There are more.
var storageProperties = []string{"s3.endpoint", "s3.region", "s3.access-key-id", "s3.secret-access-key", "s3.session-token", "s3.force-virtual-addressing"}

// Known is the properties that are common for such a catalog. There may be others, which are handed on to what the tables lie in.
func (c Config) Known() []string { return slices.Concat(kinds[c.Type].known, storageProperties) }

// Validate says what is wrong, as far as that is known without connecting to anything.
func (c Config) Validate() error {
	k, ok := kinds[c.Type]
	if !ok {
		return fmt.Errorf("type %q is not known; there is %s", c.Type, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	return k.check(c.Properties)
}

// Open connects to a catalog. Close it when done.
func Open(ctx context.Context, cfg Config) (*Catalog, error) {
	if cfg.Name == "" {
		cfg.Name = "default"
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("catalog %s: %w", cfg.Name, err)
	}
	c, err := kinds[cfg.Type].open(ctx, cfg.Name, cfg.Properties)
	if err != nil {
		return nil, fmt.Errorf("open %s catalog %s: %w", cfg.Type, cfg.Name, err)
	}
	return c, nil
}

// New makes a Catalog of a client that is open already. Close leaves the client open.
func New(client Client) *Catalog { return &Catalog{client: client} }

// Client is what the catalog asks, for those who wrap it.
func (c *Catalog) Client() Client { return c.client }

// Close releases what Open has opened.
func (c *Catalog) Close() error {
	var errs []error
	for _, closer := range c.closers {
		errs = append(errs, closer.Close())
	}
	return errors.Join(errs...)
}

// ParseIdentifier reads namespace.table, where a namespace may have several levels, and refuses what some catalog or engine cannot
// hold: empty parts, slashes, control characters, and the dots alone that are paths.
func ParseIdentifier(s string) (table.Identifier, error) {
	ident := icebergcat.ToIdentifier(s)
	if len(ident) < 2 {
		return nil, fmt.Errorf("table %q has no namespace: write namespace.table", s)
	}
	if err := icebergcat.ValidateTableIdentifier(ident); err != nil {
		return nil, fmt.Errorf("table %q: write namespace.table, without empty parts, slashes or control characters", s)
	}
	return ident, nil
}

// requestTimeout bounds the load of a table and a commit. A catalog that does not answer, and does not hang up either, would hold a table up for
// ever; what became of a commit, the table tells.
const requestTimeout = time.Minute

// load reads a table; ErrNoTable if it, or its namespace, does not exist.
func (c *Catalog) load(ctx context.Context, ident table.Identifier) (*table.Table, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	t, err := c.client.LoadTable(ctx, ident)
	switch {
	case errors.Is(err, icebergcat.ErrNoSuchTable), errors.Is(err, icebergcat.ErrNoSuchNamespace):
		return nil, fmt.Errorf("%s: %w", strings.Join(ident, "."), ErrNoTable)
	case err != nil:
		return nil, fmt.Errorf("load table %s: %w", strings.Join(ident, "."), err)
	}
	return t, nil
}

// create makes the table, and its namespace where that is missing. Whatever an attempt answers, the table that is there afterwards
// is the result: another writer's is as good.
func (c *Catalog) create(ctx context.Context, ident table.Identifier, schema *iceberg.Schema, spec *iceberg.PartitionSpec, props map[string]string) (*table.Table, error) {
	all := iceberg.Properties{table.PropertyFormatVersion: "2"}
	maps.Copy(all, c.defaults)
	maps.Copy(all, props)
	opts := []icebergcat.CreateTableOpt{icebergcat.WithProperties(all)}
	if spec != nil {
		opts = append(opts, icebergcat.WithPartitionSpec(spec))
	}
	t, err := c.client.CreateTable(ctx, ident, schema, opts...)
	if errors.Is(err, icebergcat.ErrNoSuchNamespace) {
		namespace := icebergcat.NamespaceFromIdent(ident)
		for i := range namespace {
			// A namespace that is there already is as good, and if this one is not, creating the table tells.
			_ = c.client.CreateNamespace(ctx, namespace[:i+1], nil)
		}
		t, err = c.client.CreateTable(ctx, ident, schema, opts...)
	}
	if err == nil {
		return t, nil
	}
	if t, loadErr := c.load(ctx, ident); loadErr == nil {
		return t, nil
	}
	return nil, fmt.Errorf("create table %s: %w", strings.Join(ident, "."), err)
}
