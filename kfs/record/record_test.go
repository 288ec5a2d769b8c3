package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

var codecs = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// build gives a batch of n records with keys, values and headers of all shapes.
func build(t testing.TB, b Builder, n int) []byte {
	t.Helper()
	for i := range n {
		key, value := []byte(fmt.Sprintf("key-%d", i)), []byte(strings.Repeat("value ", i%50))
		switch i % 4 {
		case 1:
			key = nil
		case 2:
			value = nil
		case 3:
			key, value = []byte{}, []byte{}
		}
		b.Add(1_700_000_000_000+int64(i%7), key, value, []HeaderField{{"a", []byte("1")}, {"", nil}, {"b", []byte{}}}[:i%4]...)
	}
	return encode(t, b)
}

func encode(t testing.TB, b Builder) []byte {
	t.Helper()
	batch, err := b.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

// fixCRC makes the checksum of a changed batch right again.
func fixCRC(b []byte) []byte {
	binary.BigEndian.PutUint32(b[crcAt:], crc32.Checksum(b[attributesAt:], castagnoli))
	return b
}

// dump reads all records into one text.
func dump(r *Reader, b []byte) (string, error) {
	var out strings.Builder
	if err := r.Reset(b, DecompressedBytes); err != nil {
		return "", err
	}
	text := func(v []byte) string {
		if v == nil {
			return "null"
		}
		return fmt.Sprintf("%q", v)
	}
	var rec Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			return "", err
		}
		if !ok {
			return out.String(), nil
		}
		fmt.Fprintf(&out, "%d @%d %s=%s", rec.Offset, rec.Timestamp, text(rec.Key), text(rec.Value))
		for k, v := range rec.Headers.All() {
			fmt.Fprintf(&out, " %s:%s", text(k), text(v))
		}
		out.WriteByte('\n')
	}
}

func TestRoundTrip(t *testing.T) {
	var r Reader // one for all: buffers are used again
	v := NewValidator(Limits{})
	want, err := dump(&r, build(t, Builder{BaseOffset: 40}, 100))
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Split(want, "\n"); lines[0] != `40 @1700000000000 "key-0"=""` ||
		lines[3] != `43 @1700000000003 ""="" "a":"1" "":null "b":""` || lines[5] != `45 @1700000000005 null="value value value value value " "a":"1"` {
		t.Fatalf("records are\n%s", want)
	}
	for _, codec := range codecs {
		batch := build(t, Builder{Codec: codec, BaseOffset: 40, Producer: &Producer{ID: 7, Epoch: 2, Sequence: 9}}, 100)
		h, err := v.Validate(batch, Rules{})
		if err != nil {
			t.Fatalf("%s: %v", codec, err)
		}
		if h.Codec() != codec || h.Size() != len(batch) || h.Records != 100 || h.LastOffset() != 139 || h.ProducerID != 7 || h.LastSequence() != 108 ||
			h.MaxTimestamp != 1_700_000_000_006 {
			t.Errorf("%s: header %+v", codec, h)
		}
		for range 2 {
			if got, err := dump(&r, batch); err != nil || got != want {
				t.Fatalf("%s: %v, records\n%s\nwant\n%s", codec, err, got, want)
			}
		}
	}
}

func TestStamp(t *testing.T) {
	batch := build(t, Builder{Codec: LZ4}, 3)
	Stamp(batch, 1<<40, 12)
	h, err := ParseHeader(batch)
	if err != nil || h.BaseOffset != 1<<40 || h.LeaderEpoch != 12 {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := Verify(batch); err != nil {
		t.Fatalf("after Stamp: %v", err)
	}
	StampAppendTime(batch, 1_800_000_000_000)
	if err := Verify(batch); err != nil {
		t.Fatalf("after StampAppendTime: %v", err)
	}
	var r Reader
	got, err := dump(&r, batch)
	if err != nil || strings.Count(got, "@1800000000000") != 3 {
		t.Fatalf("%v, records\n%s", err, got)
	}
}

func TestVerifyFindsEachFlippedByte(t *testing.T) {
	batch := build(t, Builder{}, 2)
	for i := range batch {
		if i < crcAt {
			continue // the checksum does not cover offset, length, epoch and magic
		}
		batch[i] ^= 0x10
		if err := Verify(batch); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		batch[i] ^= 0x10
	}
}

func TestBatches(t *testing.T) {
	a, b := build(t, Builder{}, 3), build(t, Builder{Codec: Zstd}, 30)
	var got [][]byte
	for batch, err := range Batches(append(append([]byte{}, a...), b...)) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, batch)
	}
	if len(got) != 2 || !bytes.Equal(got[0], a) || !bytes.Equal(got[1], b) {
		t.Fatalf("%d batches", len(got))
	}
	n := 0
	var last error
	for batch, err := range Batches(append(append([]byte{}, a...), b[:len(b)-1]...)) {
		if last = err; err == nil && !bytes.Equal(batch, a) {
			t.Fatal("not the first batch")
		}
		n++
	}
	if n != 2 || !errors.Is(last, ErrCorrupt) || !strings.Contains(last.Error(), fmt.Sprintf("byte %d", len(a))) {
		t.Fatalf("%d batches, the last with %v", n, last)
	}
	for range Batches(nil) {
		t.Fatal("a batch of nothing")
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	batch := build(t, Builder{}, 3)
	change := func(at int, b ...byte) []byte {
		c := bytes.Clone(batch)
		copy(c[at:], b)
		return c
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":           {nil, ErrCorrupt},
		"short":             {batch[:16], ErrCorrupt},
		"magic 1":           {change(16, 1)[:30], ErrMagic},
		"magic 3":           {change(16, 3), ErrMagic},
		"half a header":     {batch[:60], ErrCorrupt},
		"a byte is missing": {batch[:len(batch)-1], ErrCorrupt},
		"length 48":         {change(8, 0, 0, 0, 48), ErrCorrupt},
		"length -1":         {change(8, 0xff, 0xff, 0xff, 0xff), ErrCorrupt},
		"length 2 GiB":      {change(8, 0x7f, 0xff, 0xff, 0xff), ErrCorrupt},
		"offset -1":         {change(0, 0xff), ErrCorrupt},
		"offset overflow":   {change(0, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), ErrCorrupt},
		"records -1":        {change(57, 0xff), ErrCorrupt},
		"last delta -1":     {change(23, 0xff), ErrCorrupt},
	} {
		if _, err := ParseHeader(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		for _, err := range Batches(c.b) {
			if !errors.Is(err, c.want) {
				t.Errorf("%s: Batches: %v, want %v", name, err, c.want)
			}
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return fixCRC(b) }
	}
	attr := func(set byte) func([]byte) []byte {
		return func(b []byte) []byte { b[attributesAt+1] |= set; return fixCRC(b) }
	}
	// body puts raw records in place of the batch's own.
	body := func(records int32, raw string) func([]byte) []byte {
		return func(b []byte) []byte {
			b = append(b[:HeaderSize], raw...)
			binary.BigEndian.PutUint32(b[8:], uint32(len(b)-lengthEnd))
			binary.BigEndian.PutUint32(b[57:], uint32(records))
			binary.BigEndian.PutUint32(b[23:], uint32(records-1))
			return fixCRC(b)
		}
	}
	const good = "\x0c\x00\x00\x00\x01\x01\x00"
	v := NewValidator(Limits{BatchBytes: 2000})
	if _, err := v.Validate(body(1, good)(build(t, Builder{}, 3)), Rules{}); err != nil {
		t.Fatalf("the smallest record: %v", err)
	}
	for name, c := range map[string]struct {
		change func([]byte) []byte
		want   error
	}{
		"too large":              {func(b []byte) []byte { return append(b, make([]byte, 2000)...) }, ErrTooLarge},
		"bytes behind":           {func(b []byte) []byte { return append(b, 0) }, ErrInvalid},
		"wrong checksum":         {func(b []byte) []byte { b[len(b)-1]++; return b }, ErrCorrupt},
		"transactional":          {attr(attrTransaction), ErrTransactional},
		"control":                {attr(attrControl), ErrInvalid},
		"log append time":        {attr(attrLogAppend), ErrInvalid},
		"codec 5":                {attr(5), ErrCodec},
		"no zstd":                {attr(4), ErrInvalid},
		"no lz4":                 {attr(3), ErrInvalid},
		"no snappy":              {attr(2), ErrInvalid},
		"no gzip":                {attr(1), ErrInvalid},
		"no records":             {put32(57, 0), ErrInvalid},
		"more records than said": {put32(57, 2), ErrInvalid},
		"delta and count":        {put32(23, 3), ErrInvalid},
		"producer, no epoch":     {put32(43, 0), ErrInvalid},
		"count of 2 G":           {body(math.MaxInt32, good), ErrInvalid},
		"a record less":          {body(2, good), ErrInvalid},
		"a record more":          {body(1, good+"\x0c\x00\x00\x02\x01\x01\x00"), ErrInvalid},
		"wrong offset":           {body(1, "\x0c\x00\x00\x02\x01\x01\x00"), ErrInvalid},
		"repeated offset":        {body(2, good+good), ErrInvalid},
		"record too long":        {body(1, "\x0e\x00\x00\x00\x01\x01\x00"), ErrInvalid},
		"record too short":       {body(1, "\x0a\x00\x00\x00\x01\x01\x00"), ErrInvalid},
		"negative record":        {body(1, "\x01\x00\x00\x00\x01\x01\x00"), ErrInvalid},
		"key of -2":              {body(1, "\x0c\x00\x00\x00\x03\x01\x00"), ErrInvalid},
		"key beyond":             {body(1, "\x0c\x00\x00\x00\x10\x01\x00"), ErrInvalid},
		"value beyond":           {body(1, "\x0c\x00\x00\x00\x01\x10\x00"), ErrInvalid},
		"headers -1":             {body(1, "\x0c\x00\x00\x00\x01\x01\x01"), ErrInvalid},
		"headers missing":        {body(1, "\x0c\x00\x00\x00\x01\x01\x02"), ErrInvalid},
		"header key null":        {body(1, "\x10\x00\x00\x00\x01\x01\x02\x01\x01"), ErrInvalid},
		"many headers":           {body(1, "\x14\x00\x00\x00\x01\x01\xfe\xff\xff\xff\x0f"), ErrInvalid},
		"endless varint":         {body(1, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), ErrInvalid},
		"length beyond 32 bits":  {body(1, "\x80\x80\x80\x80\x80\x80\x01\x00"), ErrInvalid},
	} {
		if _, err := v.Validate(c.change(build(t, Builder{}, 3)), Rules{}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		} else if c.want == ErrInvalid && errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v: clients would send it again", name, err)
		}
	}
}

func TestValidateKeys(t *testing.T) {
	v := NewValidator(Limits{})
	for _, codec := range codecs {
		mixed := Builder{Codec: codec}
		for i := range 3 * namedRecords {
			var key []byte // null
			if i%2 == 0 {
				key = []byte{} // empty is a key
			}
			mixed.Add(int64(i), key, nil)
		}
		batch, err := mixed.AppendTo(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Validate(batch, Rules{}); err != nil {
			t.Errorf("%s: without rules: %v", codec, err)
		}
		_, err = v.Validate(batch, Rules{Keys: true})
		refused, ok := errors.AsType[*RecordsError](err)
		if !ok || !errors.Is(err, ErrInvalid) || len(refused.Records) != namedRecords || refused.Records[0] != 1 || refused.Records[1] != 3 {
			t.Errorf("%s: %v", codec, err)
		}
	}
	if _, err := v.Validate(build(t, Builder{}, 1), Rules{Keys: true}); err != nil {
		t.Errorf("all have keys: %v", err)
	}
}

func TestValidateCorrectsMaxTimestamp(t *testing.T) {
	batch := build(t, Builder{Codec: Snappy}, 10)
	want := bytes.Clone(batch)
	binary.BigEndian.PutUint64(batch[maxTimestampAt:], 5)
	h, err := NewValidator(Limits{}).Validate(fixCRC(batch), Rules{})
	if err != nil || h.MaxTimestamp != 1_700_000_000_006 || !bytes.Equal(batch, want) {
		t.Fatalf("%+v, %v, restored %t", h, err, bytes.Equal(batch, want))
	}
}

// TestTimeRules: a batch is refused for the times of its records, those that have none aside, and the error names them.
func TestTimeRules(t *testing.T) {
	for _, test := range []struct {
		times            []int64
		earliest, latest int64
		refused          []int32
	}{
		{[]int64{math.MinInt64, 5, math.MaxInt64}, 0, 0, nil},
		{[]int64{5, 9, 7}, 5, 9, nil},
		{[]int64{-1, 5, -1}, 5, 5, nil},
		{[]int64{5, 4, 7, 3}, 5, 0, []int32{1, 3}},
		{[]int64{5, 4, 10}, 0, 9, []int32{2}},
		{[]int64{4, 5, 10}, 5, 9, []int32{0, 2}},
		{[]int64{-9}, 5, 9, []int32{0}},
	} {
		var b Builder
		for _, at := range test.times {
			b.Add(at, nil, nil)
		}
		_, err := NewValidator(Limits{}).Validate(build(t, b, 0), Rules{Earliest: test.earliest, Latest: test.latest})
		refused, ok := errors.AsType[*RecordsError](err)
		if ok != (test.refused != nil) || ok && (!errors.Is(err, ErrTimestamp) || errors.Is(err, ErrInvalid) || !slices.Equal(refused.Records, test.refused)) {
			t.Errorf("times %v in [%d, %d]: %v, want %v refused", test.times, test.earliest, test.latest, err, test.refused)
		}
	}
}

// TestReadersAreFew: no more Readers are out at a time than there are cores, and none keeps a large buffer.
func TestReadersAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewReaders()
		var out []*Reader
		for range runtime.GOMAXPROCS(0) {
			out = append(out, p.Get())
		}
		got := make(chan *Reader)
		go func() { got <- p.Get() }()
		synctest.Wait()
		select {
		case <-got:
			t.Fatal("one more than there are cores")
		default:
		}
		out[0].dec.buf = make([]byte, 0, keptBytes+1)
		p.Put(out[0])
		if r := <-got; cap(r.dec.buf) != 0 {
			t.Errorf("a Reader kept %d bytes", cap(r.dec.buf))
		} else {
			r.dec.buf = make([]byte, 0, keptBytes)
			p.Put(r)
		}
		if r := p.Get(); cap(r.dec.buf) != keptBytes {
			t.Errorf("a Reader lost its buffer of %d bytes", keptBytes)
		}
	})
}

func TestDecompressIsBounded(t *testing.T) {
	zeros := make([]byte, 8<<20)
	for _, codec := range codecs[1:] {
		bomb, err := Compress(nil, codec, zeros)
		if err != nil {
			t.Fatal(err)
		}
		var d Decompressor
		for _, limit := range []int{0, 1, 4095, 4097, 1 << 20, len(zeros) - 1} {
			if _, err := d.Decompress(codec, bomb, limit); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s with limit %d: %v", codec, limit, err)
			}
			if cap(d.buf) > 2*limit+64<<10 && (codec != Zstd || cap(d.buf) > zstdWindow) {
				t.Errorf("%s with limit %d: a buffer of %d bytes", codec, limit, cap(d.buf))
			}
		}
		if got, err := d.Decompress(codec, bomb, len(zeros)); err != nil || !bytes.Equal(got, zeros) {
			t.Errorf("%s at the limit: %d bytes, %v", codec, len(got), err)
		}
	}
}

func TestDecompressRefuses(t *testing.T) {
	text := []byte(strings.Repeat("not so random text. ", 1000))
	for _, codec := range codecs[1:] {
		good, err := Compress(nil, codec, text)
		if err != nil {
			t.Fatal(err)
		}
		var d Decompressor
		for n := range good[:len(good)-1] {
			if got, err := d.Decompress(codec, good[:n], 1<<20); err == nil && !(codec == Snappy && n == snappyHeaderSize) {
				t.Fatalf("%s cut after %d of %d bytes: %d bytes and no error", codec, n, len(good), len(got))
			}
		}
		if got, err := d.Decompress(codec, good, 1<<20); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%s after all those errors: %v", codec, err)
		}
	}
	var d Decompressor
	if _, err := d.Decompress(9, text, 1<<20); !errors.Is(err, ErrCodec) {
		t.Errorf("codec 9: %v", err)
	}
}

// TestClaimsAreNotBelieved: a few bytes that say they hold much are refused before there is room for it.
func TestClaimsAreNotBelieved(t *testing.T) {
	const limit = 1 << 30
	for name, c := range map[string]struct {
		codec Codec
		b     string
	}{
		"snappy block":  {Snappy, "\xff\xff\xff\xff\x03\x00\x00"},
		"snappy chunk":  {Snappy, snappyMagic + "\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x07\xff\xff\xff\xff\x03\x00\x00"},
		"snappy length": {Snappy, snappyMagic + "\x00\x00\x00\x01\x00\x00\x00\x01\x7f\xff\xff\xff\x03\x00\x00"},
		"lz4 block":     {LZ4, "\x04\x22\x4d\x18\x60\x70\x73\xff\xff\xff\x7f\x00"},
		"zstd frame":    {Zstd, "\x28\xb5\x2f\xfd\xa0\xff\xff\xff\x3f\x01\x00\x00"},
	} {
		var d Decompressor
		if _, err := d.Decompress(c.codec, []byte(c.b), limit); !errors.Is(err, ErrCorrupt) || cap(d.buf) > 1<<20 {
			t.Errorf("%s: %v, a buffer of %d bytes", name, err, cap(d.buf))
		}
	}
}

// TestLZ4Frames: only such frames as Kafka's own consumers read.
func TestLZ4Frames(t *testing.T) {
	frame := func(flags, size byte, rest string) string {
		return "\x04\x22\x4d\x18" + string([]byte{flags, size, byte(xxh32([]byte{flags, size}) >> 8)}) + rest
	}
	const abc = "\x03\x00\x00\x80abc\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		b    string
		good bool
	}{
		"stored block":      {frame(0x60, 0x40, abc), true},
		"dependent blocks":  {frame(0x40, 0x40, abc), false},
		"dictionary":        {frame(0x61, 0x40, abc), false},
		"version 2":         {frame(0xa0, 0x40, abc), false},
		"block size 3":      {frame(0x60, 0x30, abc), false},
		"descriptor":        {strings.Replace(frame(0x60, 0x40, abc), "\x40", "\x50", 1), false},
		"no end":            {frame(0x60, 0x40, abc[:7]), false},
		"bytes behind":      {frame(0x60, 0x40, abc+"x"), false},
		"second frame":      {frame(0x60, 0x40, abc) + frame(0x60, 0x40, abc), false},
		"block checksum":    {frame(0x70, 0x40, "\x03\x00\x00\x80abc\x73\xcf\xb9\x80\x00\x00\x00\x00"), false},
		"content checksum":  {frame(0x64, 0x40, abc+"\xff\x53\xd1\x32"), true}, // XXH32("abc") is 32d153ff
		"wrong content sum": {frame(0x64, 0x40, abc+"\xff\x53\xd1\x33"), false},
	} {
		var d Decompressor
		got, err := d.Decompress(LZ4, []byte(c.b), 1<<20)
		if c.good && (err != nil || string(got) != "abc") || !c.good && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
