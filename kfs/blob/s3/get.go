package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

// Get implements blob.Store. The body may be read as slowly as the caller likes, but each read waits for the store only so long.
func (s *Store) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, blob.Info{}, fmt.Errorf("get: %w", err)
	}
	if r.Suffix <= 0 && (r.Off < 0 || r.Len < 0) {
		return nil, blob.Info{}, fmt.Errorf("get %s: range %d+%d: %w", s.name(key), r.Off, r.Len, blob.ErrRange)
	}
	body, info, err := s.get(ctx, key, r)
	if r.Suffix > 0 && errors.Is(err, blob.ErrRange) {
		// The object is empty, or shorter than the suffix in a store that does not cut it. One that has grown since is refused by Resolve.
		body, info, err = s.get(ctx, key, blob.All)
		if err == nil && info.Size > r.Suffix {
			body.Close()
			err = fmt.Errorf("get %s: the store refuses the last %d bytes of %d", s.name(key), r.Suffix, info.Size)
		}
	}
	if err != nil {
		return nil, info, err
	}
	return body, info, nil
}

func (s *Store) get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	w := watch(ctx, requestTimeout)
	out, err := s.client.GetObject(w.ctx, &sdk.GetObjectInput{Bucket: &s.bucket, Key: &key, Range: rangeHeader(r)}, with(s.reads))
	w.timer.Stop()
	if err != nil {
		w.cancel(nil)
		return s.getFailed(key, err, w)
	}
	a := accepted(out.ResultMetadata)
	info, err := describe(key, r, out)
	info.ServerTime = a.time
	if err == nil && a.time.IsZero() {
		err = errNoDate
	}
	if err != nil {
		w.cancel(nil)
		out.Body.Close()
		return nil, info, fmt.Errorf("get %s: %w", s.name(key), err)
	}
	return &watchedBody{out.Body, w}, info, nil
}

func (s *Store) getFailed(key string, err error, w *watchdog) (io.ReadCloser, blob.Info, error) {
	err = w.explain(err)
	a := refused(err)
	var known error
	switch {
	case a.absent():
		known = blob.ErrNotFound
	case a.status == http.StatusRequestedRangeNotSatisfiable:
		known = blob.ErrRange
	}
	return nil, a.moment(key), s.fail(a, "get", key, known, err)
}

// rangeHeader gives the Range of a request, nil for the whole object.
func rangeHeader(r blob.Range) *string {
	switch {
	case r.Suffix > 0:
		return aws.String(fmt.Sprintf("bytes=-%d", r.Suffix))
	case r.Len > 0:
		return aws.String(fmt.Sprintf("bytes=%d-%d", r.Off, r.Off+r.Len-1))
	case r.Off > 0:
		return aws.String(fmt.Sprintf("bytes=%d-", r.Off))
	}
	return nil
}

// describe reads the head of an object, and checks that the body that follows is the range that was asked for.
func describe(key string, r blob.Range, out *sdk.GetObjectOutput) (blob.Info, error) {
	length := aws.ToInt64(out.ContentLength)
	info := blob.Info{Key: key, Size: length, Version: aws.ToString(out.ETag), Modified: aws.ToTime(out.LastModified)}
	first, last := int64(0), length-1
	if out.ContentRange != nil {
		if _, err := fmt.Sscanf(*out.ContentRange, "bytes %d-%d/%d", &first, &last, &info.Size); err != nil {
			return info, fmt.Errorf("content range %q: %w", *out.ContentRange, err)
		}
	}
	off, n, err := r.Resolve(info.Size)
	if err != nil {
		return info, err
	}
	if out.ContentLength == nil || first != off || last != off+n-1 || length != n {
		return info, fmt.Errorf("asked for %d+%d of %d bytes, the store sends %d+%d", off, n, info.Size, first, length)
	}
	return info, nil
}

// watchedBody is a body whose reads do not wait for ever.
type watchedBody struct {
	body io.ReadCloser
	dog  *watchdog
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.dog.timer.Reset(b.dog.after)
	n, err := b.body.Read(p)
	b.dog.timer.Stop()
	if err != nil && err != io.EOF {
		err = b.dog.explain(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.body.Close()
	b.dog.stop()
	return err
}
