package api

import (
	"context"
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs/record"
)

// ErrNotController is a Controller's error where another broker, or none, owns journal 0.
var ErrNotController = errors.New("this broker does not own journal 0")

var (
	errUnknownTopic   = errors.New("no such topic or partition")
	errUnknownTopicID = errors.New("no topic has this id")
	errFencedEpoch    = errors.New("the leader epoch is an old one")
	errUnknownEpoch   = errors.New("the leader epoch is not known here yet")
)

// errInvalidTopic is a name that no topic can have.
type errInvalidTopic struct{ error }

// errCode is an error that says its code itself.
type errCode struct {
	code *kerr.Error
	text string
}

func (e errCode) Error() string { return e.text }

// refuse is an error with a Kafka code and a text for the client.
func refuse(code *kerr.Error, text string) error { return errCode{code: code, text: text} }

// Code is the Kafka error code for an error of a journal, of the metadata or of a record batch; 0 for nil. What is not known here is
// UNKNOWN_SERVER_ERROR.
func Code(err error) int16 {
	if err == nil {
		return 0
	}
	return kafkaError(err).Code
}

// readCode is Code for what reading a log gives: what is not known here is the store's fault, or damage.
func readCode(err error) int16 {
	if code := Code(err); code != kerr.UnknownServerError.Code {
		return code
	}
	return kerr.KafkaStorageError.Code
}

func kafkaError(err error) *kerr.Error {
	if coded, ok := errors.AsType[errCode](err); ok {
		return coded.code
	}
	if _, ok := errors.AsType[errInvalidTopic](err); ok {
		return kerr.InvalidTopicException
	}
	for _, known := range []struct {
		err  error
		code *kerr.Error
	}{
		{ErrNotController, kerr.NotController},
		{journal.ErrNotOwner, kerr.NotLeaderForPartition},
		// The one code that clients retry while they take the record for possibly written.
		{journal.ErrUnavailable, kerr.RequestTimedOut},
		{journal.ErrUnknownPartition, kerr.UnknownTopicOrPartition},
		{journal.ErrTopicEnded, kerr.UnknownTopicOrPartition},
		{journal.ErrOffsetOutOfRange, kerr.OffsetOutOfRange},
		{journal.ErrOutOfOrderSequence, kerr.OutOfOrderSequenceNumber},
		{journal.ErrProducerFenced, kerr.InvalidProducerEpoch},
		{errUnknownTopic, kerr.UnknownTopicOrPartition},
		{errUnknownTopicID, kerr.UnknownTopicID},
		{errFencedEpoch, kerr.FencedLeaderEpoch},
		{errUnknownEpoch, kerr.UnknownLeaderEpoch},

		{metadata.ErrTopicExists, kerr.TopicAlreadyExists},
		{metadata.ErrUnknownTopic, kerr.UnknownTopicOrPartition},
		{metadata.ErrTopicDeleting, kerr.UnknownTopicOrPartition},
		{metadata.ErrInvalidTopicName, kerr.InvalidTopicException},
		{metadata.ErrInvalidPartitions, kerr.InvalidPartitions},
		{metadata.ErrInvalidConfig, kerr.InvalidConfig},
		{metadata.ErrConflict, kerr.RequestTimedOut},
		{metadata.ErrNoCluster, kerr.CoordinatorNotAvailable},

		{record.ErrInvalid, kerr.InvalidRecord},
		{record.ErrTimestamp, kerr.InvalidTimestamp},
		{record.ErrCorrupt, kerr.CorruptMessage},
		{record.ErrMagic, kerr.UnsupportedForMessageFormat},
		{record.ErrCodec, kerr.UnsupportedCompressionType},
		{record.ErrTooLarge, kerr.MessageTooLarge},
		// Kafka's code for a producer that is nobody's transaction, and what InitProducerID and FindCoordinator say here.
		{record.ErrTransactional, kerr.TransactionalIDAuthorizationFailed},

		{context.Canceled, kerr.RequestTimedOut}, // the broker stops
		{context.DeadlineExceeded, kerr.RequestTimedOut},
	} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return kerr.UnknownServerError
}
