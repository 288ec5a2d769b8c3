package group

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

var update = flag.Bool("update", false, "write what the scripts in testdata give into them")

// A script in testdata is a group's life. Each block is a command, a line of ----, and what the command does, which -update writes:
//
//	join TOKEN [id=MEMBER] [instance=I] [client=C] [session=D] [rebalance=D] [type=T] [protocols=NAME:METADATA,…] [v0|v4|v9]
//	sync TOKEN id=MEMBER gen=N [instance=I] [protocol=P] [type=T] [assign=MEMBER:BYTES,…]
//	heartbeat TOKEN id=MEMBER gen=N [instance=I]
//	leave TOKEN MEMBER | MEMBER/INSTANCE | /INSTANCE …
//	commit TOKEN gen=N [id=MEMBER] [instance=I] [offset=N] [partition=N] [v8]
//	beat TOKEN id=MEMBER epoch=N [instance=I] [rack=R] [client=C] [rebalance=D] [topics=T,…] [regex=R] [assignor=A] [owned=T:N,N;…]
//	fetch MEMBER EPOCH whether the member may have offsets
//	topics T:N …       the topics that there are from now on, with their partitions
//	delete TOKEN
//	wait DURATION      time passes, with a tick whenever one is due
//	state              the group as it is
//	describe           a group of the consumer protocol as ConsumerGroupDescribe shows it
//	config delay=D retention=D
//
// Which script shows what Kafka's improvement proposals ask for: session and rebalance timeouts session, waiting, delay (KIP-62, KIP-134);
// static members static (KIP-345, KIP-814); ids that are given first pending (KIP-394); cooperative (KIP-429); protocols in SyncGroup
// refused (KIP-559); and all that begins with consumer, KIP-848 with KIP-1082 and KIP-1251.
//
// A new member is called CLIENT-1, CLIENT-2 and so on, unless it names itself. Times are since the beginning.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d scripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := run(t, script)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			} else if !bytes.Equal(got, script) {
				t.Errorf("the script gives\n%s", got)
			}
		})
	}
}

// run executes a script and gives it back with what really happened.
func run(t *testing.T, script []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	r := &runner{t: t, out: &out, tokens: []string{""}}
	r.reset(Config{})
	lines := bufio.NewScanner(bytes.NewReader(script))
	expected := false
	for lines.Scan() {
		line := lines.Text()
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
			if expected && line == "" {
				expected = false
			}
			fmt.Fprintln(&out, line)
		case line == "----" || expected:
			expected = true
		default:
			fmt.Fprintf(&out, "%s\n----\n", line)
			r.command(line)
		}
	}
	return out.Bytes()
}

type runner struct {
	t      *testing.T
	out    *bytes.Buffer
	g      *Group
	now    time.Time
	ids    map[string]int
	tokens []string // names by number
	topics *metadata.State
}

var start = time.Unix(1_700_000_000, 0)

func (r *runner) reset(cfg Config) {
	r.now, r.ids = start, map[string]int{}
	r.g, r.topics = New(r.now, cfg), clusterOf(r.t)
}

func (r *runner) command(line string) {
	r.t.Helper()
	words := strings.Fields(line)
	args := map[string]string{}
	for _, w := range words[1:] {
		if k, v, ok := strings.Cut(w, "="); ok {
			args[k] = v
		}
	}
	number := func(key string, unset int64) int64 {
		if args[key] == "" {
			return unset
		}
		n, err := strconv.ParseInt(args[key], 10, 64)
		if err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		return n
	}
	gen := int32(number("gen", -1))
	switch words[0] {
	case "config":
		r.reset(Config{InitialDelay: r.duration(args["delay"], 0), OffsetRetention: r.duration(args["retention"], 0)})
	case "wait":
		r.wait(r.duration(words[1], 0))
	case "state":
		r.state()
	case "describe":
		r.describe()
	case "topics":
		r.topics = clusterOf(r.t, words[1:]...)
	case "beat":
		r.step(r.beat(words, args))
	case "fetch":
		fmt.Fprintln(r.out, errorName(r.g.MayFetch(words[1], r.number(words[2]))))
	case "join":
		r.step(r.join(words, args))
	case "sync":
		ev := Sync{Token: r.token(words[1]), MemberID: args["id"], InstanceID: args["instance"], Generation: gen, Protocol: args["protocol"], ProtocolType: args["type"]}
		for _, kv := range pairs(args["assign"]) {
			ev.Assignments = append(ev.Assignments, Assignment{kv[0], []byte(kv[1])})
		}
		r.step(ev)
	case "heartbeat":
		r.step(Heartbeat{Token: r.token(words[1]), MemberID: args["id"], InstanceID: args["instance"], Generation: gen})
	case "leave":
		ev := Leave{Token: r.token(words[1])}
		for _, w := range words[2:] {
			id, instance, _ := strings.Cut(w, "/")
			ev.Members = append(ev.Members, LeavingMember{id, instance})
		}
		r.step(ev)
	case "commit":
		r.step(Commit{Token: r.token(words[1]), MemberID: args["id"], InstanceID: args["instance"], Generation: gen,
			NoEpochs: slices.Contains(words, "v8"),
			Offsets:  []kfs.GroupOffset{{Topic: "t", TopicID: topicID("t"), Partition: int32(number("partition", 0)), Offset: number("offset", 0)}}})
	case "delete":
		r.step(Delete{Token: r.token(words[1])})
	default:
		r.t.Fatalf("unknown command %q", line)
	}
}

func (r *runner) join(words []string, args map[string]string) Join {
	client := args["client"]
	if client == "" {
		client = words[1]
	}
	ev := Join{Token: r.token(words[1]), MemberID: args["id"], InstanceID: args["instance"], ClientID: client, Host: "host",
		Session: r.duration(args["session"], 10*time.Second), Rebalance: r.duration(args["rebalance"], time.Minute), ProtocolType: "consumer",
		RequireMemberID: !slices.Contains(words, "v0"), SkipAssignment: slices.Contains(words, "v9")}
	if args["type"] != "" {
		ev.ProtocolType = args["type"]
	}
	if args["protocols"] == "" {
		args["protocols"] = "range:" + client
	}
	for _, kv := range pairs(args["protocols"]) {
		if kv[0] != "none" {
			ev.Protocols = append(ev.Protocols, Protocol{kv[0], []byte(kv[1])})
		}
	}
	if ev.MemberID == "" {
		r.ids[client]++
		ev.NewID = fmt.Sprintf("%s-%d", client, r.ids[client])
	}
	return ev
}

func pairs(s string) [][2]string {
	var p [][2]string
	for _, kv := range strings.Split(s, ",") {
		if k, v, _ := strings.Cut(kv, ":"); k != "" {
			p = append(p, [2]string{k, v})
		}
	}
	return p
}

func (r *runner) duration(s string, unset time.Duration) time.Duration {
	if s == "" {
		return unset
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		r.t.Fatal(err)
	}
	return d
}

func (r *runner) token(name string) Token {
	r.tokens = append(r.tokens, name)
	return Token(len(r.tokens) - 1)
}

func (r *runner) step(ev Event) {
	for _, e := range r.g.Step(r.now, ev) {
		fmt.Fprintln(r.out, describeEffect(r.tokens, e))
	}
}

func (r *runner) wait(d time.Duration) {
	end := r.now.Add(d)
	for next := r.g.Next(); !next.IsZero() && !next.After(end); next = r.g.Next() {
		if next.After(r.now) {
			r.now = next
		}
		before := r.out.Len()
		fmt.Fprintf(r.out, "%s:\n", r.now.Sub(start))
		n := r.out.Len()
		if r.step(Tick{}); r.out.Len() == n {
			r.out.Truncate(before)
		}
		if again := r.g.Next(); again.Equal(next) {
			r.t.Fatalf("a tick at %s changes nothing", r.now.Sub(start))
		}
	}
	r.now = end
}

func (r *runner) state() {
	if g, ok := r.g.protocol.(*consumer); ok {
		r.consumerState(g)
		return
	}
	g := r.g.protocol.(*classic)
	fmt.Fprintf(r.out, "%s generation=%d", g.state, g.generation)
	if g.protocol != "" {
		fmt.Fprintf(r.out, " protocol=%s/%s leader=%s", g.protocolType, g.protocol, g.leader)
	}
	if !g.deadline.IsZero() {
		fmt.Fprintf(r.out, " until=%s", g.deadline.Sub(start))
	}
	fmt.Fprintln(r.out)
	for _, m := range g.members {
		fmt.Fprintf(r.out, "  %s", m.id)
		if m.instance != "" {
			fmt.Fprintf(r.out, " instance=%s", m.instance)
		}
		if m.joining != 0 {
			fmt.Fprintf(r.out, " joining=%s", r.tokens[m.joining])
		}
		if m.syncing != 0 {
			fmt.Fprintf(r.out, " syncing=%s", r.tokens[m.syncing])
		}
		if m.expires() {
			fmt.Fprintf(r.out, " until=%s", m.deadline.Sub(start))
		}
		if m.assignment != nil {
			fmt.Fprintf(r.out, " has=%s", m.assignment)
		}
		fmt.Fprintln(r.out)
	}
	for _, p := range g.pending {
		fmt.Fprintf(r.out, "  pending %s until=%s\n", p.id, p.deadline.Sub(start))
	}
}

func errorName(err *kerr.Error) string {
	if err == nil {
		return "ok"
	}
	return err.Message
}

func describeEffect(tokens []string, e Effect) string {
	switch e := e.(type) {
	case Persist:
		return fmt.Sprintf("%s: persist %d", tokens[e.To], e.Offsets[0].Offset)
	case Expire:
		return "expire"
	case Reply:
		return tokens[e.To] + ": " + describeAnswer(e.Answer)
	}
	return "unknown effect"
}

func describeAnswer(a Answer) string {
	var b strings.Builder
	switch a := a.(type) {
	case Done:
		b.WriteString(errorName(a.Err))
	case Beaten:
		describeBeaten(&b, a)
	case Left:
		for i, m := range a.Members {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s/%s %s", m.MemberID, m.InstanceID, errorName(m.Err))
		}
	case Synced:
		b.WriteString(errorName(a.Err))
		if a.Err == nil {
			fmt.Fprintf(&b, " %s/%s has=%s", a.ProtocolType, a.Protocol, a.Assignment)
		}
	case Joined:
		fmt.Fprintf(&b, "%s id=%s", errorName(a.Err), a.MemberID)
		if a.Err == nil {
			fmt.Fprintf(&b, " generation=%d %s/%s leader=%s", a.Generation, a.ProtocolType, a.Protocol, a.Leader)
		}
		if a.SkipAssignment {
			b.WriteString(" skip-assignment")
		}
		for _, m := range a.Members {
			fmt.Fprintf(&b, " [%s/%s %s]", m.MemberID, m.InstanceID, m.Metadata)
		}
	}
	return b.String()
}
