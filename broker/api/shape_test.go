package api

import (
	"encoding/binary"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// shapedKeys are the APIs that have a shape.
func shapedKeys() []int16 {
	var keys []int16
	for k := int16(0); k <= kmsg.MaxKey; k++ {
		if shapeOf(k) != nil {
			keys = append(keys, k)
		}
	}
	return keys
}

// fill sets every field of a kmsg structure to something random that is not empty.
func fill(r *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.CanSet() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		fill(r, v.Elem())
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[kmsg.Tags]() {
			if r.IntN(3) == 0 {
				v.Addr().Interface().(*kmsg.Tags).Set(900+r.Uint32N(9), []byte("tagged"))
			}
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Version" {
				fill(r, v.Field(i))
			}
		}
	case reflect.Slice:
		n := 1 + r.IntN(3)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(r, v.Index(i))
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(r, v.Index(i))
		}
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(1 + r.IntN(100)))
	case reflect.Uint8:
		v.SetUint(uint64(r.IntN(256)))
	}
}

// TestShapesAgreeWithKmsg holds every shape against kmsg's own encoding, in every version: it must take all of the bytes and
// refuse every proper prefix of them.
func TestShapesAgreeWithKmsg(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, key := range shapedKeys() {
		for version := int16(0); version <= kmsg.RequestForKey(key).MaxVersion(); version++ {
			req := kmsg.RequestForKey(key)
			req.SetVersion(version)
			for range 20 {
				fill(r, reflect.ValueOf(req))
				body := req.AppendTo(nil)
				if _, err := Check(key, version, req.IsFlexible(), body); err != nil {
					t.Fatalf("%s v%d: %v\n% x", kmsg.NameForKey(key), version, err, body)
				}
				for n := range body {
					if _, err := Check(key, version, req.IsFlexible(), body[:n]); err == nil {
						t.Fatalf("%s v%d: %d of %d bytes pass", kmsg.NameForKey(key), version, n, len(body))
					}
				}
			}
			def := kmsg.RequestForKey(key)
			def.SetVersion(version)
			if _, err := Check(key, version, def.IsFlexible(), def.AppendTo(nil)); err != nil {
				t.Errorf("%s v%d as it is by default: %v", kmsg.NameForKey(key), version, err)
			}
		}
	}
}

// TestCheckRefusesWhatKmsgWouldPayFor has the two requests that make kmsg allocate, or count, far beyond what it was sent.
func TestCheckRefusesWhatKmsgWouldPayFor(t *testing.T) {
	many := make([]byte, 1<<20)
	binary.BigEndian.PutUint32(many, 1<<20-4-2) // elements; each needs two bytes at least
	if _, err := Check(3, 4, false, many); err == nil {
		t.Error("an array of more elements than there are bytes for passes")
	}
	tags := binary.AppendUvarint([]byte{1, 1, 1}, 1<<32-1) // two empty strings for ApiVersions, then the tagged fields
	if _, err := Check(18, 3, true, tags[1:]); err == nil {
		t.Error("2^32 tagged fields in no bytes pass")
	}
	inTag := []byte{1, 12 + 5} // a Fetch's replica state, itself with 2^32 tagged fields
	inTag = append(inTag, make([]byte, 12)...)
	inTag = binary.AppendUvarint(inTag, 1<<32-1)
	fetch := kmsg.NewPtrFetchRequest()
	fetch.SetVersion(15)
	body := fetch.AppendTo(nil)
	body[len(body)-1] = 1 // one tagged field
	if _, err := Check(1, 15, true, append(body, inTag...)); err == nil {
		t.Error("2^32 tagged fields inside a tagged field pass")
	}
}

// TestElementBytes: no element of any request is larger than what Check counts for one.
func TestElementBytes(t *testing.T) {
	var walk func(name string, typ reflect.Type)
	walk = func(name string, typ reflect.Type) {
		switch typ.Kind() {
		case reflect.Struct:
			if typ == reflect.TypeFor[kmsg.Tags]() {
				return
			}
			for f := range typ.NumField() {
				walk(name+"."+typ.Field(f).Name, typ.Field(f).Type)
			}
		case reflect.Pointer:
			walk(name, typ.Elem())
		case reflect.Slice:
			if typ.Elem().Size() > elementBytes {
				t.Errorf("an element of %s takes %d bytes", name, typ.Elem().Size())
			}
			walk(name, typ.Elem())
		}
	}
	for _, key := range shapedKeys() {
		walk(kmsg.NameForKey(key), reflect.TypeOf(kmsg.RequestForKey(key)))
	}
}

// fuzzSlack is what a decoder may allocate beside what it is given, and whatever else runs meanwhile.
const fuzzSlack = 64 << 10

// allocated is the number of bytes that were ever allocated.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzCheck: what passes the check costs kmsg no more than Check says, and neither panics.
func FuzzCheck(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, key := range shapedKeys() {
		req := kmsg.RequestForKey(key)
		for _, version := range []int16{0, req.MaxVersion()} {
			req.SetVersion(version)
			fill(r, reflect.ValueOf(req))
			f.Add(key, version, req.AppendTo(nil))
		}
	}
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) {
		if shapeOf(key) == nil {
			return
		}
		req := kmsg.RequestForKey(key)
		if version < 0 || version > req.MaxVersion() {
			version = req.MaxVersion()
		}
		req.SetVersion(version)
		cost, err := Check(key, version, req.IsFlexible(), body)
		if err != nil {
			return
		}
		if cost > int64(len(body))*elementBytes {
			t.Fatalf("%d bytes cost %d", len(body), cost)
		}
		before := allocated()
		err = req.ReadFrom(body)
		if got, allowed := allocated()-before, uint64(cost)+2*uint64(len(body))+fuzzSlack; got > allowed {
			t.Fatalf("%s v%d: decoding %d bytes allocates %d, counted are %d", kmsg.NameForKey(key), version, len(body), got, cost)
		}
		if err != nil {
			return // kmsg also judges what may be null
		}
		again := req.AppendTo(nil)
		if _, err := Check(key, version, req.IsFlexible(), again); err != nil {
			t.Fatalf("encoded again: %v", err)
		}
	})
}
