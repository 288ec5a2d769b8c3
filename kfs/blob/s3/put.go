package s3

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/firn-io/firn/kfs/blob"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	// conflictTries bounds how often a conditional Put is sent that met another one.
	conflictTries = 10
	// conflictPause is the longest wait before the second; it grows with each.
	conflictPause = 20 * time.Millisecond
)

// Put implements blob.Store. Info.Modified is the time of the answer: the store does not tell it here.
func (s *Store) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return blob.Info{}, fmt.Errorf("put: %w", err)
	}
	in := &sdk.PutObjectInput{
		Bucket: &s.bucket, Key: &key, ContentLength: aws.Int64(int64(len(body))),
		ChecksumCRC32C: aws.String(checksum(body)),
	}
	retryer := s.writes
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
		retryer = aws.NopRetryer{}
	}
	for try := 1; ; try++ {
		info, a, err := s.put(ctx, in, body, retryer)
		if err == nil || !ifAbsent || a.code != "ConditionalRequestConflict" || try == conflictTries {
			return info, err
		}
		if waitErr := wait(ctx, rand.N(time.Duration(try)*conflictPause)); waitErr != nil {
			return info, fmt.Errorf("put %s: %w", s.name(key), waitErr)
		}
	}
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// checksum is a CRC-32C as S3 writes it.
func checksum(body []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.Checksum(body, castagnoli)))
}

func (s *Store) put(ctx context.Context, in *sdk.PutObjectInput, body []byte, r aws.Retryer) (blob.Info, answer, error) {
	w := watch(ctx, requestTimeout+time.Duration(len(body)>>20)*bodyTimeout)
	defer w.stop()
	in.Body = bytes.NewReader(body)
	out, err := s.client.PutObject(w.ctx, in, with(r), func(o *sdk.Options) {
		if !s.signed {
			o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
		}
	})
	key := *in.Key
	if err != nil {
		err = w.explain(err)
		a := refused(err)
		var known error
		if in.IfNoneMatch != nil && a.status == http.StatusPreconditionFailed {
			known = blob.ErrPrecondition
		}
		return a.moment(key), a, s.fail(a, "put", key, known, err)
	}
	a := accepted(out.ResultMetadata)
	if a.time.IsZero() {
		return blob.Info{}, a, fmt.Errorf("put %s: %w", s.name(key), errNoDate)
	}
	return blob.Info{Key: key, Size: int64(len(body)), Version: aws.ToString(out.ETag), Modified: a.time, ServerTime: a.time}, a, nil
}
