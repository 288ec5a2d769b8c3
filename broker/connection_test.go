package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
)

// network is a listener of in-memory connections, so that a test's clock rules their deadlines.
type network struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newNetwork() *network {
	return &network{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.conns:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}
func (n *network) Close() error   { n.once.Do(func() { close(n.closed) }); return nil }
func (n *network) Addr() net.Addr { return &net.TCPAddr{} }
func (n *network) dial() net.Conn {
	client, server := net.Pipe()
	n.conns <- server
	return client
}

// harness is a server whose APIs a test makes up, under a fake clock.
type harness struct {
	*network
	server *Server
	log    bytes.Buffer
	stop   context.CancelFunc
	done   chan error
}

func serve(t *testing.T, config ServerConfig, apis ...api.API) *harness {
	h := &harness{network: newNetwork(), done: make(chan error, 1)}
	config.Registry = api.NewRegistry(apis...)
	if config.Requests == nil {
		config.Requests = NewBudget(1 << 30)
	}
	if config.Answers == nil {
		config.Answers = NewBudget(1 << 20)
	}
	config.Log = slog.New(slog.NewTextHandler(&h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.server = NewServer(config)
	ctx, cancel := context.WithCancel(t.Context())
	h.stop = cancel
	go func() { h.done <- h.server.Run(ctx, h) }()
	return h
}

// end stops the server and checks that it gave all memory back.
func (h *harness) end(t *testing.T) {
	t.Helper()
	h.stop()
	if err := <-h.done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if n := h.server.config.Requests.Used() + h.server.config.Answers.Used(); n != 0 {
		t.Errorf("%d bytes are still in use", n)
	}
}

func request(correlation int32, version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, correlation)
}

// answer reads one frame and gives its correlation id and what follows.
func answer(t *testing.T, conn net.Conn) (int32, []byte) {
	t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("reading an answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(b)), b[4:]
}

func closedNow(t *testing.T, conn net.Conn) {
	t.Helper()
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("want a closed connection, got %d bytes, %v", n, err)
	}
}

// echo answers Metadata requests at once.
func echo() api.API {
	return api.API{Key: 3, Max: 13, Start: func(_ context.Context, r *api.Request) api.Finish {
		return func(context.Context) (kmsg.Response, error) { return r.Body.ResponseKind(), nil }
	}}
}

func TestBadFramesCostTheirConnectionOnly(t *testing.T) {
	good := request(1, 4, kmsg.NewPtrMetadataRequest())
	withSize := func(size uint32, b ...byte) []byte { return append(binary.BigEndian.AppendUint32(nil, size), b...) }
	garbage := bytes.Repeat([]byte{0xfe, 1, 0x80}, 40)
	unknownKey := bytes.Clone(good)
	unknownKey[5] = 200
	unknownVersion := bytes.Clone(good)
	unknownVersion[7] = 99
	endless := append([]byte{0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff}, 0xff, 0xff, 0xff, 0xff, 0x0f)
	for name, test := range map[string]struct {
		send []byte
		say  string
	}{
		"2 GiB":             {withSize(1<<31-1, 0, 3), "a request of 2147483647 bytes"},
		"negative":          {withSize(1<<32-1, 0, 3), "a request of -1 bytes"},
		"too short":         {withSize(7, 0, 3, 0, 4, 0, 0, 0), "a request of 7 bytes"},
		"no client id":      {withSize(8, 0, 3, 0, 4, 0, 0, 0, 1), "before its client id"},
		"long client id":    {withSize(12, 0, 3, 0, 4, 0, 0, 0, 1, 0x7f, 0xff, 0, 0), "inside its client id"},
		"short body":        {withSize(uint32(len(good)-5), good[4:len(good)-1]...), "before its fields do"},
		"garbage":           {withSize(uint32(len(garbage)), garbage...), "is not served"},
		"unknown key":       {unknownKey, "is not served"},
		"unknown version":   {unknownVersion, "only 0 to 13"},
		"endless tags":      {withSize(uint32(len(endless)), endless...), "tagged fields of the request's header"},
		"array without end": {withSize(14, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff), "before its fields do"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(t, ServerConfig{}, echo())
				other, bad := h.dial(), h.dial()
				go bad.Write(test.send)
				closedNow(t, bad)
				if _, err := other.Write(good); err != nil {
					t.Fatal(err)
				}
				if id, _ := answer(t, other); id != 1 {
					t.Errorf("answer to %d", id)
				}
				other.Close()
				h.end(t)
				if !strings.Contains(h.log.String(), test.say) {
					t.Errorf("the log does not say %q:\n%s", test.say, h.log.String())
				}
			})
		})
	}
}

// TestALengthWithoutDataCostsNothing: a client that announces 90 MiB and sends none, or little, holds none, or little.
func TestALengthWithoutDataCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, ServerConfig{StallTimeout: time.Minute}, echo())
		conn := h.dial()
		if _, err := conn.Write(binary.BigEndian.AppendUint32(nil, 90<<20)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := h.server.config.Requests.Used(); n != 0 {
			t.Errorf("a length holds %d bytes", n)
		}
		if _, err := conn.Write(make([]byte, 10<<10)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := h.server.config.Requests.Used(); n > firstChunk {
			t.Errorf("10 KiB of 90 MiB hold %d bytes", n)
		}
		began := time.Now()
		closedNow(t, conn)
		if waited := time.Since(began); waited < time.Minute || waited > 2*time.Minute {
			t.Errorf("closed after %v", waited)
		}
		h.end(t)
	})
}

// TestLargeRequestsShareLittleMemory: more halves of requests than memory has room for do not block each other for ever.
func TestLargeRequestsShareLittleMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, ServerConfig{Requests: NewBudget(1 << 20)}, echo())
		req := kmsg.NewPtrMetadataRequest()
		for range 2000 {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = kmsg.StringPtr(strings.Repeat("t", 200))
			req.Topics = append(req.Topics, topic)
		}
		frame := request(7, 4, req) // 400 KB, and 320 KB to decode
		var clients sync.WaitGroup
		for range 10 {
			clients.Go(func() {
				conn := h.dial()
				defer conn.Close()
				go conn.Write(frame)
				if id, _ := answer(t, conn); id != 7 {
					t.Errorf("answer to %d", id)
				}
			})
		}
		clients.Wait()
		h.end(t)
	})
}

func TestAnswersComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var started []int32
		gates := map[int32]chan struct{}{1: make(chan struct{}), 2: make(chan struct{}), 3: make(chan struct{})}
		slow := api.API{Key: 2, Max: 11, Start: func(_ context.Context, r *api.Request) api.Finish {
			id := r.Body.(*kmsg.ListOffsetsRequest).ReplicaID
			started = append(started, id)
			return func(context.Context) (kmsg.Response, error) {
				<-gates[id]
				return r.Body.ResponseKind(), nil
			}
		}}
		h := serve(t, ServerConfig{}, slow)
		conn := h.dial()
		for id := int32(1); id <= 3; id++ {
			req := kmsg.NewPtrListOffsetsRequest()
			req.ReplicaID = id
			if _, err := conn.Write(request(id, 1, req)); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(started, []int32{1, 2, 3}) {
			t.Fatalf("started %v before the first answer", started)
		}
		close(gates[3])
		close(gates[2])
		synctest.Wait()
		close(gates[1])
		for want := int32(1); want <= 3; want++ {
			if id, _ := answer(t, conn); id != want {
				t.Errorf("answer to %d, want %d", id, want)
			}
		}
		conn.Close()
		h.end(t)
	})
}

func TestAPanicCostsItsConnectionOnly(t *testing.T) {
	for name, start := range map[string]api.Start{
		"in Start": func(context.Context, *api.Request) api.Finish { panic("oh no") },
		"in Finish": func(context.Context, *api.Request) api.Finish {
			return func(context.Context) (kmsg.Response, error) { panic("oh no") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(t, ServerConfig{}, echo(), api.API{Key: 60, Max: 2, Start: start})
				bad, other := h.dial(), h.dial()
				go bad.Write(request(1, 0, kmsg.NewPtrDescribeClusterRequest()))
				closedNow(t, bad)
				go other.Write(request(2, 12, kmsg.NewPtrMetadataRequest()))
				if id, _ := answer(t, other); id != 2 {
					t.Errorf("answer to %d", id)
				}
				other.Close()
				h.end(t)
				if !strings.Contains(h.log.String(), "oh no") || !strings.Contains(h.log.String(), "connection_test.go") {
					t.Errorf("the log has no panic with its stack:\n%s", h.log.String())
				}
			})
		})
	}
}

func TestApiVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, ServerConfig{}, echo())
		conn := h.dial()
		for version := int16(0); version <= 7; version++ {
			sent := version
			if sent > 5 {
				sent = 5 // the bytes of a version that kmsg does not know: none are looked at
			}
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = "test", "1"
			frame := request(int32(version), sent, req)
			binary.BigEndian.PutUint16(frame[6:], uint16(version))
			go conn.Write(frame)
			id, b := answer(t, conn)
			resp := kmsg.NewPtrApiVersionsResponse()
			wantCode := int16(0)
			if resp.Version = version; version > 5 {
				resp.Version, wantCode = 0, 35
			}
			if err := resp.ReadFrom(b); err != nil || id != int32(version) {
				t.Fatalf("version %d: answer to %d, %v", version, id, err)
			}
			if resp.ErrorCode != wantCode || len(resp.ApiKeys) != 2 || resp.ApiKeys[0].ApiKey != 3 || resp.ApiKeys[0].MaxVersion != 13 ||
				resp.ApiKeys[1].ApiKey != 18 {
				t.Errorf("version %d: %+v", version, resp)
			}
		}
		conn.Close()
		h.end(t)
	})
}

func TestIdleConnectionsAreClosedAndWaitingOnesAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		long := api.API{Key: 1, Max: 18, Start: func(_ context.Context, r *api.Request) api.Finish {
			return func(context.Context) (kmsg.Response, error) { <-gate; return r.Body.ResponseKind(), nil }
		}}
		h := serve(t, ServerConfig{IdleTimeout: time.Minute}, long)
		idle, waiting := h.dial(), h.dial()
		go waiting.Write(request(5, 4, kmsg.NewPtrFetchRequest()))
		began := time.Now()
		closedNow(t, idle)
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("the idle one was closed after %v", waited)
		}
		time.Sleep(10 * time.Minute) // the fake clock's
		close(gate)
		if id, _ := answer(t, waiting); id != 5 {
			t.Errorf("answer to %d", id)
		}
		closedNow(t, waiting)
		h.end(t)
	})
}

func TestAClientThatDoesNotReadIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, ServerConfig{StallTimeout: 20 * time.Second}, echo())
		conn := h.dial()
		if _, err := conn.Write(request(1, 4, kmsg.NewPtrMetadataRequest())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		closedNow(t, conn)
		h.end(t)
		if !strings.Contains(h.log.String(), "does not read its answers") {
			t.Errorf("log:\n%s", h.log.String())
		}
	})
}

// TestAClientThatHoldsWhatOthersWaitForIsClosed, and the others go on; one that holds it while nobody waits is left alone.
func TestAClientThatHoldsWhatOthersWaitForIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large := api.API{Key: 1, Max: 18, Start: func(_ context.Context, r *api.Request) api.Finish {
			return func(ctx context.Context) (kmsg.Response, error) {
				return r.Body.ResponseKind(), r.Reserve(ctx, 1<<20) // all of it
			}
		}}
		h := serve(t, ServerConfig{StallTimeout: time.Minute}, large)
		slow, other := h.dial(), h.dial()
		for range 3 { // the others of them hold nothing yet
			if _, err := slow.Write(request(1, 4, kmsg.NewPtrFetchRequest())); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(30 * time.Second)
		began := time.Now()
		go other.Write(request(2, 4, kmsg.NewPtrFetchRequest()))
		if id, _ := answer(t, other); id != 2 {
			t.Errorf("answer to %d", id)
		}
		if waited := time.Since(began); waited > pressedTimeout {
			t.Errorf("the other one waited %v", waited)
		}
		closedNow(t, slow)
		other.Close()
		h.end(t)
	})
}

// TestGreedyClientsLeaveMemoryForOthers: clients that ask for far more than there is and read nothing of it do not keep others waiting,
// whether they come before them or were served well until a moment ago.
func TestGreedyClientsLeaveMemoryForOthers(t *testing.T) {
	const clients, memory, most = 20, 120 << 20, 16 << 20
	records := make([]byte, most)
	large := api.API{Key: 1, Max: 18, Start: func(_ context.Context, r *api.Request) api.Finish {
		return func(ctx context.Context) (kmsg.Response, error) {
			got, err := r.ReserveShare(ctx, 2<<20, most)
			resp := r.Body.ResponseKind().(*kmsg.FetchResponse)
			resp.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{{RecordBatches: records[:got/2]}}}}
			return resp, err
		}
	}}
	poll := request(1, 4, kmsg.NewPtrFetchRequest())
	for name, served := range map[string]int{"from the start": 0, "after a while": 5} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := serve(t, ServerConfig{Answers: NewBudget(memory)}, large)
				greedy := make([]net.Conn, clients)
				for i := range greedy {
					greedy[i] = h.dial()
					for range served {
						go greedy[i].Write(poll)
						answer(t, greedy[i])
					}
				}
				for _, conn := range greedy {
					for range 3 { // the others of them hold nothing yet
						if _, err := conn.Write(poll); err != nil {
							t.Fatal(err)
						}
					}
				}
				synctest.Wait()
				other := h.dial()
				worst, total := time.Duration(0), time.Duration(0)
				for range 10 {
					began := time.Now()
					go other.Write(poll)
					answer(t, other)
					worst, total = max(worst, time.Since(began)), total+time.Since(began)
				}
				// Those that never read have not come to much. Those that did may have it all: until they are found out.
				if allowed := pressedTimeout * time.Duration(served) / 5; worst > allowed || total > allowed {
					t.Errorf("another client waited up to %v, %v in all", worst, total)
				}
				for _, conn := range append(greedy, other) {
					conn.Close()
				}
				h.end(t)
			})
		})
	}
}

// TestARequestThatStaysAwayIsClosed when others wait for the memory that its first part takes, and not before.
func TestARequestThatStaysAwayIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := serve(t, ServerConfig{Requests: NewBudget(1 << 20), StallTimeout: time.Hour}, echo())
		slow := []net.Conn{h.dial(), h.dial()}
		for _, conn := range slow {
			if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, 400<<10), make([]byte, 300<<10)...)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		req := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(strings.Repeat("t", 30_000))
		for range 15 {
			req.Topics = append(req.Topics, topic)
		}
		other := h.dial()
		began := time.Now()
		go other.Write(request(7, 4, req))
		if id, _ := answer(t, other); id != 7 {
			t.Errorf("answer to %d", id)
		}
		if waited := time.Since(began); waited > pressedTimeout {
			t.Errorf("the other one waited %v", waited)
		}
		synctest.Wait()
		if !strings.Contains(h.log.String(), "in the middle of a request") {
			t.Errorf("log:\n%s", h.log.String())
		}
		for _, conn := range append(slow, other) {
			conn.Close()
		}
		h.end(t)
	})
}

// TestStop: requests that are under way are answered, and what does not end in time is cut off.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		slow := api.API{Key: 0, Max: 13, Start: func(_ context.Context, r *api.Request) api.Finish {
			return func(context.Context) (kmsg.Response, error) { <-gate; return r.Body.ResponseKind(), nil }
		}}
		poll := api.API{Key: 1, Max: 18, Start: func(_ context.Context, r *api.Request) api.Finish {
			return func(ctx context.Context) (kmsg.Response, error) { <-ctx.Done(); return r.Body.ResponseKind(), nil }
		}}
		h := serve(t, ServerConfig{}, slow, poll)
		idle, producer, consumer := h.dial(), h.dial(), h.dial()
		go producer.Write(request(1, 3, kmsg.NewPtrProduceRequest()))
		go consumer.Write(request(2, 4, kmsg.NewPtrFetchRequest()))
		synctest.Wait()
		h.stop()
		closedNow(t, idle)
		if id, _ := answer(t, consumer); id != 2 {
			t.Errorf("answer to %d", id)
		}
		time.Sleep(time.Second)
		close(gate)
		if id, _ := answer(t, producer); id != 1 {
			t.Errorf("answer to %d", id)
		}
		h.end(t)
	})
}
