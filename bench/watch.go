package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the database/sql driver of the catalog file
)

// watcher looks at a table in the SQLite catalog of firn dev from another process, and notes when each offset became visible to it.
type watcher struct {
	data, table string
	location    string              // of the metadata that was read last
	seen        map[int64]bool      // snapshots
	offsets     int64               // visible ones
	visible     map[int32][]advance // partition → what each snapshot added, in order of time
}

type advance struct {
	base, next int64
	at         time.Time
}

func watch(data, table string) *watcher {
	return &watcher{data: data, table: table, seen: map[int64]bool{}, visible: map[int32][]advance{}}
}

// run polls until so many offsets are visible.
func (w *watcher) run(ctx context.Context, offsets int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var db *sql.DB
	for {
		select {
		case <-ctx.Done():
			if db != nil {
				db.Close()
			}
			return fmt.Errorf("%d of %d records are visible: %w", w.offsets, offsets, ctx.Err())
		case <-tick.C:
		}
		path := filepath.Join(w.data, "catalog.db")
		if db == nil {
			if _, err := os.Stat(path); err != nil {
				continue // not there yet
			}
			var err error
			if db, err = sql.Open("sqlite", "file:"+path+"?mode=ro&_pragma=busy_timeout(5000)"); err != nil {
				return err
			}
		}
		if err := w.poll(db); err != nil {
			return errors.Join(err, db.Close())
		}
		if w.offsets >= offsets {
			return db.Close()
		}
	}
}

func (w *watcher) poll(db *sql.DB) error {
	var location string
	err := db.QueryRow("select metadata_location from iceberg_tables where table_namespace = 'default' and table_name = ?", w.table).Scan(&location)
	switch {
	case errors.Is(err, sql.ErrNoRows), err != nil && strings.Contains(err.Error(), "no such table"):
		return nil
	case err != nil:
		return err
	case location == w.location:
		return nil
	}
	now := time.Now()
	text, err := os.ReadFile(strings.TrimPrefix(location, "file://"))
	if errors.Is(err, os.ErrNotExist) {
		return nil // replaced meanwhile by a newer one
	}
	if err != nil {
		return err
	}
	var metadata struct {
		Snapshots []struct {
			ID      int64             `json:"snapshot-id"`
			Summary map[string]string `json:"summary"`
		} `json:"snapshots"`
	}
	if err := json.Unmarshal(text, &metadata); err != nil {
		return fmt.Errorf("%s: %w", location, err)
	}
	for _, s := range metadata.Snapshots {
		if w.seen[s.ID] || s.Summary["firn.ranges"] == "" {
			continue
		}
		w.seen[s.ID] = true
		ranges := map[string][]int64{} // topic/topic id/partition → base, next, …
		if err := json.Unmarshal([]byte(s.Summary["firn.ranges"]), &ranges); err != nil {
			return err
		}
		for source, r := range ranges {
			p, err := strconv.ParseInt(source[strings.LastIndexByte(source, '/')+1:], 10, 32)
			if err != nil || len(r) < 2 {
				return fmt.Errorf("receipt of %s: %v", source, r)
			}
			if r[1] > r[0] {
				w.offsets += r[1] - r[0]
				w.visible[int32(p)] = append(w.visible[int32(p)], advance{r[0], r[1], now})
			}
		}
	}
	w.location = location
	return nil
}

// at is when the offset became visible.
func (w *watcher) at(partition int32, offset int64) (time.Time, bool) {
	for _, a := range w.visible[partition] {
		if a.base <= offset && offset < a.next {
			return a.at, true
		}
	}
	return time.Time{}, false
}
