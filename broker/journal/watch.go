package journal

import (
	"sync"

	"github.com/firn-io/firn/kfs"
)

// watchers are those who wait for records.
type watchers struct {
	mu   sync.Mutex // guards what follows
	of   map[kfs.PartitionID]map[*watch]struct{}
	over bool // the journal has stopped
}

// watch is one call of Watch.
type watch struct {
	ids  []kfs.PartitionID
	wake chan<- struct{}
}

// Watch sends to wake, without ever blocking, whenever one of the partitions has more records or another log start or has ended, and
// when the journal stops; so wake has a buffer. Watch first, then look at the partitions, then wait: nothing is missed. It costs
// nothing while nothing happens. The caller calls stop.
func (j *Journal) Watch(ids []kfs.PartitionID, wake chan<- struct{}) (stop func()) {
	return j.watchers.add(&watch{ids, wake})
}

func (ws *watchers) add(w *watch) (stop func()) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.over {
		w.send()
		return func() {}
	}
	if ws.of == nil {
		ws.of = map[kfs.PartitionID]map[*watch]struct{}{}
	}
	for _, id := range w.ids {
		if ws.of[id] == nil {
			ws.of[id] = map[*watch]struct{}{}
		}
		ws.of[id][w] = struct{}{}
	}
	return func() { ws.remove(w) }
}

func (ws *watchers) remove(w *watch) {
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
			w.send()
		}
	}
}

// notifyTopic wakes those who wait for any partition of a topic.
func (ws *watchers) notifyTopic(topic kfs.TopicID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for id, of := range ws.of {
		if id.Topic != topic {
			continue
		}
		for w := range of {
			w.send()
		}
	}
}

// end wakes everybody: the journal has stopped.
func (ws *watchers) end() {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	ws.over = true
	for _, of := range ws.of {
		for w := range of {
			w.send()
		}
	}
}

func (w *watch) send() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
