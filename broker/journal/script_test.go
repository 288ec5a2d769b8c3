package journal

import (
	"errors"
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
	"github.com/firn-io/firn/kfs/record"
)

var rewrite = flag.Bool("rewrite", false, "rewrite the expected output of scripts in testdata")

// TestScripts runs the scripts in testdata. A script is blocks of commands, "----", and what the core did, ended by an empty line:
//
//	start                       begin to take the journal over
//	run                         upkeep begins
//	append P N [producer E S]   N records for partition P, of a producer with epoch E and first sequence S
//	trim P AT · offset G AT     entries
//	settle BYTES AGE            what is settled from now on
//	pass D [store D]            time passes for the core, and for the store: as much, or as said
//	do [N]                      the store does what it was asked (N operations), and the answers arrive
//	fail · lose · late          the next operation is not done / done / done at "land", and its outcome is unknown
//	land                        what was late arrives at the store
//	takeover                    another owner puts its object at the end
//	put SEQ E W                 an object with epoch E of writer W appears at a sequence, following what is there
//	checkpoint SEQ E W          and a checkpoint
//	delete SEQ · damage KEY     the store loses an object, or a bit of it
//	close
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, string(text))
			if *rewrite {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(text) {
				t.Errorf("%s differs; what happened (keep it with -rewrite):\n%s", file, firstDifference(string(text), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range g {
		if i >= len(w) || w[i] != g[i] {
			return fmt.Sprintf("line %d: %s", i+1, strings.Join(g[i:min(len(g), i+12)], "\n\t"))
		}
	}
	return "it ends early"
}

// script is a core on a store of which the script decides what happens.
type script struct {
	*simulation
	owner    *simOwner
	late     []effect
	requests []*request
	out      strings.Builder
}

// runScript gives the script again, with what happened.
func runScript(t *testing.T, text string) string {
	s := &script{simulation: newSimulation(t, 1)}
	s.owner = &simOwner{now: time.UnixMilli(1_700_000_000_000)}
	s.owner.core = newCore(settings{
		journal: 0, writer: kfs.WriterID{15: 1}, seed: 1, flushInterval: 200 * time.Millisecond, gather: 5 * time.Millisecond,
		objectBytes: 1000, appendTimeout: 20 * time.Second, checkpointEvery: 4, producerExpiry: producerExpiry,
		settleBytes: 1 << 40, settleAge: 1000 * time.Hour, settleMemory: 1 << 40, grace: defaultGrace, // but for what a script says
		bootstrap: append(metadata.Bootstrap(kfs.ClusterID{1}, kfs.TopicID{1}, 1), kfs.Topic{
			ID: topicID(1), Name: "events", State: kfs.TopicLive, Journals: make([]uint32, 4),
		}),
	}, new(index))
	var whole strings.Builder
	skipping := false
	for line := range strings.Lines(text) {
		command := strings.TrimSpace(line)
		switch {
		case command == "----":
			whole.WriteString("----\n" + joinGets(s.out.String()))
			s.out.Reset()
			skipping = true
		case command == "":
			skipping = false
			whole.WriteString("\n")
		case skipping:
		case strings.HasPrefix(command, "#"):
			whole.WriteString(command + "\n")
		default:
			whole.WriteString(command + "\n")
			s.command(strings.Fields(command))
		}
	}
	return whole.String()
}

// joinGets writes reads of one object after the other on one line.
func joinGets(out string) string {
	var joined []string
	first, last := -1, -1
	for line := range strings.Lines(out) {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "get "))
		if err == nil && first >= 0 && n == last+1 {
			last = n
			joined[len(joined)-1] = fmt.Sprintf("get %d to %d\n", first, last)
			continue
		}
		if first, last = -1, -1; err == nil {
			first, last = n, n
		}
		joined = append(joined, line)
	}
	return strings.Join(joined, "")
}

func (s *script) command(words []string) {
	number := func(i int) int64 {
		if i >= len(words) {
			return 0
		}
		n, err := strconv.ParseInt(words[i], 10, 64)
		if err != nil {
			s.t.Fatalf("%v: %v", words, err)
		}
		return n
	}
	switch words[0] {
	case "start":
		s.step(started{})
	case "run":
		s.step(running{})
	case "close":
		s.step(closed{})
	case "append":
		s.append(int32(number(1)), int(number(2)), words, number)
	case "trim":
		s.request(&request{bytes: 1, entries: []kfs.Entry{kfs.Trim{Topic: topicID(1), Partition: int32(number(1)), LogStart: number(2)}}})
	case "settle":
		s.owner.core.settleBytes, s.owner.core.settleAge = number(1), s.duration(words[2])
	case "offset":
		s.request(&request{bytes: 1, entries: []kfs.Entry{kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: words[1], Topic: "events", Offset: number(2), LeaderEpoch: -1}}}}})
	case "pass":
		d := s.duration(words[1])
		s.owner.now = s.owner.now.Add(d)
		if len(words) > 2 {
			d = s.duration(words[3])
		}
		s.clock = s.clock.Add(d)
		s.step(tick{})
	case "do":
		n := 1000
		if len(words) > 1 {
			n = int(number(1))
		}
		for ; n > 0 && len(s.network) > 0; n-- {
			op := s.next()
			s.step(answered{opNumber(op), s.apply(op)})
		}
	case "fail":
		s.step(answered{opNumber(s.network[0].op), result{err: errors.New("connection refused")}}, s.next())
	case "lose":
		op := s.next()
		s.apply(op)
		s.step(answered{opNumber(op), result{err: errors.New("connection lost")}})
	case "late":
		s.late = append(s.late, s.network[0].op)
		s.step(answered{opNumber(s.network[0].op), result{err: errors.New("timed out")}}, s.next())
	case "land":
		for _, op := range s.late {
			fmt.Fprintf(&s.out, "store: %s %s\n", describe(op), []string{"unknown", "ok", "not found", "exists"}[s.apply(op).outcome])
		}
		s.late = nil
	case "takeover":
		s.put(s.end(), s.epochAtEnd()+1, 9)
	case "put":
		s.put(uint64(number(1)), int32(number(2)), byte(number(3)))
	case "checkpoint":
		body, err := kfs.EncodeCheckpoint(&kfs.Checkpoint{Sequence: uint64(number(1)), Epoch: int32(number(2)), Writer: kfs.WriterID{15: byte(number(3))}})
		if err != nil {
			s.t.Fatal(err)
		}
		s.objects[kfs.CheckpointKey(0, uint64(number(1)))] = simObject{body}
	case "delete":
		delete(s.objects, kfs.ObjectKey(0, uint64(number(1))))
	case "damage":
		body := s.objects["journal/0000/"+words[1]].body
		if len(body) == 0 {
			s.t.Fatalf("%s is not there", words[1])
		}
		body = slices.Clone(body)
		body[len(body)-30] ^= 1
		s.objects["journal/0000/"+words[1]] = simObject{body}
	default:
		s.t.Fatalf("unknown command %q", words)
	}
}

func (s *script) duration(word string) time.Duration {
	d, err := time.ParseDuration(word)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

// next takes the oldest operation.
func (s *script) next() effect {
	if len(s.network) == 0 {
		s.t.Fatal("nothing is asked of the store")
	}
	op := s.network[0].op
	s.network = s.network[1:]
	return op
}

func (s *script) append(partition int32, n int, words []string, number func(int) int64) {
	var p *record.Producer
	if len(words) > 3 {
		p = &record.Producer{ID: 7, Epoch: int16(number(4)), Sequence: int32(number(5))}
	}
	b := batch(s.t, 1, "events", partition, p, 0, names("v", n)...)
	h, err := record.ParseHeader(b.Records)
	if err != nil {
		s.t.Fatal(err)
	}
	s.request(&request{batches: []gatheredBatch{{Batch: b, headers: []record.Header{h}}}, bytes: int64(len(b.Records))})
}

func (s *script) request(r *request) {
	s.requests = append(s.requests, r)
	s.step(arrived{[]*request{r}})
}

// end is the first sequence that the store does not have.
func (s *script) end() uint64 {
	sequence := uint64(0)
	for key := range s.objects {
		if _, n, ok := kfs.ParseObjectKey(key); ok {
			sequence = max(sequence, n+1)
		}
	}
	return sequence
}

func (s *script) epochAtEnd() int32 {
	m, _, err := kfs.Open(s.objects[kfs.ObjectKey(0, s.end()-1)].body)
	if err != nil {
		s.t.Fatal(err)
	}
	return m.Epoch
}

func (s *script) put(sequence uint64, epoch int32, writer byte) {
	m := &kfs.Manifest{Sequence: sequence, Created: 1, Epoch: epoch, Writer: kfs.WriterID{15: writer}}
	if before, ok := s.objects[kfs.ObjectKey(0, sequence-1)]; ok && sequence > 0 {
		_, crc, err := kfs.Open(before.body)
		if err != nil {
			s.t.Fatal(err)
		}
		m.Previous = crc
	}
	body, _, err := kfs.Seal(m, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.objects[kfs.ObjectKey(0, sequence)] = simObject{body}
}

// step feeds the core and writes down what it does. The operations given are those that the event answers.
func (s *script) step(ev event, _ ...effect) {
	for _, e := range s.owner.core.Step(s.owner.now, ev) {
		fmt.Fprintln(&s.out, s.describe(e))
		switch e.(type) {
		case putOp, getOp, listOp, deleteOp, buildOp:
			s.network = append(s.network, simRequest{owner: s.owner, op: e})
		}
	}
}

func (s *script) describe(e effect) string {
	switch e := e.(type) {
	case reply:
		n := slices.Index(s.requests, e.request) + 1
		var parts []string
		for _, r := range e.results {
			switch {
			case r.Err != nil:
				parts = append(parts, r.Err.Error())
			case r.Base < 0:
				parts = append(parts, "ok")
			default:
				parts = append(parts, fmt.Sprintf("offset %d", r.Base))
			}
		}
		return fmt.Sprintf("answer %d: %s", n, strings.Join(parts, ", "))
	case committed:
		return fmt.Sprintf("committed %d", e.sequence)
	case opened:
		return fmt.Sprintf("owner, epoch %d", e.epoch)
	case checkpointWritten:
		return fmt.Sprintf("checkpoint %d is written", e.sequence)
	case halted:
		return fmt.Sprintf("stopped: %v", e.err)
	case logged:
		return "log: " + e.text
	}
	return describe(e)
}

// describe says what is asked of the store.
func describe(e effect) string {
	short := func(key string) string {
		key = strings.TrimPrefix(key, "journal/0000/")
		if _, sequence, ok := kfs.ParseObjectKey("journal/0000/" + key); ok {
			return strconv.FormatUint(sequence, 10)
		}
		return strings.ReplaceAll(key, "0000000000000000000", "")
	}
	switch e := e.(type) {
	case putOp:
		m, _, err := kfs.Open(e.body)
		if err != nil {
			return "put " + short(e.key)
		}
		parts := []string{fmt.Sprintf("put %s: epoch %d", short(e.key), m.Epoch)}
		for _, seg := range m.Segments {
			parts = append(parts, fmt.Sprintf("%s/%d %s", seg.Name, seg.Partition, seg.Span))
		}
		for _, entry := range m.Entries {
			parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%T", entry), "kfs."))
		}
		return strings.Join(parts, ", ")
	case getOp:
		return "get " + short(e.key)
	case listOp:
		if e.after != "" {
			return "list behind " + short(e.after)
		}
		return "list " + short(e.prefix)
	case deleteOp:
		return "delete " + short(e.key)
	}
	return fmt.Sprintf("%T", e)
}
