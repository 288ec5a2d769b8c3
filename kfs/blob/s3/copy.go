package s3

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

// Copy implements blob.Copier, for objects of up to 5 GiB.
func (s *Store) Copy(ctx context.Context, from, to string) (blob.Info, error) {
	for _, key := range []string{from, to} {
		if err := blob.CheckKey(key); err != nil {
			return blob.Info{}, fmt.Errorf("copy: %w", err)
		}
	}
	w := watch(ctx, requestTimeout)
	defer w.stop()
	source := url.PathEscape(s.bucket) + "/" + strings.ReplaceAll(url.PathEscape(from), "%2F", "/")
	out, err := s.client.CopyObject(w.ctx, &sdk.CopyObjectInput{Bucket: &s.bucket, Key: &to, CopySource: &source}, with(s.writes))
	if err != nil {
		err = w.explain(err)
		a := refused(err)
		var known error
		if a.absent() {
			known = blob.ErrNotFound
		}
		return a.moment(from), s.fail(a, "copy", from, known, err)
	}
	a := accepted(out.ResultMetadata)
	if a.time.IsZero() {
		return blob.Info{}, fmt.Errorf("copy %s: %w", s.name(to), errNoDate)
	}
	info := a.moment(to)
	if result := out.CopyObjectResult; result != nil {
		info.Version, info.Modified = aws.ToString(result.ETag), aws.ToTime(result.LastModified)
	}
	return info, nil
}
