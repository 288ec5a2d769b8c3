package decode

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/kfs/record"
)

// Nested documents of about 800 bytes: the shape of a public earthquake feed.
func BenchmarkNested(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var docs [][]byte
	for i := range 1500 {
		id := fmt.Sprintf("uw%08d", 61345682+i)
		docs = append(docs, fmt.Appendf(nil, `{"type":"Feature","properties":{"mag":%.2f,"place":"%dkm NNE of Amboy, Washington","time":%d,"updated":%d,"tz":-480,`+
			`"url":"https://earthquake.example.org/earthquakes/eventpage/%s","detail":"https://earthquake.example.org/earthquakes/feed/v1.0/detail/%s.geojson",`+
			`"felt":%s,"cdi":null,"mmi":null,"alert":null,"status":"reviewed","tsunami":0,"sig":%d,"net":"uw","code":"%d","ids":",%s,","sources":",uw,",`+
			`"types":",geoserve,origin,phase-data,","nst":%d,"dmin":%.3f,"rms":%.2f,"gap":%d,"magType":"ml","type":"earthquake",`+
			`"title":"M %.1f - %dkm NNE of Amboy, Washington"},"geometry":{"type":"Point","coordinates":[%.4f,%.4f,%.2f]},"id":"%s"}`,
			rnd.Float64()*7, i%90, 1517363399650+i*997, 1517942380200+i*1013, id, id, []string{"null", "4"}[i%2], rnd.IntN(600), 61345682+i, id, rnd.IntN(40),
			rnd.Float64(), rnd.Float64(), rnd.IntN(200), rnd.Float64()*7, i%90, -rnd.Float64()*180, rnd.Float64()*90, rnd.Float64()*30, id))
	}
	benchmarkAppend(b, docs)
}

// Flat documents of about 180 bytes.
func BenchmarkFlat(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var docs [][]byte
	for i := range 4000 {
		docs = append(docs, fmt.Appendf(nil, `{"user_id":%d,"event":"page_view","path":"/products/%d","duration_ms":%d,"ok":true,"score":%.3f,"session":"%016x%016x","ts":%d}`,
			rnd.IntN(100000), rnd.IntN(1000), rnd.IntN(5000), rnd.Float64()*100, rnd.Uint64(), rnd.Uint64(), 1517363399650+i*37))
	}
	benchmarkAppend(b, docs)
}

func benchmarkAppend(b *testing.B, docs [][]byte) {
	var batches [][]byte
	size := 0
	for at := 0; at < len(docs); at += 500 {
		builder := record.Builder{BaseOffset: int64(at)}
		for _, doc := range docs[at:min(at+500, len(docs))] {
			builder.Add(1517363399650, nil, doc)
			size += len(doc)
		}
		batches = append(batches, build(b, &builder))
	}
	d, err := New(Config{}, nil, memory.DefaultAllocator)
	if err != nil {
		b.Fatal(err)
	}
	// The schema settles and the buffers find their size.
	fill := func() {
		for _, batch := range batches {
			if err := d.Append(quakes, batch, all); err != nil {
				b.Fatal(err)
			}
		}
	}
	flush := func() {
		rows, letters := d.Flush()
		if rows == nil || len(letters) > 0 {
			b.Fatalf("%d dead letters", len(letters))
		}
		rows.Release()
	}
	fill()
	flush()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ReportMetric(float64(len(docs)), "records/op")
	for b.Loop() {
		fill()
		flush()
	}
}

// BenchmarkAppendSmall is producers that do not gather: 200 columns, and one record in each batch.
func BenchmarkAppendSmall(b *testing.B) {
	var fields []string
	for i := range 200 {
		fields = append(fields, fmt.Sprintf(`"f%d":%d`, i, i))
	}
	var builder record.Builder
	builder.Add(1517363399650, nil, []byte("{"+strings.Join(fields, ",")+"}"))
	batch := build(b, &builder)
	d, err := New(Config{}, nil, memory.DefaultAllocator)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Append(quakes, batch, all); err != nil {
			b.Fatal(err)
		}
		if d.Bytes() > 1<<20 { // as the pipeline asks after each batch
			rows, _ := d.Flush()
			rows.Release()
		}
	}
}
