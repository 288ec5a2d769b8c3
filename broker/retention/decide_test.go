package retention

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

func TestDecide(t *testing.T) {
	// Ten offsets and 100 bytes each, at times 0, 10, 20, 30 s; it is 40 s.
	four := []journal.Range{
		{Span: kfs.Span{Base: 0, Next: 10}, Bytes: 100, Time: 0}, {Span: kfs.Span{Base: 10, Next: 20}, Bytes: 100, Time: 10_000},
		{Span: kfs.Span{Base: 20, Next: 30}, Bytes: 100, Time: 20_000}, {Span: kfs.Span{Base: 30, Next: 40}, Bytes: 100, Time: 30_000},
	}
	at := func(times ...int64) []journal.Range {
		ranges := slices.Clone(four[:len(times)])
		for i := range ranges {
			ranges[i].Time = times[i]
		}
		return ranges
	}
	const forever, unlimited = -1, -1
	none := kfs.Span{}
	for name, c := range map[string]struct {
		ranges  []journal.Range
		from    int64 // log start
		age     int64
		bytes   int64
		limit   time.Duration
		hold    int64
		start   int64
		held    int64
		overrun kfs.Span
	}{
		"for ever":                    {four, 0, forever, unlimited, 0, nobody, 0, 0, none},
		"all young enough":            {four, 0, 40_000, unlimited, 0, nobody, 0, 0, none},
		"one too old":                 {four, 0, 39_999, unlimited, 0, nobody, 10, 0, none},
		"as old as allowed stays":     {four, 0, 30_000, unlimited, 0, nobody, 10, 0, none},
		"the active end goes too":     {four, 0, 5_000, unlimited, 0, nobody, 40, 0, none},
		"nothing left":                {nil, 40, 0, 0, 0, nobody, 40, 0, none},
		"an age of nothing":           {four, 0, 0, unlimited, 0, nobody, 40, 0, none},
		"a young one first":           {at(39_000, 0, 0), 0, 10_000, unlimited, 0, nobody, 0, 0, none},
		"a young one between":         {at(0, 39_000, 0), 0, 10_000, unlimited, 0, nobody, 10, 0, none},
		"from the future":             {at(50_000, 0), 0, 0, unlimited, 0, nobody, 0, 0, none},
		"from far in the future":      {at(math.MaxInt64, 0), 0, math.MaxInt64, 0, time.Hour, 5, 0, 200, none},
		"without a time":              {at(-1, 0), 0, 10_000, unlimited, 0, nobody, 0, 0, none},
		"from the middle of a range":  {four, 5, 39_999, unlimited, 0, nobody, 10, 0, none},
		"size fits":                   {four, 0, forever, 400, 0, nobody, 0, 0, none},
		"size would fall below":       {four, 0, forever, 301, 0, nobody, 0, 0, none},
		"size stays as large":         {four, 0, forever, 300, 0, nobody, 10, 0, none},
		"a size of nothing":           {four, 0, forever, 0, 0, nobody, 40, 0, none},
		"age takes more than size":    {four, 0, 15_000, 300, 0, nobody, 30, 0, none},
		"size takes more than age":    {four, 0, 39_999, 100, 0, nobody, 30, 0, none},
		"held from the start":         {four, 0, 0, unlimited, time.Hour, 0, 0, 400, none},
		"held from the second":        {four, 0, 0, unlimited, time.Hour, 10, 10, 300, none},
		"held inside a range":         {four, 0, 0, unlimited, time.Hour, 15, 10, 300, none},
		"held, but it is not due":     {four, 0, 39_999, unlimited, time.Hour, 20, 10, 0, none},
		"held by size":                {four, 0, forever, 100, time.Hour, 10, 10, 200, none},
		"held at the end":             {four, 0, 0, unlimited, time.Hour, 40, 40, 0, none},
		"held too long":               {four, 0, 5_000, unlimited, 20 * time.Second, 5, 20, 200, kfs.Span{Base: 5, Next: 20}},
		"held too long, by size":      {four, 0, forever, 100, 25 * time.Second, 0, 20, 100, kfs.Span{Base: 0, Next: 20}},
		"held too long from a middle": {four, 7, 5_000, unlimited, 20 * time.Second, 0, 20, 200, kfs.Span{Base: 7, Next: 20}},
		"held before, none behind":    {at(20_000, 0), 0, 5_000, unlimited, 20 * time.Second, 0, 0, 200, none},
	} {
		var bytes int64
		for _, r := range c.ranges {
			bytes += r.Bytes
		}
		v := decide(c.from, slices.Values(c.ranges), bytes, policy{c.age, c.bytes, c.limit}, c.hold, 40_000)
		if v.start != c.start || v.held != c.held || v.overrun.Len() != c.overrun.Len() || !v.overrun.Empty() && v.overrun != c.overrun {
			t.Errorf("%s: the log starts at %d, %d bytes held, %s overrun; want %d, %d, %s", name, v.start, v.held, v.overrun, c.start, c.held, c.overrun)
		}
	}
}
