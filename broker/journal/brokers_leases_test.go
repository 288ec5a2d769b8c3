package journal_test

import (
	"slices"
	"strings"
	"time"

	"github.com/firn-io/firn/kfs/lease"
)

// leases is the lease service: sessions that end when nobody keeps them alive, and keys that are bound to them.
type leases struct {
	w        *world
	last     int64
	sessions map[int64]time.Time // until when
	keys     map[string]leaseKey
	changes  int
}

type leaseKey struct {
	value   string
	session int64
}

func newLeases(w *world) *leases {
	return &leases{w: w, sessions: map[int64]time.Time{}, keys: map[string]leaseKey{}}
}

func (l *leases) grant() int64 {
	l.last++
	l.sessions[l.last] = l.w.clock.Add(lease.DefaultTTL)
	return l.last
}

// keepAlive tells whether there is such a session, and gives it another TTL.
func (l *leases) keepAlive(session int64) bool {
	if _, ok := l.sessions[session]; !ok {
		return false
	}
	l.sessions[session] = l.w.clock.Add(lease.DefaultTTL)
	return true
}

// end ends a session.
func (l *leases) end(session int64) {
	delete(l.sessions, session)
	for key, k := range l.keys {
		if k.session == session {
			delete(l.keys, key)
			l.changes++
		}
	}
}

// expire ends the sessions whose time is over.
func (l *leases) expire() {
	for session, until := range l.sessions {
		if !until.After(l.w.clock) {
			l.end(session)
		}
	}
}

// create takes a key that is free, and tells whether the session has it.
func (l *leases) create(session int64, key, value string) bool {
	if _, ok := l.sessions[session]; !ok {
		return false
	}
	if k, ok := l.keys[key]; ok {
		return k.session == session
	}
	l.keys[key] = leaseKey{value, session}
	l.changes++
	return true
}

func (l *leases) put(session int64, key, value string) {
	if _, ok := l.sessions[session]; ok {
		l.keys[key] = leaseKey{value, session}
		l.changes++
	}
}

func (l *leases) remove(session int64, key string) {
	if l.keys[key].session == session {
		delete(l.keys, key)
		l.changes++
	}
}

func (l *leases) list(prefix string) []lease.Entry {
	var entries []lease.Entry
	for key, k := range l.keys {
		if strings.HasPrefix(key, prefix) {
			entries = append(entries, lease.Entry{Key: key, Value: k.value})
		}
	}
	slices.SortFunc(entries, func(a, b lease.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries
}

// wipe loses everything. Until the sessions that there were know it, two brokers may believe in one lease.
func (l *leases) wipe() {
	l.w.Wipes++
	l.w.say("the lease service loses everything")
	clear(l.sessions)
	clear(l.keys)
	l.changes++
	l.w.doubt(lease.DefaultTTL)
}

// doubt notes that leases may overlap for so long.
func (w *world) doubt(d time.Duration) {
	if until := w.clock.Add(d); until.After(w.unsure) {
		w.unsure = until
	}
}
