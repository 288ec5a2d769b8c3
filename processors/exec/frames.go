package exec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// frames passes an Arrow IPC stream on and checks the length of every message before anything is made room for. A message is
//
//	4  continuation  ff ff ff ff
//	4  size          of the metadata, little-endian; 0 ends the stream
//	   metadata      a flatbuffer of table Message, whose fourth field is the length of the body
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
	var ok bool
	if f.left, ok = bodyLength(f.head[8:]); !ok || f.left < 0 {
		return errNoStream
	}
	if f.left > f.most {
		return fmt.Errorf("a message claims a body of %d bytes, at most %d", f.left, f.most)
	}
	return nil
}

// bodyLength reads the fourth field of a Message; a field that is not there is 0.
func bodyLength(metadata []byte) (n int64, ok bool) {
	at := func(i int64, size int64) []byte {
		if i < 0 || i+size > int64(len(metadata)) {
			return nil
		}
		return metadata[i : i+size]
	}
	root := at(0, 4)
	if root == nil {
		return 0, false
	}
	table := int64(binary.LittleEndian.Uint32(root))
	back := at(table, 4)
	if back == nil {
		return 0, false
	}
	vtable := table - int64(int32(binary.LittleEndian.Uint32(back)))
	const slot = 4 + 2*3
	length := at(vtable, 2)
	if length == nil {
		return 0, false
	}
	if binary.LittleEndian.Uint16(length) < slot+2 {
		return 0, true
	}
	field := at(vtable+slot, 2)
	if field == nil {
		return 0, false
	}
	offset := int64(binary.LittleEndian.Uint16(field))
	if offset == 0 {
		return 0, true
	}
	value := at(table+offset, 8)
	if value == nil {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(value)), true
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
