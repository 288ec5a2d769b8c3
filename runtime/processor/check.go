package processor

import (
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// CheckApplied holds what a transform has made of a batch against the contract of Transform. Both are borrowed; before.Records is not nil.
func CheckApplied(before, after Batch) error {
	if after.Source != before.Source || after.Span != before.Span {
		return fmt.Errorf("the result is %s/%d %s, the batch was %s/%d %s",
			after.Source.Topic, after.Source.Partition, after.Span, before.Source.Topic, before.Source.Partition, before.Span)
	}
	if len(after.Rejected) < len(before.Rejected) {
		return errors.New("rejections of a transform before it are gone")
	}
	offsets, err := offsetsOf(before)
	if err != nil {
		return fmt.Errorf("the batch: %w", err)
	}
	var kept []int64
	if after.Records != nil {
		if err := sameCoordinates(before.Records.Schema(), after.Records.Schema()); err != nil {
			return err
		}
		if kept, err = offsetsOf(after); err != nil {
			return err
		}
	}
	given := make(map[int64]bool, len(after.Rejected))
	for _, r := range after.Rejected {
		given[r.Offset] = true
	}
	i := 0
	for _, offset := range kept {
		for i < len(offsets) && offsets[i] < offset {
			i++
		}
		if i == len(offsets) || offsets[i] != offset {
			return fmt.Errorf("a row with offset %d is not one of the batch, or comes twice or out of order", offset)
		}
		if given[offset] {
			return fmt.Errorf("offset %d is rejected and a row", offset)
		}
		i++
	}
	return rejectedOf(offsets, after.Rejected[len(before.Rejected):])
}

// rejectedOf checks that every rejection is of a row of the batch.
func rejectedOf(offsets []int64, rejected []Rejection) error {
	if len(rejected) == 0 {
		return nil
	}
	rows := make(map[int64]bool, len(offsets))
	for _, o := range offsets {
		rows[o] = true
	}
	for _, r := range rejected {
		if !rows[r.Offset] {
			return fmt.Errorf("offset %d is rejected and no row of the batch, or was rejected twice", r.Offset)
		}
		delete(rows, r.Offset)
	}
	return nil
}

func sameCoordinates(before, after *arrow.Schema) error {
	for i := range Coordinates {
		want := before.Field(i)
		if i >= after.NumFields() || after.Field(i).Name != want.Name || !arrow.TypeEqual(after.Field(i).Type, want.Type) {
			return fmt.Errorf("column %d of the result is not %s (%s): the coordinates of a record stay what and where they are", i, want.Name, want.Type)
		}
	}
	return nil
}

// offsetsOf is the offsets of a batch's rows. Its topic and partition must be the source's.
func offsetsOf(b Batch) ([]int64, error) {
	if b.Records.NumCols() < Coordinates {
		return nil, errors.New("there are no coordinates")
	}
	topics, ok1 := b.Records.Column(0).(*array.String)
	partitions, ok2 := b.Records.Column(1).(*array.Int32)
	offsets, ok3 := b.Records.Column(2).(*array.Int64)
	if !ok1 || !ok2 || !ok3 {
		return nil, errors.New("the coordinates have other types than topic (string), partition (int32) and offset (int64)")
	}
	if topics.NullN()+partitions.NullN()+offsets.NullN() > 0 {
		return nil, errors.New("a row has null coordinates")
	}
	for i := range int(b.Records.NumRows()) {
		if topics.Value(i) != b.Source.Topic || partitions.Value(i) != b.Source.Partition {
			return nil, fmt.Errorf("row %d is of %s/%d, the batch of %s/%d", i, topics.Value(i), partitions.Value(i), b.Source.Topic, b.Source.Partition)
		}
	}
	return offsets.Int64Values(), nil
}
