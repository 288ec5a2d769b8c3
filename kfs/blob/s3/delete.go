package s3

import (
	"context"
	"fmt"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	w := watch(ctx, requestTimeout)
	defer w.stop()
	_, err := s.client.DeleteObject(w.ctx, &sdk.DeleteObjectInput{Bucket: &s.bucket, Key: &key}, with(s.writes))
	if err == nil {
		return nil
	}
	err = w.explain(err)
	a := refused(err)
	if a.absent() {
		return nil // S3 does not say so, others do
	}
	return s.fail(a, "delete", key, nil, err)
}
