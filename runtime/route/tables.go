package route

import (
	"strings"
	"sync"
)

// MaxTables is how many tables a job's records may make, unless it says otherwise.
const MaxTables = 100

// Tables are the tables that the records of one job have made: shared by its topics, safe for concurrent use. They last as long as the
// process; what a later one must know, or another one beside it, it learns from the tables. So processes that share a job may make more than
// max between them before they know of each other's.
type Tables struct {
	max int

	mu     sync.Mutex
	owners map[string]*owner // by name in lower case, for some catalogs and engines take both cases for one
}

// owner is whose a table is.
type owner struct {
	name  string
	topic string
	label string // the values that have made it; "" if that is not known
	there bool   // it is there; else rows are to make it
}

// NewTables is the tables of a job, max of them at most. reserved are names that belong to something else.
func NewTables(max int, reserved ...string) *Tables {
	t := &Tables{max: max, owners: map[string]*owner{}}
	for _, name := range reserved {
		t.owners[strings.ToLower(name)] = &owner{name: name, there: true}
	}
	t.max += len(t.owners)
	return t
}

// reserved reports whether a name belongs to something else, however a route may match it: the table of the job's dead letters is filled by the
// same job and from the same sources as those of its rows.
func (t *Tables) reserved(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.owners[strings.ToLower(name)]
	return ok && o.topic == ""
}

// Fills reports whether a route's rows may make or fill a table.
func (t *Tables) Fills(r *Route, table string) bool { return r.Matches(table) && !t.reserved(table) }

// admit decides whether a topic's values may have a table.
func (t *Tables) admit(topic, name, label string) *refusal {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.owners[strings.ToLower(name)]
	switch {
	case !ok && len(t.owners) >= t.max:
		return refuse(Limit, "table %s would be more than the %d that the job's records may make: raise table.max, or name tables by something that has fewer values", name, t.max)
	case !ok:
		t.owners[strings.ToLower(name)] = &owner{name: name, topic: topic, label: label}
	case o.topic != topic:
		return refuse(Collision, "table %s is not of topic %s", o.name, topic)
	case o.name != name:
		return refuse(Collision, "tables %s and %s differ in case only", o.name, name)
	case o.label == "":
		o.label = label
	case o.label != label:
		return refuse(Collision, "table %s is that of %s, this is %s", name, o.label, label)
	}
	return nil
}

// know notes a table that is there, and of what topic and values it is: another process may have made it for others than this one has admitted.
func (t *Tables) know(topic, name, label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.owners[strings.ToLower(name)]
	if !ok || !o.there || o.topic == topic && o.label == "" {
		t.owners[strings.ToLower(name)] = &owner{name, topic, label, true}
	}
}
