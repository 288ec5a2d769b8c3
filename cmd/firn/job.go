package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs/redacted"
	"github.com/firn-io/firn/processors/exec"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/jsonl"
	"github.com/firn-io/firn/processors/transform"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/plugin"
	"github.com/firn-io/firn/runtime/spelling"
)

// defaultCatalog is the catalog's name where a job file names none. It is also what pyiceberg takes when it is given none.
const defaultCatalog = "default"

// runner is what runs the jobs of this program: what is built in.
func (p *program) runner() *host.Program {
	transforms := transform.Kinds()
	transforms["exec"] = exec.Kind()
	tables := icebergSink
	tables.Check, tables.CheckTable, tables.Reserved = checkIceberg, iceberg.CheckTable, iceberg.Reserved
	return &host.Program{
		Transforms: transforms,
		Sinks:      plugin.Sinks{"iceberg": tables, "jsonl": jsonl.Kind()},
		Sink:       "iceberg",
		Getenv:     os.LookupEnv, Out: p.out, Terminal: isTerminal(p.out), Logger: p.logger, Name: processName(),
	}
}

// isTerminal reports whether somebody watches what is written.
func isTerminal(out any) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// readJobs reads job files, or gives the default job if there are none.
func readJobs(paths []string) ([]*job.Job, error) {
	runner := (&program{}).runner()
	if len(paths) > 0 {
		return runner.Read(paths)
	}
	j, err := runner.Default()
	return []*job.Job{j}, err
}

// openCatalog opens the catalog of a job file, or the one below the data folder if it names none. where tells people about it.
func openCatalog(ctx context.Context, properties map[string]string, data string) (c *catalog.Catalog, where string, err error) {
	if properties, err = catalogProperties(properties, data); err != nil {
		return nil, "", err
	}
	c, err = catalog.Open(ctx, catalogConfig(properties))
	return c, redacted.URL(properties["uri"]), err
}

// presentCatalog is openCatalog for those who look at tables of a job that has run: where there is no catalog, an empty one would only tell
// them that all tables are gone.
func presentCatalog(ctx context.Context, properties map[string]string, data string) (*catalog.Catalog, error) {
	properties, err := catalogProperties(properties, data)
	if err != nil {
		return nil, err
	}
	cfg := catalogConfig(properties)
	if path, ok := cfg.File(); ok {
		if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("there is no catalog %s: give the --data that the job runs with, or the catalog in the job file", path)
		}
	}
	return catalog.Open(ctx, cfg)
}

// catalogProperties are those of a job file, or those of the catalog below the data folder.
func catalogProperties(properties map[string]string, data string) (map[string]string, error) {
	if len(properties) > 0 {
		return properties, nil
	}
	abs, err := filepath.Abs(data)
	if err != nil {
		return nil, err
	}
	return map[string]string{
		"type": "sqlite", "uri": "sqlite:///" + filepath.Join(abs, "catalog.db"), "warehouse": "file://" + filepath.Join(abs, "warehouse"),
	}, nil
}

// icebergTables opens the Iceberg tables of one job.
type icebergTables struct {
	*iceberg.Factory
	catalog *catalog.Catalog
	where   string
}

// Place implements plugin.Placed.
func (t *icebergTables) Place() string { return t.where }

// Close closes the catalog.
func (t *icebergTables) Close() error { return t.catalog.Close() }

// icebergSink is the kind of tables that jobs have by default. Its settings are the catalog's properties.
var icebergSink = plugin.NewSink(func(ctx context.Context, properties map[string]string, env plugin.SinkEnv) (*icebergTables, error) {
	lake, where, err := openCatalog(ctx, properties, env.Data)
	if err != nil {
		return nil, err
	}
	return &icebergTables{icebergFactory(lake, env), lake, where}, nil
})

// icebergFactory opens the tables of a job in a catalog that is open.
func icebergFactory(lake *catalog.Catalog, env plugin.SinkEnv) *iceberg.Factory {
	return iceberg.New(iceberg.Config{
		Catalog:   lake,
		Options:   catalog.Options{Job: env.Job, Writer: writerName(), Config: env.Config, Store: env.Store},
		FileBytes: env.FileBytes, MemoryBytes: env.MemoryBytes, Spill: env.Spill, Allocator: env.Allocator,
	})
}

// checkIceberg checks what needs no catalog.
func checkIceberg(settings plugin.Decode) error {
	properties := map[string]string{}
	if err := settings(&properties); err != nil || len(properties) == 0 {
		return err
	}
	cfg := catalogConfig(properties)
	var errs []error
	known := append(cfg.Known(), "type", "name")
	for _, key := range slices.Sorted(maps.Keys(properties)) {
		if near := spelling.Nearest(key, known); near != "" && !slices.Contains(known, key) {
			errs = append(errs, fmt.Errorf("unknown property %q: did you mean %q?", key, near))
		}
	}
	return errors.Join(append(errs, cfg.Validate())...)
}

// catalogConfig is a catalog as a job file has it.
func catalogConfig(properties map[string]string) catalog.Config {
	rest := maps.Clone(properties)
	delete(rest, "type")
	delete(rest, "name")
	return catalog.Config{Type: properties["type"], Name: cmp.Or(properties["name"], defaultCatalog), Properties: rest}
}

// writerName tells apart the processes that write to a table.
func writerName() string {
	var random [8]byte
	rand.Read(random[:]) // never fails
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return fmt.Sprintf("%s-%s", host, hex.EncodeToString(random[:]))
}
