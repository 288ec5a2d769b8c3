package api

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// TestAnswersAreAccountedFor: requests that ask for the same thing very often, or for all there is, ask for as much memory as their
// answers take encoded, at least, beyond a small answer.
func TestAnswersAreAccountedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		groups := newGroups(t)
		f := groups.cluster
		for i := range 100 {
			f.apply(t, kfs.Topic{ID: kfs.TopicID{50, byte(i)}, Name: fmt.Sprint("topic-", i), State: kfs.TopicLive, Journals: make([]uint32, 50)})
		}
		for i := range 500 {
			f.producers = append(f.producers, journal.ActiveProducer{ID: int64(i)})
			o := kfs.GroupOffset{Group: "g", Topic: fmt.Sprint("topic-", i/50), TopicID: kfs.TopicID{50, byte(i / 50)}, Partition: int32(i % 50), Metadata: strings.Repeat("m", 200)}
			groups.offsets[fmt.Sprint(i)] = o
		}
		var configs kmsg.DescribeConfigsRequest
		configs.Default()
		configs.IncludeSynonyms, configs.IncludeDocumentation = true, true
		var offsets kmsg.OffsetFetchRequest
		offsets.Default()
		var producers kmsg.DescribeProducersRequest
		for range 100 {
			configs.Resources = append(configs.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: topicType, ResourceName: "topic-1"},
				kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: "7"})
			offsets.Groups = append(offsets.Groups, kmsg.OffsetFetchRequestGroup{Group: "g", MemberEpoch: -1})
			producers.Topics = append(producers.Topics, kmsg.DescribeProducersRequestTopic{Topic: "topic-1", Partitions: []int32{0, 1}})
		}
		all := kmsg.NewPtrMetadataRequest()
		all.Topics = nil
		apis := NewRegistry(append(f.backend.APIs(), groups.served.APIs()...)...)
		for _, req := range []kmsg.Request{&configs, &offsets, &producers, all, kmsg.NewPtrDescribeLogDirsRequest(), kmsg.NewPtrDescribeTopicPartitionsRequest(), kmsg.NewPtrListGroupsRequest()} {
			a, _ := apis.Lookup(req.Key())
			for version := a.Min; version <= a.Max; version++ {
				if _, ok := req.(*kmsg.OffsetFetchRequest); ok && version < 8 {
					continue // one group
				}
				req.SetVersion(version)
				earlier := make(chan struct{})
				close(earlier)
				memory := &counted{limit: math.MaxInt64}
				resp, err := a.Start(t.Context(), &Request{Body: req, Earlier: earlier, Memory: memory})(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if n := int64(len(resp.AppendTo(nil))); n > memory.used+smallAnswer {
					t.Errorf("%s v%d: an answer of %d bytes asked for %d", kmsg.NameForKey(a.Key), version, n, memory.used)
				} else if n < smallAnswer && a.Key != 16 {
					t.Errorf("%s v%d: an answer of %d bytes shows nothing", kmsg.NameForKey(a.Key), version, n)
				}
			}
		}
	})
}
