package work

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/processor"
)

const (
	// maxGroupBytes bounds the object of a group. Groups that would be larger are not handed over.
	maxGroupBytes = 64 << 20
	// maxGroupSources bounds what is believed of one.
	maxGroupSources = 1 << 20
	groupMagic      = "firn group 1 " // then the CRC of what follows the line, in 8 hexadecimal digits, and a line feed
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// group is staged output on its way to the committer of its table: what a Commit of its sink would be called with. It is an object of
// the source's store:
//
//	firn group 1 89abcdef\n     magic, version, CRC-32C of the rest
//	{"job": …}                  groupFile
type group struct {
	job    string
	config string // Config.Hash, which the commit's receipt says
	table  string
	from   processor.Positions
	to     processor.Positions
	staged []processor.Staged
}

type groupFile struct {
	Job     string        `json:"job"`
	Config  string        `json:"config,omitempty"`
	Table   string        `json:"table"`
	Sources []groupSource `json:"sources"`
	Staged  []groupStaged `json:"staged"`
}

// groupSource is a source that the group advances.
type groupSource struct {
	Topic     string      `json:"topic"`
	ID        kfs.TopicID `json:"id"`
	Partition int32       `json:"partition"`
	From      int64       `json:"from"`
	To        int64       `json:"to"`
}

type groupStaged struct {
	Spans []groupSpan `json:"spans"`
	Data  []byte      `json:"data"`
}

// groupSpan is a span of one of groupFile.Sources.
type groupSpan struct {
	Source int   `json:"source"`
	Base   int64 `json:"base"`
	Next   int64 `json:"next"`
}

// groupKey is where a worker puts a group. Both ids are valid.
func groupKey(job, worker, id string) string { return GroupsPrefix(job) + worker + "/" + id }

// GroupsPrefix is where the groups of a job lie that were handed to a committer and wait.
func GroupsPrefix(job string) string { return kfs.JobsPrefix + job + "/groups/" }

// encode is the group's object; the same check runs as when it is read.
func (g *group) encode() ([]byte, error) {
	f := groupFile{Job: g.job, Config: g.config, Table: g.table, Sources: []groupSource{}, Staged: []groupStaged{}}
	index := map[processor.Source]int{}
	for _, s := range sortedSources(g.to) {
		from, ok := g.from[s]
		if !ok {
			return nil, fmt.Errorf("%s/%d has no beginning", s.Topic, s.Partition)
		}
		index[s] = len(f.Sources)
		f.Sources = append(f.Sources, groupSource{s.Topic, s.ID, s.Partition, from, g.to[s]})
	}
	for _, st := range g.staged {
		one := groupStaged{Spans: []groupSpan{}, Data: st.Data}
		for _, s := range sortedSources(st.Spans) {
			i, ok := index[s]
			if !ok {
				return nil, fmt.Errorf("staged output covers %s/%d, which the group does not advance", s.Topic, s.Partition)
			}
			one.Spans = append(one.Spans, groupSpan{i, st.Spans[s].Base, st.Spans[s].Next})
		}
		f.Staged = append(f.Staged, one)
	}
	if err := f.validate(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("%s%08x\n", groupMagic, crc32.Checksum(body, castagnoli))
	if len(head)+len(body) > maxGroupBytes {
		return nil, fmt.Errorf("a group of %d bytes: at most %d travel", len(head)+len(body), maxGroupBytes)
	}
	return append([]byte(head), body...), nil
}

// decodeGroup reads what encode wrote, and believes nothing of it: it comes from another process, perhaps of another version.
func decodeGroup(object []byte) (*group, error) {
	if len(object) > maxGroupBytes {
		return nil, fmt.Errorf("group of %d bytes, at most %d", len(object), maxGroupBytes)
	}
	line, body, ok := bytes.Cut(object, []byte("\n"))
	sum, magic := strings.CutPrefix(string(line), groupMagic)
	switch {
	case !ok || !magic:
		return nil, errors.New("this is no group, or one of another version")
	case sum != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)):
		return nil, fmt.Errorf("group is damaged: CRC %08x, the first line says %s", crc32.Checksum(body, castagnoli), sum)
	}
	var f groupFile
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&f); err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("group: more than one value")
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("group: %w", err)
	}
	g := &group{job: f.Job, config: f.Config, table: f.Table, from: processor.Positions{}, to: processor.Positions{}}
	for _, s := range f.Sources {
		g.from[s.source()], g.to[s.source()] = s.From, s.To
	}
	for _, st := range f.Staged {
		one := processor.Staged{Spans: map[processor.Source]kfs.Span{}, Data: st.Data}
		for _, s := range st.Spans {
			one.Spans[f.Sources[s.Source].source()] = kfs.Span{Base: s.Base, Next: s.Next}
		}
		g.staged = append(g.staged, one)
	}
	return g, nil
}

func (s *groupSource) source() processor.Source {
	return processor.Source{Topic: s.Topic, ID: s.ID, Partition: s.Partition}
}

// validate checks the group by itself. Whether it fits the table, the sink finds out.
func (f *groupFile) validate() error {
	if err := kfs.ValidateTopicName(f.Job); err != nil {
		return fmt.Errorf("job name: %w", err)
	}
	if f.Table == "" || len(f.Sources) == 0 || len(f.Sources) > maxGroupSources {
		return fmt.Errorf("table %q with %d sources", f.Table, len(f.Sources))
	}
	seen := map[processor.Source]bool{}
	for i := range f.Sources {
		s := &f.Sources[i]
		if err := kfs.ValidateTopicName(s.Topic); err != nil {
			return err
		}
		if s.Partition < 0 || s.From < 0 || s.To < s.From || seen[s.source()] {
			return fmt.Errorf("%s/%d from %d to %d (twice: %t)", s.Topic, s.Partition, s.From, s.To, seen[s.source()])
		}
		seen[s.source()] = true
	}
	for _, st := range f.Staged {
		covered := map[int]bool{}
		for _, s := range st.Spans {
			if s.Source < 0 || s.Source >= len(f.Sources) || covered[s.Source] {
				return fmt.Errorf("a span of source %d, of %d, or two of it", s.Source, len(f.Sources))
			}
			covered[s.Source] = true
			if of := f.Sources[s.Source]; s.Base < of.From || s.Next < s.Base || s.Next > of.To {
				return fmt.Errorf("a span [%d, %d) of %s/%d, which the group takes from %d to %d", s.Base, s.Next, of.Topic, of.Partition, of.From, of.To)
			}
		}
	}
	return nil
}

func sortedSources[V any](m map[processor.Source]V) []processor.Source {
	return slices.SortedFunc(maps.Keys(m), processor.Source.Compare)
}

// admit goes through groups in order and takes those that begin where the table stands, at known where that is said, after those before
// them. A group is taken whole or not at all. The sum is one group of all that were taken.
func admit(known processor.Positions, groups []*group) (sum group, taken []bool) {
	at := maps.Clone(known)
	if at == nil {
		at = processor.Positions{}
	}
	sum = group{from: processor.Positions{}, to: processor.Positions{}}
	taken = make([]bool, len(groups))
	for i, g := range groups {
		taken[i] = true
		for source, from := range g.from {
			if next, ok := at[source]; ok && next != from {
				taken[i] = false
			}
		}
		if !taken[i] {
			continue
		}
		for source, to := range g.to {
			if _, ok := sum.from[source]; !ok {
				sum.from[source] = g.from[source]
			}
			at[source], sum.to[source] = to, to
		}
		sum.staged = append(sum.staged, g.staged...)
	}
	return sum, taken
}
