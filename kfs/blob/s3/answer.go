package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/redacted"
)

// answer is what every verb needs of the store's answer.
type answer struct {
	status int    // 0: there was none
	code   string // of S3's errors
	header http.Header
	time   time.Time // of the Date header
}

// moment is an Info without an object.
func (a answer) moment(key string) blob.Info { return blob.Info{Key: key, ServerTime: a.time} }

// accepted is the answer to a request that has succeeded.
func accepted(m middleware.Metadata) answer {
	if raw, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response); ok {
		return head(raw.Response)
	}
	return answer{}
}

// refused is the answer in an error of the SDK, if there was one.
func refused(err error) answer {
	failed := (*smithyhttp.ResponseError)(nil)
	if !errors.As(err, &failed) || failed.Response == nil || failed.Response.Response == nil {
		return answer{}
	}
	a := head(failed.Response.Response)
	if apiError := smithy.APIError(nil); errors.As(err, &apiError) {
		a.code = apiError.ErrorCode()
	}
	return a
}

func head(r *http.Response) answer {
	a := answer{status: r.StatusCode, header: r.Header}
	a.time, _ = http.ParseTime(r.Header.Get("Date")) // zero if it is missing or no date
	return a
}

// errNoDate is the end for a store: the rules of the journal need its clock.
var errNoDate = errors.New("the store's answer has no Date header, and Firn cannot work without the store's clock")

// fail makes the error that the caller sees, of the SDK's and of the error that the answer means, which is nil where it means no known one.
func (s *Store) fail(a answer, verb, key string, known, err error) error {
	switch {
	case a.status != 0 && a.time.IsZero():
		known = errNoDate
	case known == nil:
		if advice := s.advice(a); advice != "" {
			err = fmt.Errorf("%s: %w", advice, err)
		}
		known = err
	}
	return fmt.Errorf("%s %s: %w", verb, s.name(key), known)
}

// absent tells whether an answer says that there is no such object. A missing bucket, and a 404 that is not S3's, say nothing of it.
func (a answer) absent() bool {
	return a.status == http.StatusNotFound && (a.code == "NoSuchKey" || a.code == "NotFound")
}

// advice tells the user what to do about an error.
func (s *Store) advice(a answer) string {
	where := redacted.URL(s.endpoint) // which may be the environment's
	if where == "" {
		where = "Amazon S3"
	}
	switch a.code {
	case "NoSuchBucket":
		return fmt.Sprintf("bucket %s does not exist at %s; create it, or correct the store's URL", s.bucket, where)
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem":
		return fmt.Sprintf("the credentials do not allow this in bucket %s; Firn needs s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket", s.bucket)
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken":
		return fmt.Sprintf("%s does not accept the credentials; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN", where)
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently":
		if region := a.header.Get("X-Amz-Bucket-Region"); region != "" {
			return fmt.Sprintf("bucket %s is in region %s; add region=%s to the store's URL", s.bucket, region, region)
		}
		return fmt.Sprintf("bucket %s is in another region; add region=… to the store's URL", s.bucket)
	case "RequestTimeTooSkewed":
		return "this machine's clock is wrong; set it"
	case "NotImplemented":
		return fmt.Sprintf("%s lacks what Firn needs of a store (If-None-Match, ranges, start-after)", where)
	case "XAmzContentSHA256Mismatch", "MissingContentSHA256", "InvalidPayloadHash":
		return fmt.Sprintf("%s may insist on signed bodies; add sign_payload=true to the store's URL", where)
	}
	return ""
}

// silence is the error of a store that does not answer, or stops in the middle of a body. It is not the caller's own deadline.
type silence struct{ after time.Duration }

func (e silence) Error() string { return fmt.Sprintf("the store was silent for %v", e.after) }

// Timeout marks a time-out for those who ask.
func (e silence) Timeout() bool { return true }

// watchdog ends a request on which nothing happens.
type watchdog struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	after  time.Duration
}

// watch gives a request so much time. The watchdog is stopped by its user.
func watch(ctx context.Context, after time.Duration) *watchdog {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, cancel: cancel, after: after}
	w.timer = time.AfterFunc(after, func() { cancel(silence{after}) })
	return w
}

func (w *watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}

// explain gives the watchdog's reason for an error, if it was the reason.
func (w *watchdog) explain(err error) error {
	if reason := (silence{}); err != nil && errors.As(context.Cause(w.ctx), &reason) {
		return reason
	}
	return err
}
