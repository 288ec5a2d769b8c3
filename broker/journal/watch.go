package journal

import (
	"sync"

	"github.com/firn-io/firn/kfs"
)

// watchers are those who wait for records.
type watchers struct {
	mu   sync.Mutex // guards of
	of   map[kfs.PartitionID]map[*Watch]struct{}
	over bool // the journal has stopped
}

// Watch tells of records that come to some partitions. It costs nothing while none come.
type Watch struct {
	watchers *watchers
	ids      []kfs.PartitionID
	changed  chan struct{}
}

// Watch begins to watch partitions. Look at them after that, then wait for C: nothing is missed. The caller calls Stop.
func (j *Journal) Watch(ids []kfs.PartitionID) *Watch {
	w := &Watch{watchers: &j.watch, ids: ids, changed: make(chan struct{}, 1)}
	ws := &j.watch
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.over {
		w.changed <- struct{}{}
		return w
	}
	if ws.of == nil {
		ws.of = map[kfs.PartitionID]map[*Watch]struct{}{}
	}
	for _, id := range ids {
		if ws.of[id] == nil {
			ws.of[id] = map[*Watch]struct{}{}
		}
		ws.of[id][w] = struct{}{}
	}
	return w
}

// C yields a value when one of the partitions has more records, or another log start, or has ended, since the last value, and when
// the journal stops.
func (w *Watch) C() <-chan struct{} { return w.changed }

// Stop ends the watch.
func (w *Watch) Stop() {
	ws := w.watchers
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, id := range w.ids {
		if delete(ws.of[id], w); len(ws.of[id]) == 0 {
			delete(ws.of, id)
		}
	}
}

func (ws *watchers) notify(ids []kfs.PartitionID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, id := range ids {
		for w := range ws.of[id] {
			w.wake()
		}
	}
}

// notifyAll wakes everybody: the journal has stopped.
func (ws *watchers) notifyAll() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.over = true
	for _, of := range ws.of {
		for w := range of {
			w.wake()
		}
	}
}

func (w *Watch) wake() {
	select {
	case w.changed <- struct{}{}:
	default:
	}
}
