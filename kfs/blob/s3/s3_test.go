package s3

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

const bucket = "firn-test"

// found is what the SDK would find in an environment.
func found() aws.Config {
	return aws.Config{Credentials: credentials.NewStaticCredentialsProvider("firn", "firnfirnfirn", "")}
}

func open(t *testing.T, cfg Config, found aws.Config) *Store {
	t.Helper()
	s, err := New(cfg, found)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// makeBucket makes the bucket of a Store, for Firn never does.
func makeBucket(ctx context.Context, s *Store) error {
	_, err := s.client.CreateBucket(ctx, &sdk.CreateBucketInput{Bucket: &s.bucket})
	return err
}

// TestStore runs the suite on a fake in this process. What the fake does otherwise than S3 is that a suffix longer than the object is
// an error (416), which get.go takes care of, and that it does not look at checksums.
func TestStore(t *testing.T) {
	for _, signed := range []bool{false, true} {
		name := map[bool]string{false: "unsigned", true: "signed"}[signed]
		t.Run(name, func(t *testing.T) {
			blobtest.Run(t, func(t *testing.T) blob.Store {
				server := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
				t.Cleanup(server.Close)
				s := open(t, Config{Bucket: bucket, Endpoint: server.URL, SignPayload: signed}, found())
				if err := makeBucket(t.Context(), s); err != nil {
					t.Fatal(err)
				}
				return blob.Prefix(s, "name/space/")
			})
		})
	}
}
