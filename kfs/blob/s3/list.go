package s3

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

// pageObjects is the number of objects on a page, the greatest that S3 allows.
const pageObjects = 1000

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		in := &sdk.ListObjectsV2Input{Bucket: &s.bucket, Prefix: &prefix, MaxKeys: aws.Int32(pageObjects)}
		if start := sendable(after); start != "" {
			in.StartAfter = &start
		}
		wanted := func(key string) bool { return key > after && blob.CheckKey(key) == nil }
		if !canBegin(prefix) {
			// Nothing can be there, but the answer has a time, so the store is asked for something.
			in = &sdk.ListObjectsV2Input{Bucket: &s.bucket, MaxKeys: aws.Int32(1)}
			wanted = nil
		}
		for {
			page, next, err := s.page(ctx, in, prefix, wanted)
			if !yield(page, err) || err != nil || next == nil || wanted == nil {
				return
			}
			in.StartAfter, in.ContinuationToken = nil, next
		}
	}
}

// canBegin tells whether a key can begin with prefix.
func canBegin(prefix string) bool {
	return prefix == "" || blob.CheckKey(prefix) == nil || blob.CheckKey(prefix+"x") == nil
}

// sendable is the part of an after that XML can carry back. The keys between that and the whole are left out here.
func sendable(after string) string {
	for i, r := range after {
		if r < ' ' || r == 0x7f || r == utf8.RuneError {
			return after[:i]
		}
	}
	return after
}

func (s *Store) page(ctx context.Context, in *sdk.ListObjectsV2Input, prefix string, wanted func(string) bool) (blob.Page, *string, error) {
	w := watch(ctx, requestTimeout)
	defer w.stop()
	out, err := s.client.ListObjectsV2(w.ctx, in, with(s.reads))
	if err != nil {
		err = w.explain(err)
		a := refused(err)
		return blob.Page{ServerTime: a.time}, nil, s.fail(a, "list", prefix, nil, err)
	}
	a := accepted(out.ResultMetadata)
	if a.time.IsZero() {
		return blob.Page{}, nil, fmt.Errorf("list %s: %w", s.name(prefix), errNoDate)
	}
	page := blob.Page{ServerTime: a.time}
	if wanted == nil {
		return page, nil, nil
	}
	for _, o := range out.Contents {
		key := aws.ToString(o.Key)
		if !strings.HasPrefix(key, prefix) {
			return blob.Page{}, nil, fmt.Errorf("list %s: the store gives %s, which does not begin so", s.name(prefix), key)
		}
		if wanted(key) {
			page.Objects = append(page.Objects, blob.Info{
				Key: key, Size: aws.ToInt64(o.Size), Version: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified),
			})
		}
	}
	if !aws.ToBool(out.IsTruncated) {
		return page, nil, nil
	}
	if aws.ToString(out.NextContinuationToken) == "" {
		return blob.Page{}, nil, fmt.Errorf("list %s: the store says that there is more, and not how to go on", s.name(prefix))
	}
	return page, out.NextContinuationToken, nil
}
