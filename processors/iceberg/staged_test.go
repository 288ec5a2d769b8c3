package iceberg

import (
	"fmt"
	"testing"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/memory"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/runtime/processor"
)

func TestParseSource(t *testing.T) {
	for _, source := range []processor.Source{source0, {Topic: "a.b", ID: topicID, Partition: 1<<31 - 1}} {
		if got, err := ParseSource(SourceKey(source)); err != nil || got != source {
			t.Errorf("%s became %v, %v", SourceKey(source), got, err)
		}
	}
	id := "AQAAAAAAAAAAAAAAAAAAAA"
	for _, key := range []string{"", "events/" + id, "events/" + id + "/", "events/" + id + "/-1", "events/" + id + "/01", "events/" + id + "/+1", "events/" + id + "/1 ",
		"events/" + id + "/2147483648", "events/" + id + "/1/2", "events/no-id/1"} {
		if got, err := ParseSource(key); err == nil {
			t.Errorf("%q became %v", key, got)
		}
	}
}

// BenchmarkRecreated looks for recreated topics in a commit that advances many partitions, which every commit does.
func BenchmarkRecreated(b *testing.B) {
	for _, partitions := range []int{100, 1000, 10_000} {
		b.Run(fmt.Sprint(partitions), func(b *testing.B) {
			known, to := map[string]int64{}, processor.Positions{}
			for p := range int32(partitions) {
				source := processor.Source{Topic: "events", ID: topicID, Partition: p}
				known[SourceKey(source)], to[source] = 1, 2
			}
			cfg := Config{Catalog: catalog.New(memory.New()), Options: catalog.Options{Job: "job", Known: catalog.Known{Positions: known}}}
			opened, err := New(cfg).Open(b.Context(), processors.Table{Name: "lake.events"})
			if err != nil {
				b.Fatal(err)
			}
			s := opened.(*Sink)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.recreated(known, to); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
