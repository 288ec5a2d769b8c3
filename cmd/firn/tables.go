package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/runtime/job"
)

// tableFlags are what commands about the tables of jobs share.
type tableFlags struct {
	files  []string
	data   string
	store  string
	asJSON bool
}

func (f *tableFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVarP(&f.files, "file", "f", nil, "job `file`; repeatable; without one the job of firn dev")
	c.Flags().StringVar(&f.data, "data", defaultData, "`folder` of the catalog and the store where a job file names none")
	c.Flags().StringVar(&f.store, "store", "", storeHelp+"; overrides source.store of the job files")
	c.Flags().BoolVar(&f.asJSON, "json", false, "print JSON")
}

// jobTables is a job with what it has filled, as its object in the bucket says it.
type jobTables struct {
	job     *job.Job
	store   blob.Store
	catalog *catalog.Catalog
	tables  []kfs.JobTable // the dead-letter table is not among them
	halts   []kfs.JobHalt
	workers []kfs.JobWorker
	closers []io.Closer
}

// errNotRun says that nothing is known of a job.
var errNotRun = errors.New("the job has not run on this store, or not for five seconds yet")

// Close releases what is open.
func (j *jobTables) Close() error {
	var errs []error
	for _, c := range slices.Backward(j.closers) {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// each does something for every job of the flags, whatever comes of the others.
func (f *tableFlags) each(ctx context.Context, do func(*jobTables) error) error {
	jobs, err := readJobs(f.files)
	if err != nil {
		return err
	}
	var errs []error
	for _, j := range jobs {
		opened, err := f.open(ctx, j)
		if err != nil {
			errs = append(errs, fmt.Errorf("job %s: %w", j.Name, err))
			continue
		}
		errs = append(errs, do(opened), opened.Close())
	}
	return errors.Join(errs...)
}

// named are the job's tables, its dead letters included, or those of them that are named.
func (j *jobTables) named(names []string) []string {
	var all []string
	for _, t := range append(slices.Clone(j.tables), kfs.JobTable{Table: j.job.DeadLetterTable()}) {
		if len(names) == 0 || slices.Contains(names, t.Table) {
			all = append(all, t.Table)
		}
	}
	return all
}

// unlooked tells why a table that was named was not looked at; known are the jobs' tables.
func unlooked(name string, known []string) error {
	if slices.Contains(known, name) {
		return fmt.Errorf("nothing has come for %s yet: there is no such table", name)
	}
	return fmt.Errorf("%s is none of the job's tables; without arguments all of them are looked at", name)
}

// jobObject reads what a job has said of itself last. blob.ErrNotFound if it has not.
func jobObject(ctx context.Context, store blob.Store, name string) (*kfs.Job, error) {
	body, _, err := blob.ReadAll(ctx, store, kfs.JobKey(name), blob.All, kfs.MaxJobBytes)
	if err != nil {
		return nil, err
	}
	f, err := kfs.DecodeJob(body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kfs.JobKey(name), err)
	}
	return f, nil
}

func (f *tableFlags) open(ctx context.Context, j *job.Job) (opened *jobTables, err error) {
	opened = &jobTables{job: j}
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.Close())
		}
	}()
	url := cmp.Or(f.store, j.Source.Store, filepath.Join(f.data, "store"))
	if opened.store, err = openStore(ctx, url); err != nil {
		return opened, err
	}
	if c, ok := opened.store.(io.Closer); ok {
		opened.closers = append(opened.closers, c)
	}
	known, err := jobObject(ctx, opened.store, j.Name)
	if errors.Is(err, blob.ErrNotFound) {
		return opened, fmt.Errorf("%s has no %s: %w", url, kfs.JobKey(j.Name), errNotRun)
	}
	if err != nil {
		return opened, err
	}
	if opened.catalog, err = presentCatalog(ctx, j.Catalog, f.data); err != nil {
		return opened, err
	}
	opened.closers = append(opened.closers, opened.catalog)
	opened.tables, opened.halts, opened.workers = known.Tables, known.Halts, known.Workers
	template, err := j.Template()
	if err != nil {
		return opened, err
	}
	if template.ByContent() { // what the object says of all tables of a topic together is no table
		opened.tables = slices.DeleteFunc(opened.tables, func(t kfs.JobTable) bool { return strings.ContainsRune(t.Table, '{') })
	}
	return opened, nil
}
