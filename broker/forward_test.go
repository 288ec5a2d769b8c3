package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/api"
	"github.com/firn-io/firn/broker/journal"
)

// TestForwardingWithoutAController: who asks is not kept for longer than he wants, and learns that nothing was done.
func TestForwardingWithoutAController(t *testing.T) {
	t.Parallel()
	s := startShortLeased(t, 2)
	other := s.other()
	s.leases.SetAway(true)
	s.until("nobody owns journal 0", func(r *running) bool { _, _, ok := r.cluster.Owner(0); return !ok })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, here, err := newForwarder(other.cluster, nil, new(net.Dialer).DialContext, slog.New(slog.DiscardHandler)).Forward(ctx, kmsg.NewPtrInitProducerIDRequest())
	if here || !errors.Is(err, api.ErrNotController) || errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("here %v, %v", here, err)
	}
	s.leases.SetAway(false)
	s.spread(2)
}

// TestForwardedAnswers has a peer answer a request in ways that make no sense, or not at all: each is an error, and soon.
func TestForwardedAnswers(t *testing.T) {
	good := kmsg.NewPtrInitProducerIDResponse()
	good.SetVersion(4)
	good.ProducerID = 77
	frame := func(size, correlation uint32, body []byte) []byte {
		b := binary.BigEndian.AppendUint32(nil, size)
		return append(binary.BigEndian.AppendUint32(b, correlation), body...)
	}
	body := good.AppendTo([]byte{0})
	for name, c := range map[string]struct {
		answer []byte
		well   bool
	}{
		"good":              {frame(uint32(4+len(body)), 1, body), true},
		"nothing":           {nil, false},
		"half":              {frame(uint32(4+len(body)), 1, body)[:10], false},
		"another's":         {frame(uint32(4+len(body)), 2, body), false},
		"too large":         {frame(1<<31, 1, body), false},
		"too small":         {frame(3, 1, body), false},
		"tags beyond it":    {frame(6, 1, []byte{200, 200}), false},
		"a body that ends":  {frame(uint32(4+len(body)-5), 1, body[:len(body)-5]), false},
		"a body of nothing": {frame(5, 1, []byte{0}), false},
	} {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() {
				defer there.Close()
				var size [4]byte
				if _, err := io.ReadFull(there, size[:]); err != nil {
					return
				}
				if _, err := io.CopyN(io.Discard, there, int64(binary.BigEndian.Uint32(size[:]))); err != nil {
					return
				}
				there.Write(c.answer) // whom the pipe ends for early has made its choice
			}()
			req := kmsg.NewPtrInitProducerIDRequest()
			req.SetVersion(4)
			resp, err := roundTrip(within(t, 10*time.Second), here, req)
			if (err == nil) != c.well {
				t.Fatalf("%+v, %v", resp, err)
			}
			if err == nil && resp.(*kmsg.InitProducerIDResponse).ProducerID != 77 {
				t.Errorf("%+v", resp)
			}
		})
	}
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := roundTrip(ctx, here, kmsg.NewPtrInitProducerIDRequest()); err == nil {
		t.Error("a request whose time is over was answered")
	}
}
