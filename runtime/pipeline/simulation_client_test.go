package pipeline

import (
	"context"
	"fmt"
	"strings"

	iceberglib "github.com/apache/iceberg-go"
	icebergcat "github.com/apache/iceberg-go/catalog"
	icetable "github.com/apache/iceberg-go/table"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/catalog/catalogtest"
)

// simClient is the catalog as a process sees it.
type simClient struct {
	p    *simProcess
	own  bool // it commits nothing for others
	slow bool // half of its commits are on their way for long
}

var _ catalog.Client = simClient{}

// do carries an operation out when the scheduler says so.
func (c simClient) do(ctx context.Context, label string, run func() error) error {
	turn := c.p.stop(ctx, label, nil)
	l := c.p.simulation.lake
	commits := strings.HasPrefix(label, "commit")
	switch {
	case turn.gone:
		if commits { // it may be on its way
			l.s.mu.Lock()
			l.late = append(l.late, simLate{fmt.Sprintf("%d %s", c.p.n, label), func() { _ = run() }})
			l.s.mu.Unlock()
		}
		return errSimGone
	case turn.fault == catalogtest.FailBefore:
		return errSimUnknown
	case turn.fault == catalogtest.FailAfter:
		_ = run()
		return errSimRefused
	case turn.fault == catalogtest.LoseReply:
		_ = run()
		return errSimLost
	case commits && (turn.fault == catalogtest.Late || c.slow && turn.n%2 == 0):
		l.s.Late++
		l.late = append(l.late, simLate{fmt.Sprintf("%d %s", c.p.n, label), func() { _ = run() }})
		return errSimLost
	}
	return run()
}

// LoadTable implements catalog.Client. What it gives may be older than the truth, but not than what the process has seen. Its files may be
// out of reach.
func (c simClient) LoadTable(ctx context.Context, ident icetable.Identifier) (*icetable.Table, error) {
	name := strings.Join(ident, ".")
	turn := c.p.stop(ctx, "load "+name, nil)
	if turn.gone {
		return nil, errSimGone
	}
	l := c.p.simulation.lake
	t := l.tables[name]
	if t == nil {
		return nil, fmt.Errorf("%w: %s", icebergcat.ErrNoSuchTable, name)
	}
	version, broken := len(t.versions)-1, false
	switch turn.fault {
	case catalogtest.FailBefore, catalogtest.FailAfter:
		return nil, errSimUnknown
	case catalogtest.LoseReply:
		version = max(c.p.seen[name], version-int(turn.n%3))
	case catalogtest.Late:
		broken = true
	}
	c.p.seen[name] = version
	t.seen = max(t.seen, version)
	l.show(t, version)
	return l.table(c.p, t, version, broken), nil
}

// CreateTable implements catalog.Client.
func (c simClient) CreateTable(ctx context.Context, ident icetable.Identifier, schema *iceberglib.Schema, opts ...icebergcat.CreateTableOpt) (*icetable.Table, error) {
	name := strings.Join(ident, ".")
	l := c.p.simulation.lake
	err := c.do(ctx, "create "+name, func() error {
		_, err := l.create(name, schema, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l.table(c.p, l.tables[name], 0, false), nil
}

// CommitTable implements catalog.Client.
func (c simClient) CommitTable(ctx context.Context, ident icetable.Identifier, reqs []icetable.Requirement, updates []icetable.Update) (icetable.Metadata, string, error) {
	name := strings.Join(ident, ".")
	l := c.p.simulation.lake
	if c.own {
		c.p.checkSent(name, updates)
	}
	if change := c.p.simulation.mistake.commit; change != nil {
		reqs, updates = change(reqs, updates)
	}
	if err := c.do(ctx, "commit "+name, func() error { return l.apply(fmt.Sprint(c.p.n), name, reqs, updates) }); err != nil {
		if failed := c.p.simulation.mistake.failed; failed != nil {
			failed(c, updates)
		}
		return nil, "", err
	}
	t := l.tables[name]
	c.p.seen[name] = len(t.versions) - 1
	t.seen = max(t.seen, c.p.seen[name])
	return t.now(), "", nil
}

// CreateNamespace implements catalog.Client. Namespaces are there.
func (c simClient) CreateNamespace(context.Context, icetable.Identifier, iceberglib.Properties) error {
	return icebergcat.ErrNamespaceAlreadyExists
}
