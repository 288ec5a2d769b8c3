package blob_test

import (
	"testing"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blob.Store { return blob.NewMemory(nil) })
}
