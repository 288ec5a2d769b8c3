package group

import (
	"flag"
	"io"
	"strings"
	"testing"
)

var seed = flag.Uint64("seed", 0, "run the random tests with this seed only")

// eachSeed runs lives, or only that of -seed. A life panics with a failure; one that does is run once more for its log.
func eachSeed(t *testing.T, seeds uint64, life func(seed uint64, log io.Writer)) {
	t.Helper()
	first := uint64(1)
	if *seed != 0 {
		first, seeds = *seed, 1
	}
	for s := first; s < first+seeds; s++ {
		if why := failureOf(func() { life(s, nil) }); why != "" {
			var log strings.Builder
			again := failureOf(func() { life(s, &log) })
			lines := strings.Split(log.String(), "\n")
			t.Fatalf("seed %d: %s (again: %s)\n%s", s, why, again, strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	}
}

// failure is what a life panics with.
type failure string

func failureOf(f func()) (why string) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case failure:
			why = string(p)
		default:
			panic(p)
		}
	}()
	f()
	return ""
}
