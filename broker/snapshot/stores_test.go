package snapshot

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/firn-io/firn/kfs/blob"
)

// afterFirst does something after the first LIST of a prefix.
type afterFirst struct {
	blob.Store
	prefix string
	do     func()
	once   sync.Once
}

func (s *afterFirst) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	return func(yield func(blob.Page, error) bool) {
		for page, err := range s.Store.List(ctx, prefix, after) {
			if !yield(page, err) {
				break
			}
		}
		if prefix == s.prefix && s.do != nil {
			s.once.Do(s.do)
		}
	}
}

// skewed is a store whose time is later by so much once an object is there.
type skewed struct {
	blob.Store
	key string
	by  time.Duration
}

func (s skewed) Get(ctx context.Context, key string, r blob.Range) (io.ReadCloser, blob.Info, error) {
	body, info, err := s.Store.Get(ctx, key, r)
	if key == s.key && err == nil {
		info.ServerTime = info.ServerTime.Add(s.by)
	}
	return body, info, err
}
