package differential

import (
	"fmt"
	"math/rand/v2"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Generate makes the sequence of a seed, of APIs and versions that all servers have. It is the same each time for the same ones.
func Generate(seed uint64, common map[int16]Range) *Sequence {
	g := &generator{
		rng: rand.New(rand.NewPCG(seed, 0xf1)), common: common, sequence: &Sequence{Seed: seed},
		topics: map[string]*topic{}, producers: map[string]map[string]int32{}, groups: map[string]*members{}, trimmed: map[string]bool{}, timeless: map[string]bool{},
	}
	g.begin()
	ops := g.pick(g.themes())
	for n := 8 + g.rng.IntN(10); n > 0; n-- {
		g.pickOp(ops)()
	}
	g.readBack()
	return g.sequence
}

// generator keeps a rough idea of what the sequence does, to ask for what is there more often than for what is not. It need not be right.
type generator struct {
	rng       *rand.Rand
	common    map[int16]Range
	sequence  *Sequence
	topics    map[string]*topic
	trimmed   map[string]bool             // topics of which records were deleted
	timeless  map[string]bool             // topics that were given records without a time
	producers map[string]map[string]int32 // next sequence number by partition
	groups    map[string]*members
	labels    int
	session   *fetchSession
}

// topic is what the generator believes of a topic.
type topic struct {
	partitions int
	ends       []int64
}

type op struct {
	weight int
	do     func()
}

// themes are what sequences are about: each does much of something and a little of the rest.
func (g *generator) themes() [][]op {
	rare := []op{{1, g.metadata}, {1, g.listOffsets}, {1, g.produce}, {1, g.fetch}, {1, g.oddRequests}}
	return [][]op{
		append(rare, op{8, g.produce}, op{8, g.fetch}, op{4, g.listOffsets}, op{3, g.deleteRecords}, op{2, g.leaderEpoch}),
		append(rare, op{10, g.produceIdempotently}, op{2, g.initProducer}, op{3, g.describeProducers}, op{2, g.deleteRecords}),
		append(rare, op{3, g.produce}, op{14, g.fetchInSession}, op{1, g.deleteRecords}, op{1, g.deleteTopics}),
		append(rare, op{6, g.createTopics}, op{3, g.deleteTopics}, op{4, g.createPartitions}, op{4, g.metadata}, op{3, g.describeTopics}),
		append(rare, op{6, g.alterConfigs}, op{6, g.describeConfigs}, op{3, g.produce}, op{2, g.createTopics}),
		append(rare, op{8, g.commit}, op{6, g.fetchOffsets}, op{3, g.deleteOffsets}, op{2, g.deleteGroups}, op{3, g.describeGroups}),
		append(rare, op{5, g.groupLife}, op{6, g.groupProbe}, op{2, g.commit}, op{2, g.fetchOffsets}, op{3, g.describeGroups}),
	}
}

func (g *generator) pick(themes [][]op) []op { return themes[g.rng.IntN(len(themes))] }

func (g *generator) pickOp(ops []op) func() {
	total := 0
	for _, o := range ops {
		total += o.weight
	}
	n := g.rng.IntN(total)
	for _, o := range ops {
		if n -= o.weight; n < 0 {
			return o.do
		}
	}
	panic("differential: weights do not add up")
}

// add appends a step that asks R in some version. What fill gets is a request of defaults. If not all servers have the API, the step is
// none of the sequence.
func add[R kmsg.Request](g *generator, text string, fill func(s *Side, r R)) *Step {
	return addVersion(g, -1, text, fill)
}

// addVersion is add in a given version, or the nearest that there is; -1 for any.
func addVersion[R kmsg.Request](g *generator, version int16, text string, fill func(s *Side, r R)) *Step {
	fresh := func() R {
		r := reflect.New(reflect.TypeFor[R]().Elem()).Interface().(R)
		any(r).(interface{ Default() }).Default()
		return r
	}
	key := fresh().Key()
	versions, ok := g.common[key]
	if !ok {
		return &Step{}
	}
	if version < 0 {
		version = g.version(key)
	}
	version = max(versions.Min, min(version, versions.Max))
	g.sequence.Steps = append(g.sequence.Steps, Step{key: key, version: version, Text: text, Build: func(s *Side) kmsg.Request {
		r := fresh()
		r.SetVersion(version)
		fill(s, r)
		return r
	}})
	return &g.sequence.Steps[len(g.sequence.Steps)-1]
}

// version draws one of the versions of an API that all servers have; 0 if they do not have it.
func (g *generator) version(key int16) int16 {
	r := g.common[key]
	return r.Min + int16(g.rng.IntN(int(r.Max-r.Min)+1))
}

// maybe is true once in n.
func (g *generator) maybe(n int) bool { return g.rng.IntN(n) == 0 }

// of draws one of some values.
func of[T any](g *generator, values ...T) T { return values[g.rng.IntN(len(values))] }

func (g *generator) label() string {
	g.labels++
	return fmt.Sprintf("v%d", g.labels)
}

// someTopic is a topic that is there, mostly.
func (g *generator) someTopic() string {
	if g.maybe(12) {
		return of(g, "ghost", "t3", "=bad name", "=")
	}
	return of(g, "t0", "t0", "t1", "t2")
}

// somePartition is a partition that is there, mostly.
func (g *generator) somePartition(name string) int32 {
	if t := g.topics[name]; t != nil && t.partitions > 0 && !g.maybe(15) {
		return int32(g.rng.IntN(t.partitions))
	}
	return of[int32](g, 0, 1, 7, -1)
}

// end is where a partition ends, as far as is known.
func (g *generator) end(name string, partition int32) int64 {
	if t := g.topics[name]; t != nil && partition >= 0 && int(partition) < len(t.ends) {
		return t.ends[partition]
	}
	return 0
}

func (g *generator) grow(name string, partition int32, records int) {
	if t := g.topics[name]; t != nil && partition >= 0 && int(partition) < len(t.ends) {
		t.ends[partition] += int64(records)
	}
}

// someOffset is in or about a partition.
func (g *generator) someOffset(name string, partition int32) int64 {
	end := g.end(name, partition)
	return of(g, 0, end, end-1, end+1, g.rng.Int64N(end+1), g.rng.Int64N(end+1), end/2, of[int64](g, -1, -2, 1<<40))
}

// begin makes the topics that a sequence has from its start, and puts something there.
func (g *generator) begin() {
	for i, partitions := range []int{1, 3, 2} {
		g.createTopic(fmt.Sprintf("t%d", i), partitions)
	}
	g.produce()
}
