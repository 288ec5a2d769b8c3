package pipeline

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
)

var randomSeed = flag.Uint64("random.seed", 0, "run the tests that draw what happens with this seed, which one that failed has named")

// randomly runs a test n times, each in a bubble and with a sequence of random numbers of its own. It ends with the first that fails, by a deadlock
// too, and says which it was. The seed gives the same events again; which goroutine goes first is still left to chance.
func randomly(t *testing.T, n int, test func(t *testing.T, i int, r *rand.Rand)) {
	t.Helper()
	seed := *randomSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	i := 0
	defer func() {
		if i < n {
			t.Logf("it was number %d of -random.seed=%d", i, seed)
		}
	}()
	for ; i < n; i++ {
		synctest.Test(t, func(t *testing.T) { test(t, i, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
}
