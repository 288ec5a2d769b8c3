//go:build integration

package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/runtime/decode/decodetest"
)

// TestIntegrationWorld sends what the world sends. Nothing halts, each record is a row or a dead letter of its class, and two readers that are
// not ours see the same values in the table.
func TestIntegrationWorld(t *testing.T) {
	data := t.TempDir()
	firn := start(t, "dev", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0", "--partitions", "1")
	client := newClient(t, firn, kgo.DefaultProduceTopic("world"))
	values := decodetest.Values()
	letters := 0
	for _, v := range values {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Value: v.JSON}).FirstErr(); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if v.Class != "" {
			letters++
		}
	}
	classes := map[float64]string{}
	eventually(t, func() error {
		dead, err := readRows(t, data, "default.firn_dead_letter")
		if err == nil && len(dead) != letters {
			err = fmt.Errorf("%d dead letters, want %d", len(dead), letters)
		}
		for _, l := range dead {
			classes[l["kafka_offset"].(float64)] = l["error_class"].(string)
		}
		return err
	})
	var rows map[string]map[string]any
	eventually(t, func() error {
		out, err := run(t, fromEnv(t, "FIRN_PYTHON"), "testdata/both.py", filepath.Join(data, "catalog.db"), filepath.Join(data, "warehouse"), "default.world")
		if err != nil {
			return err
		}
		rows = nil
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			return err
		}
		if len(rows) != len(values)-letters {
			return fmt.Errorf("%d rows, want %d", len(rows), len(values)-letters)
		}
		return nil
	})
	for offset, v := range values {
		row, ok := rows[fmt.Sprint(offset)]
		if got := classes[float64(offset)]; got != v.Class || ok != (v.Class == "") {
			t.Errorf("%s: a row %t, class %q, want %q", v.Name, ok, got, v.Class)
		}
		if !ok || v.Class != "" {
			continue
		}
		var want map[string]any
		if err := json.Unmarshal([]byte(v.Row), &want); err != nil {
			t.Fatal(err)
		}
		for name, value := range row {
			if value != nil && want[name] == nil {
				t.Errorf("%s: %s is %v, want nothing", v.Name, name, value)
			}
		}
		for name, value := range want {
			if !reflect.DeepEqual(prune(row[name]), prune(value)) {
				t.Errorf("%s: %s is %v, want %v", v.Name, name, row[name], value)
			}
		}
	}
}

// prune leaves out members that are null: a struct of the table has those of all records.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			if value != nil {
				out[name] = prune(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, value := range v {
			out[i] = prune(value)
		}
		return out
	}
	return v
}
