package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"

	"github.com/klauspost/compress/s2"
)

// Java's snappy stream (other clients send one raw block):
//
//	 0  8 bytes  0x82 "SNAPPY" 0x00
//	 8  u32      version
//	12  u32      lowest version that can read it
//	16  chunks: u32 length, one raw snappy block of that length
const snappyMagic = "\x82SNAPPY\x00"

const snappyHeaderSize = 16

// snappyChunk is how many bytes Java puts into a chunk.
const snappyChunk = 32 << 10

// snappyRatio is more than snappy can compress: its densest element makes 64 bytes of 3. A block that claims more is not decoded,
// so that a few bytes cannot ask for the whole limit.
const snappyRatio = 22

var errSnappyFrame = errors.New("malformed chunk")

func unsnappy(out, src []byte, limit int) ([]byte, error) {
	if !bytes.HasPrefix(src, []byte(snappyMagic)) {
		return unsnappyBlock(out, src, limit)
	}
	if len(src) < snappyHeaderSize {
		return out, undecodable(Snappy, errSnappyFrame)
	}
	for src = src[snappyHeaderSize:]; len(src) > 0; {
		if len(src) < 4 {
			return out, undecodable(Snappy, errSnappyFrame)
		}
		n := binary.BigEndian.Uint32(src)
		if src = src[4:]; uint64(n) > uint64(len(src)) {
			return out, undecodable(Snappy, errSnappyFrame)
		}
		var err error
		if out, err = unsnappyBlock(out, src[:n], limit); err != nil {
			return out, err
		}
		src = src[n:]
	}
	return out, nil
}

// unsnappyBlock appends what one raw block holds to out, which is at most limit bytes then.
func unsnappyBlock(out, block []byte, limit int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return out, undecodable(Snappy, err)
	}
	if n > limit-len(out) {
		return out, tooLarge(limit)
	}
	if n > snappyRatio*len(block) {
		return out, undecodable(Snappy, s2.ErrCorrupt)
	}
	out = slices.Grow(out, n)
	at := len(out)
	if _, err := s2.Decode(out[at:at+n:at+n], block); err != nil {
		return out, undecodable(Snappy, err)
	}
	return out[:at+n], nil
}

// appendSnappy appends src as Java's stream.
func appendSnappy(out, src []byte) []byte {
	out = append(out, snappyMagic...)
	out = append(out, 0, 0, 0, 1, 0, 0, 0, 1)
	for chunk := range slices.Chunk(src, snappyChunk) {
		block := s2.EncodeSnappy(nil, chunk)
		out = binary.BigEndian.AppendUint32(out, uint32(len(block)))
		out = append(out, block...)
	}
	return out
}
