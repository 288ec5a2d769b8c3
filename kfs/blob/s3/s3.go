// Package s3 is a bucket as an object store: Amazon S3, and what speaks its protocol with strong consistency, put-if-absent
// (If-None-Match: *) and a Date header on every answer.
//
// A Put that is conditional is sent once: whatever goes wrong, the caller learns it and finds out what the key holds. The one exception
// is the answer that another conditional write was under way (409 ConditionalRequestConflict), which says that nothing was written.
// Other Puts and Deletes are sent again only if the store has answered that it did not do them, so that none is still on its way when a
// later one has succeeded; reads are sent again a few times.
//
// Bodies are sent with a CRC-32C, which the store verifies and keeps, and without the SHA-256 in the signature, which would cost more
// than all the rest of a broker's work; Config.SignPayload brings it back for stores that insist.
//
// Objects in the bucket whose keys blob.CheckKey refuses are not listed. Nothing here reads the environment but LoadAWS and Open,
// which let the SDK find credentials, region and endpoint as it does everywhere.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

const (
	// requestTimeout bounds a request with all its tries, and each read of a body.
	requestTimeout = 30 * time.Second
	// bodyTimeout is what a Put is given beyond that for each MiB.
	bodyTimeout = time.Second
	// answerTimeout bounds the wait for an answer's head in one try.
	answerTimeout = 10 * time.Second
	// tries bounds how often a request is sent.
	tries = 4
	// maxBackoff is the longest wait between two tries.
	maxBackoff = 2 * time.Second
	// idleConnections bounds the connections that are kept for the next request.
	idleConnections = 128
)

// Store is a bucket. Wrap it in blob.Prefix for a part of one, as Open does.
type Store struct {
	client   *sdk.Client
	bucket   string
	endpoint string // empty for the SDK's own
	region   string
	signed   bool

	reads  aws.Retryer
	writes aws.Retryer
}

var (
	_ blob.Store  = (*Store)(nil)
	_ blob.Copier = (*Store)(nil)
)

// Open opens what a URL names, with credentials, and what the URL leaves out, as the SDK finds them in environment and shared files.
// It sends no request to the store. See ParseURL.
func Open(ctx context.Context, url string) (blob.Store, error) {
	cfg, err := ParseURL(url)
	if err != nil {
		return nil, err
	}
	found, err := LoadAWS(ctx)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	s, err := New(cfg, found)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	return blob.Prefix(s, cfg.Prefix), nil
}

// LoadAWS lets the SDK find its configuration, and makes sure that there are credentials.
func LoadAWS(ctx context.Context) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return aws.Config{}, fmt.Errorf("AWS configuration: %w", err)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return aws.Config{}, fmt.Errorf("no credentials for S3, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE: %w", err)
	}
	return cfg, nil
}

// New makes a Store from values alone. What cfg leaves out comes from found.
func New(cfg Config, found aws.Config) (*Store, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Store{bucket: cfg.Bucket, signed: cfg.SignPayload, reads: newRetryer(readAgain), writes: newRetryer(writeAgain)}
	s.client = sdk.NewFromConfig(found, func(o *sdk.Options) {
		if cfg.Endpoint != "" {
			o.BaseEndpoint = aws.String(cfg.Endpoint)
		}
		s.endpoint = aws.ToString(o.BaseEndpoint)
		if cfg.Region != "" {
			o.Region = cfg.Region
		}
		if o.Region == "" && s.endpoint != "" {
			o.Region = "us-east-1" // other stores hardly look at it, but the signature needs one
		}
		s.region = o.Region
		o.UsePathStyle = s.endpoint != ""
		if cfg.PathStyle != nil {
			o.UsePathStyle = *cfg.PathStyle
		}
		// A Put brings its checksum; what is read has the format's own.
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// Expect: 100-continue costs a round trip for each large body, and a second where a store does not know it.
		o.ContinueHeaderThresholdBytes = -1
		o.HTTPClient = transport(o.HTTPClient)
	})
	if s.region == "" {
		return nil, errors.New("no region: add region=… to the store's URL, or set AWS_REGION")
	}
	return s, nil
}

// transport fits the SDK's own HTTP client to many requests at a time. Another one is the caller's business.
func transport(c sdk.HTTPClient) sdk.HTTPClient {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		return b.WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConns = idleConnections
			t.MaxIdleConnsPerHost = idleConnections
			t.ResponseHeaderTimeout = answerTimeout
		})
	}
	return c
}

// readAgain is what a read is sent again for: the SDK's own list, with broken connections.
var readAgain = retry.DefaultRetryables

// writeAgain is what a write that is not conditional is sent again for: answers of the store itself that it did nothing. A gateway's
// 502 or 504 is none, and neither is silence.
var writeAgain = []retry.IsErrorRetryable{
	retry.NoRetryCanceledError{},
	retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{
		http.StatusTooManyRequests: {}, http.StatusInternalServerError: {}, http.StatusServiceUnavailable: {},
	}},
}

func newRetryer(again []retry.IsErrorRetryable) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = tries
		o.MaxBackoff = maxBackoff
		o.Retryables = again
	})
}

// with gives the options of one request.
func with(r aws.Retryer) func(*sdk.Options) {
	return func(o *sdk.Options) { o.Retryer = r }
}

// name is an object in messages.
func (s *Store) name(key string) string { return "s3://" + s.bucket + "/" + key }
