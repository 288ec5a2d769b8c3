package record

import (
	"errors"
	"testing"
)

func TestOffsetAt(t *testing.T) {
	var batches []byte
	for i, times := range [][]int64{{10, 30, 20}, {5}, {40, 25}} { // offsets 0 to 2, 3, 4 and 5
		b := Builder{Codec: Codec(i), BaseOffset: []int64{0, 3, 4}[i]}
		for _, at := range times {
			b.Add(at, nil, []byte("value"))
		}
		var err error
		if batches, err = b.AppendTo(batches); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ from, timestamp, want int64 }{
		{0, 0, 0}, {0, 11, 1}, {0, 31, 4}, {0, 41, -1}, {2, 0, 2}, {2, 21, 4}, {3, 0, 3}, {5, 0, 5}, {5, 26, -1}, {6, 0, -1},
	} {
		if at, ok, err := OffsetAt(batches, c.from, c.timestamp); err != nil || ok != (c.want >= 0) || ok && at != c.want {
			t.Errorf("%+v: %d %t %v", c, at, ok, err)
		}
	}
	if _, _, err := OffsetAt(batches[:len(batches)-1], 0, 41); !errors.Is(err, ErrCorrupt) {
		t.Errorf("of batches cut off: %v", err)
	}
}
