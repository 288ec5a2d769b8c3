package s3

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

// copyTimeout bounds a copy with all its tries. A store that copies while the request waits does so at its own disks' pace.
const copyTimeout = 5 * time.Minute

// Copy implements blob.Copier, from any bucket at the same endpoint and in the same region that the credentials may read. CopyObject takes
// objects of up to 5 GiB at once; the format has none of 2 GiB or more, so there is no copy in parts.
func (s *Store) Copy(ctx context.Context, from blob.Store, key, to string) (blob.Info, error) {
	for _, k := range []string{key, to} {
		if err := blob.CheckKey(k); err != nil {
			return blob.Info{}, fmt.Errorf("copy: %w", err)
		}
	}
	f, ok := from.(*Store)
	if !ok || f.endpoint != s.endpoint || f.region != s.region {
		return blob.Info{}, fmt.Errorf("copy %s: from another kind of store, endpoint or region: %w", s.name(to), errors.ErrUnsupported)
	}
	w := watch(ctx, copyTimeout)
	defer w.stop()
	source := url.PathEscape(f.bucket) + "/" + strings.ReplaceAll(url.PathEscape(key), "%2F", "/")
	out, err := s.client.CopyObject(w.ctx, &sdk.CopyObjectInput{Bucket: &s.bucket, Key: &to, CopySource: &source}, with(s.writes))
	if err != nil {
		err = w.explain(err)
		a := refused(err)
		if a.absent() {
			return a.moment(key), f.fail(a, "copy", key, blob.ErrNotFound, err)
		}
		return a.moment(key), s.fail(a, "copy of "+f.name(key)+" to", to, nil, err)
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
