package decode

import "testing"

func TestPoolClasses(t *testing.T) {
	last, lastBytes := -1, 0
	for size := 1; size < 1<<20; size += 1 + size/1000 {
		class, bytes := poolClass(size)
		if bytes < size || size > 64 && bytes-size > bytes/5+1 {
			t.Fatalf("%d bytes are in class %d of %d", size, class, bytes)
		}
		if class < last || class == last && bytes != lastBytes {
			t.Fatalf("%d bytes are in class %d of %d after class %d of %d", size, class, bytes, last, lastBytes)
		}
		if again, same := poolClass(bytes); again != class || same != bytes {
			t.Fatalf("class %d of %d bytes is class %d of %d", class, bytes, again, same)
		}
		last, lastBytes = class, bytes
	}
}

func TestPoolKeepsWithinItsLimit(t *testing.T) {
	p := NewPool(1000)
	a, b, c := p.Allocate(500), p.Allocate(500), p.Allocate(100)
	a[0] = 'a'
	p.Free(a)
	p.Free(b) // beyond the limit
	p.Free(c)
	if p.held != 512+112 {
		t.Errorf("%d bytes are held, want %d", p.held, 512+112)
	}
	if again := p.Allocate(450); &again[0] != &a[0] || len(again) != 450 {
		t.Error("the buffer was not used again")
	}
	if p.held != 112 {
		t.Errorf("%d bytes are held, want 112", p.held)
	}
	d := p.Reallocate(300, p.Allocate(100))
	if len(d) != 300 || cap(d) != 320 {
		t.Errorf("reallocated to %d of %d bytes", len(d), cap(d))
	}
	if huge := p.Allocate(1); cap(huge) != 64 {
		t.Errorf("the smallest buffer has %d bytes", cap(huge))
	}
	p.Free(make([]byte, 77))
	p.Free(nil)
}
