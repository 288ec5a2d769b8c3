package api

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSessionScripts runs testdata/sessions. Lines are
//
//	limit SESSIONS BYTES               of the sessions; before all others
//	time DURATION                      passes
//	log TOPIC:PARTITION START END      what the log holds from now on
//	error TOPIC:PARTITION CODE         what fetching it ends with from now on; 0 for nothing
//	epoch ID EPOCH                     sets the epoch that a session expects
//	fetch vN ID/EPOCH [PART@OFFSET]... [-PART]...   a request; what is forgotten has a minus
//	= WANT                             the answer to it: session id or error, and partitions, those with records with a star
//
// Session ids count from 1. From version 13 a topic's id is its first letter.
func TestSessionScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			s := &sessionScript{logs: map[string]*scriptLog{}}
			s.limit(1000, 1<<20)
			for n, line := range strings.Split(string(text), "\n") {
				if line, _, _ = strings.Cut(line, "#"); strings.TrimSpace(line) == "" {
					continue
				}
				if err := s.run(strings.Fields(line)); err != nil {
					t.Fatalf("%s:%d: %s: %v", path, n+1, line, err)
				}
			}
			if s.got != "" {
				t.Error("the last answer is not looked at")
			}
		})
	}
}

type sessionScript struct {
	*sessions
	drawn int32
	now   int64
	logs  map[string]*scriptLog
	got   string
}

type scriptLog struct {
	start, end int64
	code       int16
}

func (s *sessionScript) limit(n int, bytes int64) {
	s.sessions = newSessions(n, bytes, func() int32 { s.drawn++; return s.drawn })
}

func (s *sessionScript) run(words []string) error {
	number := func(i int) int64 { n, _ := strconv.ParseInt(words[i], 10, 64); return n }
	switch words[0] {
	case "limit":
		s.limit(int(number(1)), number(2))
	case "time":
		d, err := time.ParseDuration(words[1])
		s.now += d.Milliseconds()
		return err
	case "log":
		s.logs[words[1]] = &scriptLog{start: number(2), end: number(3)}
	case "error":
		s.logs[words[1]].code = int16(number(2))
	case "epoch":
		s.byID[int32(number(1))].epoch = int32(number(2))
	case "fetch":
		return s.fetch(words[1:])
	case "=":
		want := strings.Join(words[1:], " ")
		if want != s.got {
			return fmt.Errorf("got %q", s.got)
		}
		s.got = ""
	default:
		return fmt.Errorf("what?")
	}
	return nil
}

func (s *sessionScript) fetch(words []string) error {
	if s.got != "" {
		return fmt.Errorf("the answer before, %q, is not looked at", s.got)
	}
	req := kmsg.NewPtrFetchRequest()
	if _, err := fmt.Sscanf(words[0]+" "+words[1], "v%d %d/%d", &req.Version, &req.SessionID, &req.SessionEpoch); err != nil {
		return err
	}
	for _, word := range words[2:] {
		word, forget := strings.CutPrefix(word, "-")
		part, at, _ := strings.Cut(word, "@")
		topic, number, _ := strings.Cut(part, ":")
		partition, err := strconv.Atoi(number)
		if err != nil {
			return err
		}
		name, id := topic, [16]byte{}
		if req.Version >= 13 {
			name, id = "", [16]byte{topic[0]}
		}
		if forget {
			req.ForgottenTopics = append(req.ForgottenTopics, kmsg.FetchRequestForgottenTopic{Topic: name, TopicID: id, Partitions: []int32{int32(partition)}})
			continue
		}
		offset, err := strconv.Atoi(at)
		if err != nil {
			return err
		}
		req.Topics = append(req.Topics, kmsg.FetchRequestTopic{Topic: name, TopicID: id,
			Partitions: []kmsg.FetchRequestTopicPartition{fetchPartition(int32(partition), int64(offset))}})
	}
	s.got = s.answer(req)
	return s.check()
}

// answer serves a request from the logs.
func (s *sessionScript) answer(req *kmsg.FetchRequest) string {
	resp := kmsg.NewPtrFetchResponse()
	turn, refused := s.begin(s.now, req)
	if refused != nil {
		return refused.Message
	}
	for _, t := range turn.topics {
		answer := kmsg.FetchResponseTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			l := s.logs[nameOf(t.Topic, t.TopicID, p.Partition)]
			a := kmsg.FetchResponseTopicPartition{Partition: p.Partition, HighWatermark: l.end, LogStartOffset: l.start, ErrorCode: l.code}
			if l.code != 0 {
				a.HighWatermark, a.LogStartOffset = -1, -1
			} else if p.FetchOffset < l.end {
				a.RecordBatches = []byte("records")
			}
			answer.Partitions = append(answer.Partitions, a)
		}
		resp.Topics = append(resp.Topics, answer)
	}
	s.finish(s.now, &turn, req, resp)
	told := []string{strconv.Itoa(int(resp.SessionID))}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			name := nameOf(t.Topic, t.TopicID, p.Partition)
			if len(p.RecordBatches) > 0 {
				name += "*"
			}
			told = append(told, name)
		}
	}
	return strings.Join(told, " ")
}

func nameOf(topic string, id [16]byte, partition int32) string {
	if topic == "" {
		topic = string(id[:1])
	}
	return fmt.Sprintf("%s:%d", topic, partition)
}

// check finds out whether what is counted is what is there.
func (s *sessionScript) check() error {
	var bytes int64
	for _, c := range s.byID {
		own := int64(bytesPerSession)
		for _, f := range c.order {
			own += f.bytes()
		}
		if own != c.bytes || len(c.order) != len(c.parts) {
			return fmt.Errorf("session %d: %d bytes are counted, %d are there; %d and %d partitions", c.id, c.bytes, own, len(c.order), len(c.parts))
		}
		bytes += own
	}
	if bytes != s.bytes || bytes > s.maxBytes || len(s.byID) > s.sessions.limit {
		return fmt.Errorf("%d sessions, %d bytes, %d are counted", len(s.byID), bytes, s.bytes)
	}
	return nil
}

func TestSessionEpochsGoAround(t *testing.T) {
	if a, b := nextEpoch(math.MaxInt32), nextEpoch(1); a != 1 || b != 2 {
		t.Errorf("%d, %d", a, b)
	}
}

// fetchAnswer answers fetchFrom(0, 0) with records.
func fetchAnswer() *kmsg.FetchResponse {
	return &kmsg.FetchResponse{Topics: []kmsg.FetchResponseTopic{{Topic: "events", Partitions: []kmsg.FetchResponseTopicPartition{{RecordBatches: []byte("x")}}}}}
}

// TestSessionTurnsOverlap: where requests of two connections overlap in one session, the later one counts.
func TestSessionTurnsOverlap(t *testing.T) {
	s := newSessions(10, 1<<20, func() int32 { return 9 })
	req := fetchFrom(0, 0)
	req.Version, req.SessionEpoch = 12, 0
	opening, _ := s.begin(0, req)
	s.finish(0, &opening, req, fetchAnswer())
	next := kmsg.NewPtrFetchRequest()
	next.Version, next.SessionID, next.SessionEpoch = 12, 9, 1
	first, refused := s.begin(0, next)
	if refused != nil || len(first.topics) != 1 {
		t.Fatal(refused)
	}
	next.SessionEpoch = 2
	second, refused := s.begin(0, next)
	if refused != nil {
		t.Fatal(refused)
	}
	next.SessionEpoch = 3
	next.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "events", Partitions: []int32{0}}}
	if last, refused := s.begin(0, next); refused != nil || len(last.topics) != 0 || len(s.byID) != 0 {
		t.Fatal("a session without partitions goes on")
	}
	for i, turn := range []*turn{&first, &second} {
		resp := fetchAnswer()
		s.finish(0, turn, next, resp)
		if resp.ErrorCode != kerr.InvalidFetchSessionEpoch.Code || resp.SessionID != 9 || len(resp.Topics) != 0 {
			t.Errorf("request %d: error %d, session %d", i, resp.ErrorCode, resp.SessionID)
		}
	}
}

// TestFetchInASession goes through the handler: with names, with ids, and when the topic is gone.
func TestFetchInASession(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 18} {
		f := newFake(t, topic(1, "events", 2))
		f.fill(t, 0, batch(t, 0, "a"))
		req := fetchFrom(0, 0)
		req.Topics[0].Partitions = append(req.Topics[0].Partitions, fetchPartition(1, 0))
		req.SessionEpoch = 0
		resp := f.call(t, version, req).(*kmsg.FetchResponse)
		if resp.SessionID <= 0 || len(resp.Topics[0].Partitions) != 2 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		id := resp.SessionID
		next := func(epoch int32, parts ...kmsg.FetchRequestTopicPartition) *kmsg.FetchResponse {
			t.Helper()
			req := fetchFrom(0, 0)
			req.Topics[0].Partitions = parts
			if len(parts) == 0 {
				req.Topics = nil
			}
			req.SessionID, req.SessionEpoch = id, epoch
			resp := f.call(t, version, req).(*kmsg.FetchResponse)
			if resp.ErrorCode != 0 || resp.SessionID != id {
				t.Fatalf("v%d, epoch %d: %+v", version, epoch, resp)
			}
			return resp
		}
		if resp := next(1, fetchPartition(0, 1)); len(resp.Topics) != 0 {
			t.Errorf("v%d: no news: %+v", version, resp.Topics)
		}
		f.fill(t, 1, batch(t, 0, "b"))
		resp = next(2)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || len(offsets(t, resp.Topics[0].Partitions[0].RecordBatches)) != 1 {
			t.Errorf("v%d: %+v", version, resp.Topics)
		}
		del := kmsg.NewPtrDeleteTopicsRequest()
		del.TopicNames = []string{"events"}
		f.call(t, 3, del)
		want := kerr.UnknownTopicOrPartition.Code
		if version >= 13 {
			want = kerr.UnknownTopicID.Code
		}
		if resp = next(3, fetchPartition(1, 1)); len(resp.Topics[0].Partitions) != 2 || resp.Topics[0].Partitions[0].ErrorCode != want {
			t.Errorf("v%d: %+v", version, resp.Topics)
		}
	}
}

// TestFetchIdlesInASession: what a session knows does not have to be looked at while nothing happens to its partitions.
func TestFetchIdlesInASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, topic(1, "events", 2))
		req := fetchFrom(1, 0)
		req.SessionEpoch, req.MaxWaitMillis = 0, 500
		resp := <-f.poll(t, t.Context(), req)
		next := kmsg.NewPtrFetchRequest()
		next.SessionID, next.SessionEpoch, next.MinBytes, next.MaxWaitMillis = resp.SessionID, 1, 1, 3_600_000
		done := f.poll(t, t.Context(), next)
		before := f.looks
		for range 100 {
			time.Sleep(10 * time.Second)
			f.fill(t, 0, batch(t, 0, "not asked for"))
		}
		if f.looks != before {
			t.Errorf("looked %d times while idle", f.looks-before)
		}
		f.fill(t, 1, batch(t, 0, "x"))
		if resp := <-done; len(resp.Topics) != 1 || len(resp.Topics[0].Partitions[0].RecordBatches) == 0 {
			t.Errorf("%+v", resp)
		}
	})
}
