package cluster

// place spreads journals 0 to journals-1 over brokers, given by their ids in any order without repetition, and gives the owner of each. It is
// rendezvous hashing with bounded loads: each journal goes to the broker that ranks highest for it among those that have room, and loads
// differ by one at most. A cluster has few journals, and plain rendezvous hashing would leave a third of the brokers without one. What a
// broker that comes or goes moves beyond its own journals is what keeping the loads even takes (place_test.go has figures).
//
// Every broker computes it for itself: it depends on nothing but its arguments.
func place(brokers []int32, journals uint32) []int32 {
	owners := make([]int32, journals)
	if len(brokers) == 0 {
		return nil
	}
	even := int(journals) / len(brokers)
	more := int(journals) % len(brokers) // so many brokers have one journal more
	load := make([]int, len(brokers))
	for journal := range owners {
		best, bestRank := -1, uint64(0)
		for i, id := range brokers {
			if load[i] > even || load[i] == even && more == 0 {
				continue
			}
			if r := rank(id, uint32(journal)); best < 0 || r > bestRank || r == bestRank && id < brokers[best] {
				best, bestRank = i, r
			}
		}
		if load[best] == even {
			more--
		}
		load[best]++
		owners[journal] = brokers[best]
	}
	return owners
}

// rank is how much a broker is wanted for a journal: a random number of the two.
func rank(broker int32, journal uint32) uint64 {
	return mix(mix(uint64(uint32(broker))) ^ uint64(journal))
}

// mix is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators): every bit of x changes each bit
// of the result with probability one half.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
