package api

import (
	"context"
	"iter"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// DescribeLogDirs: versions 0 to 5, all that kmsg knows.
//
// There is one log directory, the store, and each broker tells of the partitions that it leads. A partition's size is the bytes of its
// record batches in the objects that hold its log, as they were produced, so compressed; an object that begins before the log
// start counts with its whole part. The store has no size of its own (version 4): it is unknown, and so is what is left. What
// this broker does not lead is left out, as Kafka leaves out what a broker has no replica of.
func describeLogDirs(b *Backend) API {
	d := &logDirDescriber{b}
	return serve(35, concurrent(d.handle))
}

type logDirDescriber struct{ *Backend }

func (d *logDirDescriber) handle(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.DescribeLogDirsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir = d.LogDir
	for topic, numbers := range d.wanted(req) {
		if err := r.Reserve(ctx, int64(len(numbers))*partitionBytes); err != nil {
			return nil, err
		}
		answer := kmsg.NewDescribeLogDirsResponseDirTopic()
		answer.Topic = topic.Name
		for _, number := range numbers {
			if size, ok := d.size(topic, number); ok {
				part := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
				part.Partition, part.Size = number, size
				answer.Partitions = append(answer.Partitions, part)
			}
		}
		if len(answer.Partitions) > 0 {
			dir.Topics = append(dir.Topics, answer)
		}
	}
	resp.Dirs = append(resp.Dirs, dir)
	return resp, nil
}

// wanted are the partitions that a request names, or all of them, topic by topic; what is not there is left out.
func (d *logDirDescriber) wanted(req *kmsg.DescribeLogDirsRequest) iter.Seq2[*metadata.Topic, []int32] {
	state := d.Cluster.State()
	return func(yield func(*metadata.Topic, []int32) bool) {
		if req.Topics == nil {
			for _, t := range state.Topics() {
				if t.State == kfs.TopicLive && !yield(t, numbers(t.Partitions())) {
					return
				}
			}
		}
		for _, t := range req.Topics {
			topic, err := byName(state, t.Topic)
			if err != nil {
				continue
			}
			slices.Sort(t.Partitions)
			if !yield(topic, slices.Compact(t.Partitions)) {
				return
			}
		}
	}
}

// size is the bytes of a partition; ok is false if this broker does not lead it.
func (d *logDirDescriber) size(topic *metadata.Topic, number int32) (size int64, ok bool) {
	p, err := d.partition(topic, number)
	if err != nil {
		return 0, false
	}
	start, _ := p.journal.Offsets(p.id)
	size = p.journal.Available(p.id, start)
	return size, p.journal.Serving() == nil
}

// numbers are 0 to n-1.
func numbers(n int32) []int32 {
	list := make([]int32, n)
	for i := range list {
		list[i] = int32(i)
	}
	return list
}
