package pipeline

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs/lease"
)

// simLeases is etcd as the workers of a simulation see it. Each has a memory of its own, where it puts its keys; what the others have put in
// theirs it hears when the scheduler says so, one worker and one key at a time, and all of it before anything else happens. In one memory a
// change would wake all of them at one moment, and whose claim is first would be left to chance.
type simLeases struct {
	simulation *simulation
	keys       map[string]simKey // of all workers that there were
	revision   int               // of the last change
}

// simKey is a key as its worker has put it last.
type simKey struct {
	of       *simProcess
	value    string // "": it is gone
	revision int
}

// simEar is how a worker hears of others.
type simEar struct {
	memory  *lease.Memory
	service *lease.Service     // of that memory, for what others have put
	heard   map[string]simWord // by key
}

// simWord is what a worker has heard of a key. It is bound to a session of its own.
type simWord struct {
	value   string
	session *lease.Session
}

const (
	simLeasePrefix = "jobs/" + simJob + "/" // begins the keys of all workers
	simForever     = 365 * 24 * time.Hour   // longer than any simulation
)

func newSimLeases(s *simulation) *simLeases {
	return &simLeases{simulation: s, keys: map[string]simKey{}}
}

func newSimEar() *simEar {
	memory := lease.NewMemory()
	return &simEar{memory: memory, service: memory.Service("", simForever), heard: map[string]simWord{}}
}

// self is the key of a process that says what it claims.
func (p *simProcess) self() string { return simLeasePrefix + "workers/" + p.member.Self() }

// look finds out what the workers have put. None of them runs meanwhile.
func (l *simLeases) look() {
	for _, p := range l.simulation.processes {
		entries, err := p.ear.service.List(l.simulation.t.Context(), simLeasePrefix)
		if err != nil {
			l.simulation.t.Fatal(err)
		}
		now := map[string]string{}
		for _, e := range entries {
			if strings.HasSuffix(e.Key, p.member.Self()) {
				now[e.Key] = e.Value
			}
		}
		for key, k := range l.keys {
			if _, ok := now[key]; k.of == p && !ok {
				now[key] = ""
			}
		}
		for _, key := range slices.Sorted(maps.Keys(now)) {
			if l.keys[key].value != now[key] {
				l.revision++
				l.keys[key] = simKey{p, now[key], l.revision}
			}
		}
	}
}

// news are the keys of others that a worker has to hear of, in the order in which it does: a claim comes before whatever made it possible, so
// that a worker does not believe to be free what somebody has claimed.
func (l *simLeases) news(p *simProcess) []string {
	var all []string
	for key, k := range l.keys {
		if k.of != p && k.value != p.ear.heard[key].value {
			all = append(all, key)
		}
	}
	slices.SortFunc(all, func(a, b string) int {
		return cmp.Or(cmp.Compare(l.gone(a), l.gone(b)), cmp.Compare(l.keys[b].revision, l.keys[a].revision))
	})
	return all
}

// gone is 1 for a key that is not there any more, else 0.
func (l *simLeases) gone(key string) int {
	if l.keys[key].value == "" {
		return 1
	}
	return 0
}

// spread has one worker, whichever the scheduler draws, hear of one key of another. It reports whether there was any news.
func (l *simLeases) spread() bool {
	l.look()
	s := l.simulation
	all := slices.DeleteFunc(slices.Clone(s.processes), func(p *simProcess) bool { return p.dead || p.ended() || len(l.news(p)) == 0 })
	if len(all) == 0 {
		return false
	}
	p := all[0]
	if len(all) > 1 {
		p = all[s.rng.IntN(len(all))]
	}
	key := l.news(p)[0]
	kind, _, _ := strings.Cut(strings.TrimPrefix(key, simLeasePrefix), "/")
	s.say("%d hears of %s of %d", p.n, kind, l.keys[key].of.n)
	l.tell(p, key)
	return true
}

// tell has a worker hear of a key.
func (l *simLeases) tell(p *simProcess, key string) {
	word, value := p.ear.heard[key], l.keys[key].value
	if err := word.tell(l.simulation.t.Context(), p.ear.service, key, value); err != nil {
		l.simulation.t.Fatal(err)
	}
	p.ear.heard[key] = word
}

func (w *simWord) tell(ctx context.Context, service *lease.Service, key, value string) (err error) {
	w.value = value
	if value == "" {
		return w.session.Close()
	}
	if w.session == nil || isClosed(w.session.Done()) {
		if w.session, err = service.Open(ctx); err != nil {
			return err
		}
	}
	return w.session.Put(ctx, key, value)
}

// close ends the sessions of all that was heard.
func (l *simLeases) close() {
	for _, p := range l.simulation.processes {
		for _, word := range p.ear.heard {
			if err := word.session.Close(); err != nil {
				l.simulation.t.Error(err)
			}
		}
	}
}
