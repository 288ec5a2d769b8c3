package pipeline

import (
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firn-io/firn/runtime/route"
)

// routing is the routes of a job whose records name their tables, as a program makes them that runs the job.
type routing struct {
	template *route.Template
	tables   *route.Tables
	mem      memory.Allocator

	mu     sync.Mutex // guards what follows
	byName map[string]*route.Route
}

func newRouting(t *testing.T, template, pattern string, most int, letters string, mem memory.Allocator) *routing {
	t.Helper()
	parsed, err := route.Parse(template, pattern)
	if err != nil {
		t.Fatal(err)
	}
	return &routing{template: parsed, tables: route.NewTables(most, letters), mem: mem, byName: map[string]*route.Route{}}
}

// name is Config.Route.
func (r *routing) name(topic string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := r.template.Of(topic)
	r.byName[found.Name()] = found
	return found.Name()
}

// named is the route of a name that was given.
func (r *routing) named(name string) *route.Route {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byName[name]
}

// fills is Config.Fills.
func (r *routing) fills(topic, table string) bool {
	return r.tables.Fills(r.template.Of(topic), table)
}

// steps is Config.OpenTransforms: the step of the route behind others, which may be nil.
func (r *routing) steps(others func(table string) ([]Step, error)) func(table string) ([]Step, error) {
	return func(table string) (all []Step, err error) {
		if others != nil {
			all, err = others(table)
		}
		return append(all, Step{"route", route.NewStep(r.named(table), r.tables, r.mem)}), err
	}
}
