package deadletter_test

import (
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/memory"
	icebergcat "github.com/apache/iceberg-go/catalog"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/processors"
	"github.com/firn-io/firn/processors/iceberg"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
	"github.com/firn-io/firn/runtime/decode"
	"github.com/firn-io/firn/runtime/processor"
)

// TestRead writes letters as a job does and reads them back.
func TestRead(t *testing.T) {
	ctx, fake := t.Context(), catalogtest.NewFake()
	source := processor.Source{Topic: "events", ID: kfs.TopicID{1}, Partition: 3}
	letters := []decode.DeadLetter{
		{Source: source, Offset: 5, Timestamp: 1_700_000_000_123, Key: []byte{0xff}, Value: []byte("nonsense"), Class: decode.InvalidJSON, Message: "no value",
			Headers: []decode.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}}},
		{Source: source, Offset: 7, Timestamp: 1_700_000_000_456, Class: decode.NullValue, Message: "a tombstone"},
	}
	sink, err := iceberg.New(iceberg.Config{Catalog: catalog.New(fake), Options: catalog.Options{Job: "job"}}).Open(ctx, processors.Table{Name: "db.job_dead_letter"})
	if err != nil {
		t.Fatal(err)
	}
	defer sink.(io.Closer).Close()
	rows := decode.DeadLetterBatch("", "job", letters, memory.DefaultAllocator)
	defer rows.Release()
	if err := sink.Stage(ctx, processor.Batch{Source: source, Span: kfs.Span{Base: 0, Next: 10}, Records: rows}); err != nil {
		t.Fatal(err)
	}
	staged, err := sink.Seal(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Commit(ctx, processor.Positions{source: 0}, processor.Positions{source: 10}, []processor.Staged{staged}); err != nil {
		t.Fatal(err)
	}
	tbl, err := fake.LoadTable(ctx, icebergcat.ToIdentifier("db.job_dead_letter"))
	if err != nil {
		t.Fatal(err)
	}
	whole := []deadletter.Letter{
		{Topic: "events", TopicID: kfs.TopicID{1}, Partition: 3, Offset: 5, Time: time.UnixMilli(1_700_000_000_123).UTC(), Key: []byte{0xff}, Value: []byte("nonsense"), Class: "invalid_json", Message: "no value",
			Headers: []deadletter.Header{{Key: "a", Value: []byte("1")}, {Key: "b"}}},
		{Topic: "events", TopicID: kfs.TopicID{1}, Partition: 3, Offset: 7, Time: time.UnixMilli(1_700_000_000_456).UTC(), Class: "null_value", Message: "a tombstone"},
	}
	bare := deadletter.Letter{Topic: "events", TopicID: kfs.TopicID{1}, Partition: 3, Offset: 5, Time: whole[0].Time, Class: "invalid_json", Message: "no value"}
	partition, other, offset := int32(3), int32(4), int64(7)
	for name, c := range map[string]struct {
		selection deadletter.Selection
		want      []deadletter.Letter
	}{
		"all":             {deadletter.Selection{}, whole},
		"class":           {deadletter.Selection{Class: "invalid_json", Coordinates: true}, []deadletter.Letter{bare}},
		"offset":          {deadletter.Selection{Topic: "events", Partition: &partition, Offset: &offset}, whole[1:]},
		"other partition": {deadletter.Selection{Partition: &other}, nil},
		"other topic":     {deadletter.Selection{Topic: "event"}, nil},
	} {
		var got []deadletter.Letter
		for l, err := range deadletter.Read(ctx, tbl, c.selection) {
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			got = append(got, l)
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
