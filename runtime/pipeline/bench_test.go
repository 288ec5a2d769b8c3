package pipeline

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/record"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// discarding is a sink that keeps only its position.
type discarding struct{ next processor.Positions }

func (s *discarding) Committed(context.Context) (processor.Positions, error) { return s.next, nil }
func (*discarding) Stage(context.Context, processor.Batch) error             { return nil }
func (*discarding) Seal(context.Context) (processor.Staged, error)           { return processor.Staged{}, nil }
func (*discarding) Discard(context.Context, []processor.Staged) error        { return nil }

func (*discarding) Commit(context.Context, processor.Positions, processor.Positions, []processor.Staged) error {
	return nil
}

// BenchmarkJob is everything between a store in memory and a sink that does nothing, in bytes of JSON.
func BenchmarkJob(b *testing.B) {
	for _, codec := range []record.Codec{record.None, record.Zstd, record.Snappy} {
		b.Run(codec.String(), func(b *testing.B) {
			store := blob.NewMemory(nil)
			w := tailtest.Journal{Store: store}
			w.Append(b, []kfs.Entry{cluster, events})
			size := int64(0)
			for i := range 16 {
				var records []tailtest.Records
				for p := range int32(4) {
					r := tailtest.Records{Topic: events, Partition: p, Codec: codec}
					for n := range 2000 {
						v := fmt.Appendf(nil, `{"id":%d,"user":"user-%d","path":"/catalog/items/%d/details","status":%d,"took":%d.25,"agent":"Mozilla/5.0 (X11; Linux x86_64) %d"}`,
							n, n%97, i*n, 200+n%5, n%1000, n%13)
						r.Values = append(r.Values, v)
						size += int64(len(v))
					}
					records = append(records, r)
				}
				w.Append(b, nil, records...)
			}
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				job, err := New(Config{Name: "bench", Store: store, Topics: []string{"events"}, Route: template("db.{topic}"), Until: Until{Latest: true}, Errors: Halt,
					Allocator: memory.DefaultAllocator,
					OpenSink:  func(context.Context, string, kfs.TopicID) (processor.Sink, error) { return &discarding{}, nil }})
				if err != nil {
					b.Fatal(err)
				}
				if err := job.Run(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
