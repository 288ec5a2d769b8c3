package tail

import (
	"context"
	"fmt"
	"io"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
)

// flight is a GET under way.
type flight struct {
	key     string
	cancel  context.CancelFunc
	granted chan struct{} // closed when it has its memory, or needs none
	done    chan struct{} // closed when it has ended; what follows is set then

	body     []byte // of the whole, or its end if there are parts
	parts    []part
	manifest *kfs.Manifest // nil as long as it was not opened
	crc      uint32        // of the manifest and what follows it
	info     blob.Info
	err      error
	release  func()
}

// maxObjectBytes is the largest object that is read; far above what a broker writes.
const maxObjectBytes = 1 << 30

// launch begins a GET behind others. Memory is asked for in their order: else a later object could hold what an earlier one needs.
func launch(ctx context.Context, key string, others []*flight, run func(ctx context.Context, f *flight, before <-chan struct{}) error) *flight {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it outlives the call; land ends it
	f := &flight{key: key, cancel: cancel, granted: make(chan struct{}), done: make(chan struct{}), release: func() {}}
	var before <-chan struct{}
	if n := len(others); n > 0 {
		before = others[n-1].granted
	}
	go func() {
		defer close(f.done)
		defer cancel()
		f.err = run(ctx, f, before)
	}()
	return f
}

// run reads the object, whose memory is asked for when before is closed, if it is not nil.
func (f *flight) run(ctx context.Context, store blob.Store, budget Budget, before <-chan struct{}) error {
	defer close(f.granted)
	body, info, err := store.Get(ctx, f.key, blob.All)
	f.info = info
	if err != nil {
		return err
	}
	defer body.Close()
	if info.Size > maxObjectBytes {
		return fmt.Errorf("%s: %w", f.key, corrupt("an object of %d bytes", info.Size))
	}
	if before != nil {
		select {
		case <-before:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if err := budget.Acquire(ctx, info.Size); err != nil {
		return err
	}
	f.body = make([]byte, info.Size)
	f.release = func() { budget.Release(info.Size) }
	if _, err := io.ReadFull(body, f.body); err != nil {
		f.release()
		return fmt.Errorf("get %s: %w", f.key, err)
	}
	return nil
}

// runTail reads the object's manifest: its last bytes, and more of them if they are too few.
func (f *flight) runTail(ctx context.Context, store blob.Store) error {
	defer close(f.granted)
	return f.readTail(ctx, store, kfs.TailSize)
}

// readTail is runTail that begins with the last bytes.
func (f *flight) readTail(ctx context.Context, store blob.Store, bytes int64) (err error) {
	for need := bytes; need > 0; {
		f.body, f.info, err = blob.ReadAll(ctx, store, f.key, blob.Last(need), maxObjectBytes)
		if err != nil {
			return err
		}
		m, crc, more, err := kfs.OpenTail(f.body, f.info.Size)
		if err != nil || more <= need {
			f.manifest, f.crc = m, crc
			return nil // whoever opens it sees the error
		}
		need = more
	}
	return nil
}

// openTail opens the manifest of what was read, unless it was opened when that was read.
func (f *flight) openTail() (err error) {
	if f.manifest != nil {
		return nil
	}
	var need int64
	f.manifest, f.crc, need, err = kfs.OpenTail(f.body, f.info.Size)
	if err == nil && need > 0 {
		err = corrupt("%d bytes have no room for the manifest", f.info.Size)
	}
	return err
}

// land ends flights, which must not be used any more, and reports whether one of them had found its object.
func land(flights []*flight) (found bool) {
	for _, f := range flights {
		f.cancel()
		<-f.done
		if f.err == nil {
			f.release()
			found = true
		}
	}
	return found
}
