package decode

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/record"
)

// TestBytesIsWhatIsHeld asks after each step how much the decoder holds, twice: what it remembers is what it would measure.
func TestBytesIsWhatIsHeld(t *testing.T) {
	d, err := New(Config{MaxBytes: 64 << 10}, nil, memory.DefaultAllocator)
	if err != nil {
		t.Fatal(err)
	}
	check := func(after string) {
		t.Helper()
		for range 2 {
			if got, want := d.Bytes(), d.measure(); got != want {
				t.Fatalf("after %s: %d bytes, %d by measure", after, got, want)
			}
		}
	}
	check("the beginning")
	full := 0
	for n := range 60 {
		var b record.Builder
		b.Add(0, nil, fmt.Appendf(nil, `{"n":%d,"f%d":"%s"}`, n, n%7, strings.Repeat("x", 100*n)))
		if n%5 == 0 {
			b.Add(0, nil, []byte("no JSON"))
		}
		err := d.Append(quakes, build(t, &b), all)
		check(fmt.Sprint("batch ", n))
		if errors.Is(err, ErrFull) {
			full++
			rows, _ := d.Flush()
			rows.Release()
			check("a flush")
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if full == 0 {
		t.Error("the decoder was never full")
	}
	if err := d.Reset(nil); err != nil {
		t.Fatal(err)
	}
	check("a reset")
	d.Release()
	check("the end")
}
