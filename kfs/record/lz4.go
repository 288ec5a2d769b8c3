package record

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"slices"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame as Kafka uses it: exactly one, version 1, its blocks independent of each other, no dictionary. Integers are little
// endian.
//
//	u32  magic 0x184D2204
//	u8   flags: bits 6-7 version 01, 5 independent blocks, 4 block checksums, 3 content size, 2 content checksum, 0 dictionary
//	u8   bits 4-6 block size: 4 64 KiB, 5 256 KiB, 6 1 MiB, 7 4 MiB
//	u64  content size, if its flag is set
//	u8   second byte of XXH32 of the descriptor (from flags on)
//	blocks: u32 size (top bit: stored uncompressed), bytes, u32 XXH32 of them if flagged; size 0 ends the frame
//	u32  XXH32 of the content, if flagged
//
// It is decoded here instead of by lz4.Reader because that one keeps a dictionary from frame to frame when blocks depend on each
// other, which would show one producer's bytes to another, and because this way blocks are decoded straight into the buffer.
const lz4Magic = 0x184D2204

const (
	lz4Version         = 0x40
	lz4VersionMask     = 0xC0
	lz4Independent     = 0x20
	lz4BlockChecksum   = 0x10
	lz4ContentSize     = 0x08
	lz4ContentChecksum = 0x04
	lz4Reserved        = 0x03 // one is reserved, one says dictionary
	lz4Stored          = 1 << 31
)

var (
	errLZ4Frame     = errors.New("not a frame that Kafka allows")
	errLZ4Block     = errors.New("block larger than the frame says")
	errLZ4Checksum  = errors.New("wrong frame checksum")
	errLZ4Trailing  = errors.New("bytes after the end of the frame")
	errLZ4BlockSize = errors.New("undefined block size")
)

// lz4Frame is what the descriptor says.
type lz4Frame struct {
	flags     byte
	blockSize int
	content   uint64
}

// parseLZ4Frame reads the frame's descriptor and gives what follows it.
func parseLZ4Frame(src []byte) (lz4Frame, []byte, error) {
	var f lz4Frame
	if len(src) < 7 {
		return f, nil, io.ErrUnexpectedEOF
	}
	f.flags = src[4]
	if binary.LittleEndian.Uint32(src) != lz4Magic || f.flags&lz4VersionMask != lz4Version ||
		f.flags&lz4Independent == 0 || f.flags&lz4Reserved != 0 {
		return f, nil, errLZ4Frame
	}
	size := src[5] >> 4
	if size < 4 || size > 7 || src[5]&0x0f != 0 {
		return f, nil, errLZ4BlockSize
	}
	f.blockSize = 64 << 10 << (2 * (size - 4))
	end := 6
	if f.flags&lz4ContentSize != 0 {
		if end += 8; len(src) <= end {
			return f, nil, io.ErrUnexpectedEOF
		}
		f.content = binary.LittleEndian.Uint64(src[6:])
	}
	if src[end] != byte(xxh32(src[4:end])>>8) {
		return f, nil, errLZ4Checksum
	}
	return f, src[end+1:], nil
}

func unlz4(out, src []byte, limit int) ([]byte, error) {
	f, src, err := parseLZ4Frame(src)
	if err != nil {
		return out, undecodable(LZ4, err)
	}
	for {
		if len(src) < 4 {
			return out, undecodable(LZ4, io.ErrUnexpectedEOF)
		}
		head := binary.LittleEndian.Uint32(src)
		if src = src[4:]; head == 0 {
			break
		}
		n := int(head &^ lz4Stored)
		if n > f.blockSize {
			return out, undecodable(LZ4, errLZ4Block)
		}
		if n > len(src) {
			return out, undecodable(LZ4, io.ErrUnexpectedEOF)
		}
		block := src[:n]
		if src = src[n:]; f.flags&lz4BlockChecksum != 0 {
			if len(src) < 4 {
				return out, undecodable(LZ4, io.ErrUnexpectedEOF)
			}
			if binary.LittleEndian.Uint32(src) != xxh32(block) {
				return out, undecodable(LZ4, errLZ4Checksum)
			}
			src = src[4:]
		}
		if out, err = unlz4Block(out, block, head&lz4Stored != 0, f.blockSize, limit); err != nil {
			return out, err
		}
	}
	if f.flags&lz4ContentSize != 0 && f.content != uint64(len(out)) {
		return out, undecodable(LZ4, errLZ4Frame)
	}
	if f.flags&lz4ContentChecksum != 0 {
		if len(src) < 4 {
			return out, undecodable(LZ4, io.ErrUnexpectedEOF)
		}
		if binary.LittleEndian.Uint32(src) != xxh32(out) {
			return out, undecodable(LZ4, errLZ4Checksum)
		}
		src = src[4:]
	}
	if len(src) > 0 {
		return out, undecodable(LZ4, errLZ4Trailing)
	}
	return out, nil
}

// unlz4Block appends what one block holds to out, which is at most limit bytes then.
func unlz4Block(out, block []byte, stored bool, blockSize, limit int) ([]byte, error) {
	if stored {
		if len(block) > limit-len(out) {
			return out, tooLarge(limit)
		}
		return append(out, block...), nil
	}
	// LZ4 makes at most 255 bytes of one, so a short block does not ask for the room of a whole one.
	room := min(blockSize, 255*len(block))
	allowed := min(room, limit-len(out))
	if allowed == 0 {
		return out, tooLarge(limit) // and the decoder does not bear an empty buffer
	}
	out = slices.Grow(out, allowed)
	at := len(out)
	n, err := lz4.UncompressBlock(block, out[at:at+allowed:at+allowed])
	if err != nil {
		if allowed < room {
			return out, tooLarge(limit) // it did not fit, or is damaged: the limit is the honest answer to both
		}
		return out, undecodable(LZ4, err)
	}
	return out[:at+n], nil
}

// xxh32 is the XXH32 hash with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
func xxh32(b []byte) uint32 {
	const (
		p1 = 0x9E3779B1
		p2 = 0x85EBCA77
		p3 = 0xC2B2AE3D
		p4 = 0x27D4EB2F
		p5 = 0x165667B1
	)
	round := func(acc, in uint32) uint32 { return bits.RotateLeft32(acc+in*p2, 13) * p1 }
	n := uint32(len(b))
	h := uint32(p5)
	if len(b) >= 16 {
		var v1, v2, v3, v4 uint32 = p1, p2, 0, 0
		v1 += p2
		v4 -= p1
		for ; len(b) >= 16; b = b[16:] {
			v1 = round(v1, binary.LittleEndian.Uint32(b))
			v2 = round(v2, binary.LittleEndian.Uint32(b[4:]))
			v3 = round(v3, binary.LittleEndian.Uint32(b[8:]))
			v4 = round(v4, binary.LittleEndian.Uint32(b[12:]))
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) + bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h = bits.RotateLeft32(h+binary.LittleEndian.Uint32(b)*p3, 17) * p4
	}
	for _, c := range b {
		h = bits.RotateLeft32(h+uint32(c)*p5, 11) * p1
	}
	h = (h ^ h>>15) * p2
	h = (h ^ h>>13) * p3
	return h ^ h>>16
}
