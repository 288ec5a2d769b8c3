package decode

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/firn-io/firn/runtime/decode/decodetest"
)

// TestWorld decodes what the world sends, one after the other.
func TestWorld(t *testing.T) {
	d := newDecoder(t, Config{}, nil)
	for i, v := range decodetest.Values() {
		if err := d.Append(quakes, batchOf(t, int64(i), v.JSON), all); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		rows, letters := d.Flush()
		class := ""
		if len(letters) == 1 {
			class = string(letters[0].Class)
		}
		if class != v.Class || (rows == nil) != (v.Class != "") {
			t.Errorf("%s: class %q, want %q", v.Name, class, v.Class)
		}
		if class != "" && (letters[0].Message == "" || len(letters[0].Message) > 4<<10 || !bytes.Equal(letters[0].Value, v.JSON)) {
			t.Errorf("%s: a letter with %d bytes of value says %.5000q", v.Name, len(letters[0].Value), letters[0].Message)
		}
		if rows == nil {
			continue
		}
		text, err := rows.MarshalJSON()
		rows.Release()
		if err != nil {
			t.Fatal(err)
		}
		var all []map[string]any
		var want map[string]any
		if err := unmarshal(text, &all); err != nil {
			t.Fatalf("%s: %v: %s", v.Name, err, text)
		}
		if err := unmarshal([]byte(v.Row), &want); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		columns := map[string]any{}
		for _, f := range d.Schema().Fields()[coordinateColumns:] {
			if all[0][f.Name] != nil {
				columns[f.Name] = all[0][f.Name]
			}
		}
		if !reflect.DeepEqual(columns, want) {
			t.Errorf("%s: the row is %v, want %v", v.Name, columns, want)
		}
	}
}

// unmarshal keeps integers as they are written, and brings other numbers to one form.
func unmarshal(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(into); err != nil {
		return err
	}
	plain(reflect.ValueOf(into).Elem().Interface())
	return nil
}

func plain(v any) any {
	switch v := v.(type) {
	case []map[string]any:
		for _, m := range v {
			plain(m)
		}
	case map[string]any:
		for k, e := range v {
			v[k] = plain(e)
		}
	case []any:
		for i, e := range v {
			v[i] = plain(e)
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, _ := v.Float64()
		return f
	}
	return v
}
