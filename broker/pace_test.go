package broker

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	const enough = slowestBytes // in a window of a second
	repeat := func(bytes, n int) []int {
		moves := make([]int, n)
		for i := range moves {
			moves[i] = bytes
		}
		return moves
	}
	for name, test := range map[string]struct {
		moves   []int // bytes in each window
		pressed int   // from this window on others wait; -1: never
		want    int   // windows until it has stalled
	}{
		"nothing":                           {repeat(0, 40), -1, 30},
		"fast, but it takes too long":       {repeat(enough, 40), -1, 30},
		"nothing, and others wait":          {repeat(0, 40), 0, 5},
		"too slow, and others wait":         {repeat(enough-1, 40), 0, 5},
		"fast while others wait":            {repeat(enough, 40), 0, 30},
		"others come when it has stalled":   {repeat(0, 40), 20, 21},
		"others come later":                 {repeat(0, 40), 3, 5},
		"a good second in between":          {append([]int{0, 0, 0, 0, enough}, repeat(0, 40)...), 0, 10},
		"others wait only for a short time": {append(repeat(0, 4), repeat(enough, 40)...), 0, 30},
	} {
		now := time.Unix(1_700_000_000, 0)
		p := newPace(now, 30*time.Second)
		got := 0
		for i, bytes := range test.moves {
			p.add(bytes / 2)
			p.add(bytes - bytes/2)
			if d := p.deadline().Sub(now); d <= 0 || d > window {
				t.Fatalf("%s: the %dth window is %v long", name, i+1, d)
			}
			now = p.deadline()
			if p.turn(now, test.pressed >= 0 && i >= test.pressed) {
				got = i + 1
				break
			}
		}
		if got != test.want {
			t.Errorf("%s: stalled after %d windows, want %d", name, got, test.want)
		}
	}
}

func TestAppetite(t *testing.T) {
	var a appetite
	read := func(bytes int64, took time.Duration, want int64) {
		t.Helper()
		if a.read(bytes, took); a.limit() != want {
			t.Errorf("%d bytes in %v: the appetite is %d, want %d", bytes, took, a.limit(), want)
		}
	}
	read(0, 0, firstAppetite)
	read(firstAppetite, time.Minute, firstAppetite)
	read(firstAppetite, time.Second/10, 2*firstAppetite)
	read(firstAppetite, time.Second/10, 2*firstAppetite) // not more than half of what was allowed
	read(2*firstAppetite, time.Second, 4*firstAppetite)
	read(4*firstAppetite, time.Second+1, 4*firstAppetite)
	read(1, 3*time.Second, 2*firstAppetite)
	for range 40 {
		a.read(a.limit(), 0)
	}
	read(maxAppetite, 0, maxAppetite)
}
