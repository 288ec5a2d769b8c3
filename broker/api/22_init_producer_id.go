package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// InitProducerID: versions 0 to 5, all that kmsg knows.
//
// Only idempotent producers: a transactional id is refused with TRANSACTIONAL_ID_AUTHORIZATION_FAILED, which every client takes for
// final (librdkafka retries what says it better), until transactions are specified in the storage format. A producer that comes with an id and epoch (version 3) wants to begin anew after
// an error; it gets a new id, which begins with sequence 0 everywhere, so that nothing of the old one can be taken for the new one's. One of
// the two without the other is INVALID_REQUEST.
func initProducerID(b *Backend) API {
	return serve(22, concurrent(b.atController(producerIDGiver)))
}

func producerIDGiver(b *Backend) Handler {
	return func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.InitProducerIDRequest)
		resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
		resp.ProducerID, resp.ProducerEpoch = -1, -1
		if req.TransactionalID != nil {
			resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
			return resp, nil
		}
		if (req.ProducerID == -1) != (req.ProducerEpoch == -1) {
			resp.ErrorCode = kerr.InvalidRequest.Code
			return resp, nil
		}
		id, err := b.ProducerIDs.Next(ctx)
		if err != nil {
			resp.ErrorCode = Code(err)
			return resp, nil
		}
		resp.ProducerID, resp.ProducerEpoch = id, 0
		return resp, nil
	}
}
