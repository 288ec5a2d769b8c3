package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frames passes an Arrow IPC stream on and checks what every message claims before anything is made room for. A message is
//
//	4  continuation  ff ff ff ff
//	4  size          of the metadata, little-endian; 0 ends the stream
//	   metadata      a flatbuffer of table Message, see checkMetadata
//	   body
type frames struct {
	in   io.Reader
	most int64 // bytes of a body

	head []byte // of the message, while it is read and passed on
	left int64  // bytes of the body that are to come
}

// maxMetadata bounds the metadata of a message, which grows with the number of columns.
const maxMetadata = 16 << 20

var errNoStream = errors.New("what comes is no Arrow stream; a program writes nothing else to its standard output, and its messages to standard error")

// Read implements io.Reader.
func (f *frames) Read(p []byte) (int, error) {
	if len(f.head) == 0 && f.left == 0 {
		if err := f.next(); err != nil {
			return 0, err
		}
	}
	if len(f.head) > 0 {
		n := copy(p, f.head)
		f.head = f.head[n:]
		return n, nil
	}
	n, err := f.in.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	return n, err
}

// next reads what comes before a body.
func (f *frames) next() error {
	prefix := make([]byte, 8)
	if _, err := io.ReadFull(f.in, prefix[:4]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(prefix) != 0xffffffff {
		return errNoStream
	}
	if _, err := io.ReadFull(f.in, prefix[4:]); err != nil {
		return noEOF(err)
	}
	size := binary.LittleEndian.Uint32(prefix[4:])
	if size > maxMetadata {
		return fmt.Errorf("a message claims metadata of %d bytes, at most %d", size, maxMetadata)
	}
	f.head = append(prefix, make([]byte, size)...)
	if _, err := io.ReadFull(f.in, f.head[8:]); err != nil {
		return noEOF(err)
	}
	if size == 0 {
		return nil
	}
	var err error
	if f.left, err = checkMetadata(f.head[8:]); err != nil {
		return err
	}
	if f.left > f.most {
		return fmt.Errorf("a message claims a body of %d bytes, at most %d", f.left, f.most)
	}
	return nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
