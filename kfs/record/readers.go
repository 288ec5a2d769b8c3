package record

import "runtime"

// Readers lends Readers, as many at a time as there are cores: decompressing is work for a core, so more would not be faster, and the memory that
// it takes is bounded however many goroutines have batches to read. It is safe for concurrent use.
type Readers struct {
	idle chan *Reader // nil in place of one that does not exist yet
}

// keptBytes is how large a buffer an idle Reader keeps.
const keptBytes = 4 << 20

// NewReaders makes Readers.
func NewReaders() *Readers {
	p := &Readers{idle: make(chan *Reader, runtime.GOMAXPROCS(0))}
	for range cap(p.idle) {
		p.idle <- nil
	}
	return p
}

// Get waits for a Reader. It must be given back, soon.
func (p *Readers) Get() *Reader {
	if r := <-p.idle; r != nil {
		return r
	}
	return new(Reader)
}

// Put gives a Reader back. Its records must not be used any more.
func (p *Readers) Put(r *Reader) {
	r.release()
	if cap(r.dec.buf) > keptBytes {
		r = nil
	}
	p.idle <- r
}
