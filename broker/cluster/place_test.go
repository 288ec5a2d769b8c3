package cluster

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func ids(first, n int32) []int32 {
	all := make([]int32, n)
	for i := range all {
		all[i] = first + int32(i)
	}
	return all
}

func TestPlaceIsFixed(t *testing.T) {
	// Brokers of different versions run beside each other: what they compute must not change.
	for _, c := range []struct {
		brokers  []int32
		journals uint32
		want     []int32
	}{
		{[]int32{0}, 3, []int32{0, 0, 0}},
		{nil, 3, nil},
		{[]int32{1, 2, 3}, 3, []int32{3, 1, 2}},
		{[]int32{1, 2, 3}, 7, []int32{3, 3, 1, 3, 2, 1, 2}},
	} {
		if got := place(c.brokers, c.journals); !slices.Equal(got, c.want) {
			t.Errorf("place(%v, %d) = %v, want %v", c.brokers, c.journals, got, c.want)
		}
	}
}

func TestPlaceSpreads(t *testing.T) {
	for brokers := int32(1); brokers <= 12; brokers++ {
		for journals := uint32(1); journals <= 40; journals++ {
			for first := range int32(20) {
				live := ids(first, brokers)
				load := map[int32]int{}
				for _, id := range live {
					load[id] = 0
				}
				placed := place(live, journals)
				for _, id := range placed {
					load[id]++
				}
				least, most := int(journals), 0
				for _, n := range load {
					least, most = min(least, n), max(most, n)
				}
				if len(load) != len(live) || most-least > 1 {
					t.Fatalf("%d journals over %v: %v", journals, live, placed)
				}
				shuffled := slices.Clone(live)
				rand.New(rand.NewPCG(1, uint64(first))).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				if again := place(shuffled, journals); !slices.Equal(again, placed) {
					t.Fatalf("the order of brokers matters: %v and %v", placed, again)
				}
			}
		}
	}
}

// TestPlaceMovesLittle takes each broker away and counts the journals that get another owner. With loads kept even, more must move than
// the journals of that broker, but far from all.
func TestPlaceMovesLittle(t *testing.T) {
	for _, c := range []struct {
		brokers  int32
		journals uint32
		most     float64 // moved journals for each one of the broker that left, on average over 200 clusters
	}{{3, 3, 1.3}, {3, 6, 1.3}, {3, 12, 1.3}, {5, 5, 2.3}, {5, 20, 1.6}, {10, 30, 2.8}} {
		moved, left := 0, 0
		for cluster := range int32(200) {
			live := ids(cluster*7, c.brokers)
			before := place(live, c.journals)
			for i, gone := range live {
				after := place(slices.Delete(slices.Clone(live), i, i+1), c.journals)
				for j := range before {
					if before[j] == gone {
						left++
					}
					if before[j] != after[j] {
						moved++
					}
				}
			}
		}
		ratio := float64(moved) / float64(left)
		t.Logf("%d brokers, %d journals: %.2f journals move for each of a broker that comes or goes", c.brokers, c.journals, ratio)
		if ratio > c.most {
			t.Errorf("%d brokers, %d journals: %.2f journals move for each one that must", c.brokers, c.journals, ratio)
		}
	}
}
