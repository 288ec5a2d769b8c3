//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestIntegrationSchemaEvolves produces records one after the other, each when the one before is visible, so that every change meets a
// table with data. A reader that is not ours must see every value as it was produced, and the record that fits nowhere in the
// dead-letter table.
func TestIntegrationSchemaEvolves(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	firn := start(t, "dev", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--partitions", "1")
	client := newClient(t, firn, kgo.DefaultProduceTopic("evolve"))
	steps := []string{
		`{"id": 0, "later": null, "n": 1}`,
		`{"id": 1, "later": null, "n": 3000000000}`,
		`{"id": 2, "later": "text", "n": 9007199254740991, "new": true}`,
		`{"id": 3, "o": {"a": 1, "empty": {}, "list": []}}`,
		`{"id": 4, "o": {"a": 2, "b": {"c": "deep"}, "list": [1, 2]}}`,
		`{"id": 5, "n": 1.5}`,
		`{"id": 6, "o": {"list": [0.5, null]}, "big": 9223372036854775807, "small": -9223372036854775808}`,
		`{"id": 7, "n": null, "ünïcode": "né 🌍 \u0041\n"}`,
	}
	want := map[float64]map[string]any{}
	for i, value := range steps {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(value)).FirstErr(); err != nil {
			t.Fatal(err)
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(value), &row); err != nil {
			t.Fatal(err)
		}
		want[row["id"].(float64)] = row
		eventually(t, func() error {
			rows, err := readRows(t, data, "default.evolve")
			if err == nil && len(rows) != i+1 {
				err = fmt.Errorf("%d rows, want %d", len(rows), i+1)
			}
			return err
		})
	}
	for _, bad := range []string{`no json`, `[1]`, `{"id": "text where numbers are"}`} {
		if err := client.ProduceSync(t.Context(), kgo.StringRecord(bad)).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := readRows(t, data, "default.evolve")
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range rows {
		row := want[got["id"].(float64)]
		for key, value := range row {
			if !sameJSON(got[key], value) {
				t.Errorf("record %v: %s = %v, want %v", got["id"], key, got[key], value)
			}
		}
	}
	eventually(t, func() error {
		dead, err := readRows(t, data, "default.firn_dead_letter")
		if err == nil && len(dead) != 3 {
			err = fmt.Errorf("%d dead letters, want 3: %v", len(dead), dead)
		}
		return err
	})
}

// sameJSON compares a value of the table with one of the input, whose empty containers and nulls may have no column yet.
func sameJSON(got, want any) bool {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return got == nil && len(w) == 0
		}
		for key, value := range w {
			if !sameJSON(g[key], value) {
				return false
			}
		}
		return true
	case []any:
		return reflect.DeepEqual(got, want) || len(w) == 0 && got == nil
	}
	return reflect.DeepEqual(got, want)
}

// readRows reads a whole table with pyiceberg.
func readRows(t *testing.T, data, table string) ([]map[string]any, error) {
	out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/rows.py", filepath.Join(data, "catalog.db"), filepath.Join(data, "warehouse"), table)
	if err != nil {
		return nil, err
	}
	var rows []map[string]any
	return rows, json.Unmarshal([]byte(out), &rows)
}
