//go:build !race

package pipeline

import "testing"

// TestZoo has processes make each mistake, until the simulation notices. The race detector has goroutines run in any order, and with it no seed is the one that
// notices; it has TestSimulation.
func TestZoo(t *testing.T) {
	for _, m := range zoo {
		t.Run(m.name, func(t *testing.T) {
			if m.seed >= zooSeeds {
				t.Errorf("seed %d is not within %d", m.seed, zooSeeds)
			}
			for seed := range uint64(zooSeeds) {
				if seed == 0 {
					seed = m.seed
				}
				if s := simulate(t, seed, m, false); len(s.wrongs) > 0 {
					if sound := simulate(t, seed, mistake{}, false); len(sound.wrongs) > 0 {
						t.Fatalf("seed %d is wrong without the mistake: %s", seed, sound.wrongs[0])
					}
					t.Logf("%s: seed %d: %s", m.what, seed, s.wrongs[0])
					return
				}
			}
			t.Errorf("%s: not noticed within %d seeds", m.what, zooSeeds)
		})
	}
}
