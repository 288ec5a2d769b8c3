package journal

import (
	"context"
	"iter"
	"sync"

	"github.com/firn-io/firn/kfs/blob"
)

// slowList holds back, when told to, the next LIST of a prefix until release is closed; held is closed when it has come.
type slowList struct {
	blob.Store
	prefix  string
	held    chan struct{}
	release chan struct{}

	mu   sync.Mutex
	slow bool
}

func (s *slowList) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slow = true
}

func (s *slowList) List(ctx context.Context, prefix, after string) iter.Seq2[blob.Page, error] {
	s.mu.Lock()
	slow := s.slow && prefix == s.prefix
	if slow {
		s.slow = false
	}
	s.mu.Unlock()
	if slow {
		close(s.held)
		<-s.release
	}
	return s.Store.List(ctx, prefix, after)
}

// onFirstPut does something when the first object was put.
type onFirstPut struct {
	blob.Store
	once sync.Once
	do   func()
}

func (s *onFirstPut) Put(ctx context.Context, key string, body []byte, ifAbsent bool) (blob.Info, error) {
	info, err := s.Store.Put(ctx, key, body, ifAbsent)
	s.once.Do(s.do)
	return info, err
}
