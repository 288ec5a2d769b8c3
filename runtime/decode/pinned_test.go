package decode

import "testing"

// TestPinnedColumnsStay shows that a pinned column refuses what would widen it, while everything else evolves.
func TestPinnedColumnsStay(t *testing.T) {
	d := newDecoder(t, Config{Pinned: []string{"a", "s.x", "l.element"}}, nil)
	appendJSON(t, d, `{"a":1,"s":{"x":1,"y":1},"l":[1]}`, `{"a":1.5}`, `{"s":{"x":0.5}}`, `{"l":[2,2.5]}`, `{"a":2,"s":{"y":1.5,"z":"new"},"l":[3],"b":true}`)
	sc, rows, letters := payloadRows(t, d)
	if want := "struct<a: long, s: struct<x: long, y: double, z: string>, l: list<long>, b: boolean>"; sc != want {
		t.Errorf("schema is %s\nwant      %s", sc, want)
	}
	equalLines(t, "rows", rows, []string{`a=1 s={"x":1,"y":1,"z":null} l=[1] b=(null)`, `a=2 s={"x":null,"y":1.5,"z":"new"} l=[3] b=true`})
	equalLines(t, "dead letters", letters, []string{"1 type_conflict", "2 type_conflict", "3 type_conflict"})
}
