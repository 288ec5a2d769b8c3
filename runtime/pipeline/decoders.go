package pipeline

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/runtime/decode"
)

// lend gives a source a decoder for the table's columns.
func (w *worker) lend(ctx context.Context, s *source) error {
	if s.decoder != nil {
		return nil
	}
	if len(w.lent) >= maxDecoders {
		largest := slices.MaxFunc(w.lent, func(a, b *source) int { return int(a.decoder.Bytes() - b.decoder.Bytes()) })
		if err := w.flush(ctx, largest); err != nil {
			return err
		}
		w.giveBack(largest)
	}
	var d *decoder
	if n := len(s.form.decoders); n > 0 {
		d, s.form.decoders = s.form.decoders[n-1], s.form.decoders[:n-1]
	} else {
		made, err := decode.New(w.decodeConfig(s.form), s.form.columns, w.cfg.Allocator)
		if err != nil {
			return halted(fmt.Sprintf("table %s: %v", w.table.name, err), "change the job's decode section, or the table")
		}
		d = &decoder{made, s.form.columns, made.Schema()}
	}
	if err := w.align(s.form, d); err != nil {
		return err
	}
	s.decoder = d
	w.lent = append(w.lent, s)
	return nil
}

// see takes note of the table's columns.
func (w *worker) see(target *arrow.Schema) {
	same := w.target != nil && target != nil && w.target.Equal(target)
	w.target = target
	for _, f := range w.forms() {
		f.see(target, same)
	}
}

// align makes an empty decoder begin with the columns as they are known now.
func (w *worker) align(f *form, d *decoder) error {
	if d.columns == f.columns {
		if len(f.chain) > 0 {
			d.start = d.Schema()
		}
		return nil
	}
	if err := d.Reset(f.columns); err != nil {
		return halted(fmt.Sprintf("table %s: %v", w.table.name, err), "change the job's decode section, or the table")
	}
	d.columns, d.start = f.columns, d.Schema()
	return nil
}

func (w *worker) decodeConfig(f *form) decode.Config {
	cfg := f.decode
	cfg.MaxBytes = 4 * w.table.job.flushBytes
	cfg.Pinned = w.table.pins
	return cfg
}

// giveBack takes an empty decoder back.
func (w *worker) giveBack(s *source) {
	s.form.decoders = append(s.form.decoders, s.decoder)
	s.decoder = nil
	w.lent = slices.DeleteFunc(w.lent, func(o *source) bool { return o == s })
}
