package work

import (
	"cmp"
	"slices"
)

// groupRef names a group of a worker.
type groupRef struct{ worker, id string }

// What the exchange of groups depends on, beside opened.
type (
	// handing says that a group of this worker waits for a commit, in the store.
	handing struct{ handed handed }
	// takenBack says that this worker does not wait for a group any more.
	takenBack struct{ id string }
	// judged says what became of another's group.
	judged struct {
		of      groupRef
		verdict verdict
	}
	// exchanged is what the workers' keys say, those of workers that are gone left out.
	exchanged struct{ keys map[string]groupsKey }
	// peers are the live workers.
	peers struct{ workers []string }
)

func (handing) event()   {}
func (takenBack) event() {}
func (judged) event()    {}
func (exchanged) event() {}
func (peers) event()     {}

// What is done about it.
type (
	// putGroups says in the worker's key what it has handed over and answers.
	putGroups struct{ key groupsKey }
	// take asks for a group of another worker to be read and committed; judged ends it.
	take struct {
		of     groupRef
		handed handed
	}
	// answered tells what became of a group of this worker.
	answered struct {
		id      string
		verdict verdict
	}
	// forsaken tells that a group of this worker waits for a committer that is gone or is this worker.
	forsaken struct{ id string }
)

func (putGroups) effect() {}
func (take) effect()      {}
func (answered) effect()  {}
func (forsaken) effect()  {}

// exchange decides which groups of other workers this one commits, and follows those that it has handed over: no I/O, no clock.
type exchange struct {
	self    string
	workers []string
	keys    map[string]groupsKey
	handed  map[string]handed
	to      map[string]string    // the committer of each when it was handed over
	taken   map[groupRef]verdict // "" while it is being committed
}

func newExchange(self string) *exchange {
	return &exchange{self: self, keys: map[string]groupsKey{}, handed: map[string]handed{}, to: map[string]string{}, taken: map[groupRef]verdict{}}
}

// committer is the worker that commits to a table; "" as long as no worker is known.
func (x *exchange) committer(table string) string { return committerOf(x.workers, table) }

// step takes what happened and says what to do.
func (x *exchange) step(e event) []effect {
	var effects []effect
	changed := false
	switch e := e.(type) {
	case opened:
		changed = true
	case handing:
		x.handed[e.handed.ID], x.to[e.handed.ID] = e.handed, x.committer(e.handed.Table)
		changed = true
	case takenBack:
		_, changed = x.handed[e.id]
		delete(x.handed, e.id)
		delete(x.to, e.id)
	case judged:
		if _, ok := x.taken[e.of]; ok {
			x.taken[e.of] = e.verdict
			changed = true
		}
	case exchanged:
		x.keys = e.keys
	case peers:
		x.workers = e.workers
		for _, id := range sortedKeys(x.handed) {
			if x.to[id] != x.committer(x.handed[id].Table) {
				effects = append(effects, forsaken{id})
			}
		}
	}
	more, forgot := x.look()
	effects = append(effects, more...)
	if changed || forgot {
		effects = append(effects, putGroups{x.key()})
	}
	return effects
}

// look goes through the workers' keys. forgot says that there is less to answer than before.
func (x *exchange) look() (effects []effect, forgot bool) {
	waiting := map[groupRef]bool{}
	for _, worker := range sortedKeys(x.keys) {
		if worker == x.self {
			continue
		}
		for _, h := range x.keys[worker].Handed {
			of := groupRef{worker, h.ID}
			waiting[of] = true
			if _, ok := x.taken[of]; !ok && x.committer(h.Table) == x.self {
				x.taken[of] = ""
				effects = append(effects, take{of, h})
			}
		}
		for _, a := range x.keys[worker].Answers {
			if _, ok := x.handed[a.ID]; ok && a.Worker == x.self {
				effects = append(effects, answered{a.ID, a.Verdict})
			}
		}
	}
	for of, v := range x.taken {
		if v != "" && !waiting[of] {
			delete(x.taken, of)
			forgot = true
		}
	}
	return effects, forgot
}

// key is what this worker says, in an order that does not depend on chance: others take groups in it.
func (x *exchange) key() groupsKey {
	var key groupsKey
	for _, id := range sortedKeys(x.handed) {
		key.Handed = append(key.Handed, x.handed[id])
	}
	for of, v := range x.taken {
		if v != "" {
			key.Answers = append(key.Answers, answer{of.worker, of.id, v})
		}
	}
	slices.SortFunc(key.Answers, func(a, b answer) int { return cmp.Or(cmp.Compare(a.Worker, b.Worker), cmp.Compare(a.ID, b.ID)) })
	return key
}
