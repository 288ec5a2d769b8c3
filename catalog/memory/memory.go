// Package memory is a catalog in memory, its tables' files included: for tests, and for those who want to know what a table would be
// without making one.
package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icebergio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
)

// Catalog is a catalog in memory, its tables' files included. It is safe for concurrent use.
type Catalog struct {
	fs *icebergio.MemFS

	mu         sync.Mutex // guards what follows
	namespaces map[string]bool
	tables     map[string]stored
}

// stored is a table's metadata as bytes, so that nobody holds a part of what others read.
type stored struct {
	metadata []byte
	version  int
}

var _ catalog.Client = (*Catalog)(nil)

// New makes a catalog without tables.
func New() *Catalog {
	return &Catalog{fs: icebergio.NewMemFS(), namespaces: map[string]bool{}, tables: map[string]stored{}}
}

// CreateNamespace makes a namespace.
func (c *Catalog) CreateNamespace(_ context.Context, namespace table.Identifier, _ iceberg.Properties) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.Join(namespace, ".")
	if c.namespaces[name] {
		return fmt.Errorf("%w: %s", icebergcat.ErrNamespaceAlreadyExists, name)
	}
	c.namespaces[name] = true
	return nil
}

// CreateTable makes a table.
func (c *Catalog) CreateTable(_ context.Context, ident table.Identifier, schema *iceberg.Schema, opts ...icebergcat.CreateTableOpt) (*table.Table, error) {
	cfg := icebergcat.NewCreateTableCfg()
	for _, opt := range opts {
		opt(&cfg)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.Join(ident, ".")
	if namespace := strings.Join(ident[:len(ident)-1], "."); !c.namespaces[namespace] {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrNoSuchNamespace, namespace)
	}
	if _, ok := c.tables[name]; ok {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrTableAlreadyExists, name)
	}
	meta, err := table.NewMetadata(schema, cfg.PartitionSpec, cfg.SortOrder, cmp.Or(cfg.Location, "mem://fake/"+name), cfg.Properties)
	if err != nil {
		return nil, err
	}
	if err := c.put(name, meta, 0); err != nil {
		return nil, err
	}
	return c.load(ident)
}

// LoadTable reads a table.
func (c *Catalog) LoadTable(_ context.Context, ident table.Identifier) (*table.Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.load(ident)
}

// ListTables gives the tables of a namespace, in order of their names.
func (c *Catalog) ListTables(_ context.Context, namespace table.Identifier) iter.Seq2[table.Identifier, error] {
	return func(yield func(table.Identifier, error) bool) {
		c.mu.Lock()
		names := slices.Sorted(maps.Keys(c.tables))
		c.mu.Unlock()
		prefix := strings.Join(namespace, ".") + "."
		for _, name := range names {
			if rest, ok := strings.CutPrefix(name, prefix); ok && !strings.Contains(rest, ".") && !yield(icebergcat.ToIdentifier(name), nil) {
				return
			}
		}
	}
}

// CommitTable applies updates if every requirement holds.
func (c *Catalog) CommitTable(_ context.Context, ident table.Identifier, reqs []table.Requirement, updates []table.Update) (table.Metadata, string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, err := c.load(ident)
	if err != nil {
		return nil, "", err
	}
	for _, r := range reqs {
		if err := r.Validate(t.Metadata()); err != nil {
			return nil, "", err
		}
	}
	meta, err := table.UpdateTableMetadata(t.Metadata(), updates, t.MetadataLocation())
	if err != nil {
		return nil, "", err
	}
	name := strings.Join(ident, ".")
	if err := c.put(name, meta, c.tables[name].version+1); err != nil {
		return nil, "", err
	}
	return meta, location(name, c.tables[name].version), nil
}

// RenameTable gives a table another name.
func (c *Catalog) RenameTable(_ context.Context, from, to table.Identifier) (*table.Table, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, name := strings.Join(from, "."), strings.Join(to, ".")
	if _, ok := c.tables[old]; !ok {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, old)
	}
	if _, ok := c.tables[name]; ok {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrTableAlreadyExists, name)
	}
	c.tables[name] = c.tables[old]
	delete(c.tables, old)
	return c.load(to)
}

// DropTable removes a table; its files stay.
func (c *Catalog) DropTable(_ context.Context, ident table.Identifier) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := strings.Join(ident, ".")
	if _, ok := c.tables[name]; !ok {
		return fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, name)
	}
	delete(c.tables, name)
	return nil
}

// Drop removes a table; its files stay.
func (c *Catalog) Drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.tables, name)
}

// put stores metadata. The caller holds mu.
func (c *Catalog) put(name string, meta table.Metadata, version int) error {
	b, err := json.Marshal(meta)
	if err != nil {
		return err
	}
	c.tables[name] = stored{metadata: b, version: version}
	return nil
}

// load reads a table. The caller holds mu.
func (c *Catalog) load(ident table.Identifier) (*table.Table, error) {
	name := strings.Join(ident, ".")
	s, ok := c.tables[name]
	if !ok {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, name)
	}
	meta, err := table.ParseMetadataBytes(s.metadata)
	if err != nil {
		return nil, err
	}
	fs := func(ctx context.Context) (icebergio.IO, error) { return memoryFiles{c.fs, ctx}, nil }
	return table.New(ident, meta, location(name, s.version), fs, nil), nil
}

// memoryFiles are files that work only while the context lives with which they were asked for, as the library's S3 does it.
type memoryFiles struct {
	fs  *icebergio.MemFS
	ctx context.Context
}

var _ icebergio.WriteFileIO = memoryFiles{}

// Open opens a file.
func (m memoryFiles) Open(name string) (icebergio.File, error) {
	if err := m.ctx.Err(); err != nil {
		return nil, err
	}
	return m.fs.Open(name)
}

// Create begins a file.
func (m memoryFiles) Create(name string) (icebergio.FileWriter, error) {
	if err := m.ctx.Err(); err != nil {
		return nil, err
	}
	return m.fs.Create(name)
}

// WriteFile writes a file whole.
func (m memoryFiles) WriteFile(name string, content []byte) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return m.fs.WriteFile(name, content)
}

// Remove removes a file.
func (m memoryFiles) Remove(name string) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	return m.fs.Remove(name)
}

func location(name string, version int) string {
	return fmt.Sprintf("mem://fake/%s/metadata/%05d.metadata.json", name, version)
}
