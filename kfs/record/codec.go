package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Codec is a compression that Kafka defines for the records of a batch.
type Codec uint8

// Kafka's codecs, by their numbers in the attributes of a batch.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2 // one raw block, or the stream of chunks that Java writes
	LZ4    Codec = 3 // one frame
	Zstd   Codec = 4
)

// String is the name that Kafka's compression.type has for the codec.
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Gzip:
		return "gzip"
	case Snappy:
		return "snappy"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// DecompressedBytes is how large the records of one batch may become by default. Producers and consumers of Kafka agree on no
// number; this one is far above what batches of a few MiB hold, and small beside the memory of a process.
const DecompressedBytes = 64 << 20

// Decompressor decompresses the records of batches, one after the other, into one buffer that it keeps. The zero value is ready. It
// is not for concurrent use.
type Decompressor struct {
	buf       []byte
	src       bytes.Reader
	gzip      *gzip.Reader
	zstd      *zstd.Decoder
	zstdLimit int
}

// Decompress gives what src holds. The result is valid until the next call; for None it is src itself. Output above limit bytes is
// ErrTooLarge, found before much more memory than the limit is taken (zstd: at least 8 MiB, the window of its usual levels); other
// errors are ErrCorrupt and ErrCodec.
func (d *Decompressor) Decompress(codec Codec, src []byte, limit int) ([]byte, error) {
	var err error
	out := d.buf[:0]
	switch codec {
	case None:
		if len(src) > limit {
			return nil, tooLarge(limit)
		}
		return src, nil
	case Gzip:
		out, err = d.ungzip(out, src, limit)
	case Snappy:
		out, err = unsnappy(out, src, limit)
	case LZ4:
		out, err = unlz4(out, src, limit)
	case Zstd:
		out, err = d.unzstd(out, src, limit)
	default:
		return nil, fmt.Errorf("%w: %s", ErrCodec, codec)
	}
	if cap(out) > cap(d.buf) {
		d.buf = out // also after an error: it may have grown
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

func tooLarge(limit int) error {
	return fmt.Errorf("%w: more than %d bytes decompressed", ErrTooLarge, limit)
}

func undecodable(codec Codec, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrCorrupt, codec, err)
}

// grow makes room for at least one more byte, doubling up to limit. False: out has limit bytes already.
func grow(out []byte, limit int) ([]byte, bool) {
	if len(out) < cap(out) && len(out) < limit {
		return out, true
	}
	if len(out) >= limit {
		return out, false
	}
	return slices.Grow(out, min(max(len(out), 4<<10), limit-len(out))), true
}

func (d *Decompressor) ungzip(out, src []byte, limit int) ([]byte, error) {
	d.src.Reset(src)
	defer d.src.Reset(nil)
	if d.gzip == nil {
		d.gzip = new(gzip.Reader)
	}
	if err := d.gzip.Reset(&d.src); err != nil {
		return out, undecodable(Gzip, noEOF(err))
	}
	for {
		var room bool
		if out, room = grow(out, limit); !room {
			var more [1]byte // full: only the end may follow
			if n, err := io.ReadFull(d.gzip, more[:]); n > 0 {
				return out, tooLarge(limit)
			} else if err != io.EOF {
				return out, undecodable(Gzip, err)
			}
			return out, nil
		}
		n, err := d.gzip.Read(out[len(out):min(cap(out), limit)])
		out = out[:len(out)+n]
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, undecodable(Gzip, err)
		}
	}
}

// noEOF makes an end of input that came too early an error that says so.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *Decompressor) unzstd(out, src []byte, limit int) ([]byte, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil { // DecodeAll takes a cut header for the end of the input
		return out, undecodable(Zstd, err)
	}
	if h.HasFCS && h.FrameContentSize > uint64(limit) {
		return out, tooLarge(limit)
	}
	if h.HasFCS && h.FrameContentSize > uint64(len(src)/zstdBlockMin+1)*zstdBlockMax {
		return out, undecodable(Zstd, zstd.ErrFrameSizeMismatch) // not decoded: it would be given the room first
	}
	if err := d.limitZstd(max(limit, zstdWindow)); err != nil {
		return out, err
	}
	got, err := d.zstd.DecodeAll(src, out)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, zstd.ErrWindowSizeExceeded):
		return out, tooLarge(limit)
	case err != nil:
		return out, undecodable(Zstd, err)
	case len(got) > limit:
		return out, tooLarge(limit)
	}
	return got, nil
}

// A block of a zstd frame is at least a header and a byte, and holds at most 128 KiB.
const (
	zstdBlockMin = 4
	zstdBlockMax = 128 << 10
)

// zstdWindow is what a zstd frame may always declare as its window. The decoder limits window and output by one number, and the
// frames of streaming producers declare windows far larger than what they hold, so a limit below this is checked on the output.
const zstdWindow = 8 << 20

// limitZstd makes the decoder ready for frames of at most limit bytes.
func (d *Decompressor) limitZstd(limit int) (err error) {
	switch option := zstd.WithDecoderMaxMemory(uint64(limit)); {
	case d.zstd == nil:
		d.zstd, err = zstd.NewReader(nil, option, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	case d.zstdLimit != limit:
		err = d.zstd.ResetWithOptions(nil, option)
	}
	if err != nil {
		return fmt.Errorf("zstd decoder: %w", err) // our own options are wrong
	}
	d.zstdLimit = limit
	return nil
}
