package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// ForwardedClientID is the client id of a broker that forwards a request. Whom it reaches answers by itself, also with NOT_CONTROLLER: two
// brokers that take each other for the controller do not play ball.
const ForwardedClientID = "firn-broker-forwards"

// Forwarder carries requests to the controller.
type Forwarder interface {
	// Forward gives the controller's answer when this broker's state shows what the request has changed; or says that the controller is here,
	// and has sent nothing. Errors: ErrNotController, if no controller has seen the request, and journal.ErrUnavailable, if what became of
	// it is not known.
	Forward(ctx context.Context, req kmsg.Request) (resp kmsg.Response, here bool, err error)
}

// atController is a handler that works where the controller is: at another broker it forwards. Kafka's brokers do so too, for clients
// that do not ask who the controller is.
func (b *Backend) atController(handler func(*Backend) Handler) Handler {
	local := handler(b)
	return func(ctx context.Context, r *Request) (kmsg.Response, error) {
		if r.ClientID == ForwardedClientID {
			return local(ctx, r)
		}
		resp, here, err := b.Forwarder.Forward(ctx, r.Body)
		switch {
		case here:
			return local(ctx, r)
		case err != nil: // in the shape that the API has for errors
			refusing := *b
			refusing.Controller, refusing.ProducerIDs = refusal{err}, refusal{err}
			return handler(&refusing)(ctx, r)
		}
		return resp, nil
	}
}

// refusal is a controller that refuses everything.
type refusal struct{ err error }

func (f refusal) Change(context.Context, func(*metadata.State) ([]kfs.Entry, error)) error {
	return f.err
}

func (f refusal) Next(context.Context) (int64, error) { return 0, f.err }
