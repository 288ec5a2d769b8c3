package group

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkConsumerJoin is what it costs when one more member joins a group, with the heartbeats by which the others make room.
func BenchmarkConsumerJoin(b *testing.B) {
	for _, size := range []struct{ members, partitions int }{{10, 100}, {100, 1_000}, {1_000, 10_000}} {
		b.Run(fmt.Sprintf("members=%d", size.members), func(b *testing.B) {
			cluster := clusterOf(b, fmt.Sprintf("t:%d", size.partitions))
			c := newConsumer(start, Config{}.withDefaults())
			beat := func(id int, epoch int32, owned partitions) Beaten {
				ev := ConsumerHeartbeat{Token: 1, MemberID: fmt.Sprint("m", id), Epoch: epoch, Cluster: cluster, Owned: owned}
				if epoch == epochJoin {
					ev.Rebalance, ev.Topics, ev.Owned = time.Minute, []string{"t"}, partitions{}
				}
				return c.Step(start, ev)[0].(Reply).Answer.(Beaten)
			}
			told := make([]Beaten, size.members)
			settle := func() {
				for c.State() != Stable {
					for i, a := range told {
						answer := beat(i, a.Epoch, a.Assignment)
						if answer.Err != nil {
							b.Fatal(answer.Message)
						}
						told[i] = answer
					}
				}
			}
			for i := range told {
				told[i] = beat(i, epochJoin, nil)
			}
			settle()
			b.ReportAllocs()
			for b.Loop() {
				last := len(told) - 1
				beat(last, epochLeave, nil)
				told[last] = beat(last, epochJoin, nil)
				settle()
			}
		})
	}
}
