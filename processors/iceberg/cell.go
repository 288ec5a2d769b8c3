package iceberg

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
)

// cell is a partition value for comparing.
type cell struct {
	set bool
	n   int64
	s   string
}

func (c cell) append(b []byte) []byte {
	if !c.set {
		return append(b, 0)
	}
	b = append(b, 1)
	b = binary.BigEndian.AppendUint64(b, uint64(c.n))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.s)))
	return append(b, c.s...)
}

// cells gives the partition value of each row.
type cells func(row int) cell

// cells prepares a column. Time transforms of timestamps and identities, the common ones, cost no allocation.
func (f *splitField) cells(rec arrow.RecordBatch) cells {
	column := f.column(rec)
	if column == nil {
		return func(int) cell { return cell{} }
	}
	if len(f.path) > 1 {
		return func(row int) cell {
			if f.hidden(rec, row) {
				return cell{}
			}
			return f.cell(column, row)
		}
	}
	switch c := column.(type) {
	case *array.Timestamp:
		if unit, ok := timeUnit(f.transform); ok {
			return func(row int) cell {
				if c.IsNull(row) {
					return cell{}
				}
				return cell{set: true, n: unit(int64(c.Value(row)))}
			}
		}
	case *array.String:
		if _, ok := f.transform.(iceberg.IdentityTransform); ok {
			return func(row int) cell {
				if c.IsNull(row) {
					return cell{}
				}
				return cell{set: true, s: c.Value(row)}
			}
		}
	}
	return func(row int) cell { return f.cell(column, row) }
}

// cell is the partition value of one row, by way of Iceberg's own transform.
func (f *splitField) cell(column arrow.Array, row int) cell {
	literal := literalAt(column, row, f.source)
	if literal == nil {
		return cell{}
	}
	v := f.transform.Apply(iceberg.Optional[iceberg.Literal]{Valid: true, Val: literal})
	if !v.Valid {
		return cell{}
	}
	return cellOf(v.Val.Any())
}

// cellOf compares what a transform gives.
func cellOf(v any) cell {
	switch v := v.(type) {
	case bool:
		if v {
			return cell{set: true, n: 1}
		}
		return cell{set: true}
	case int32:
		return cell{set: true, n: int64(v)}
	case int64:
		return cell{set: true, n: v}
	case float32:
		return cell{set: true, n: int64(math.Float32bits(v))}
	case float64:
		return cell{set: true, n: int64(math.Float64bits(v))}
	case iceberg.Date:
		return cell{set: true, n: int64(v)}
	case iceberg.Time:
		return cell{set: true, n: int64(v)}
	case iceberg.Timestamp:
		return cell{set: true, n: int64(v)}
	case string:
		return cell{set: true, s: v}
	case []byte:
		return cell{set: true, s: string(v)}
	}
	return cell{set: true, s: fmt.Sprint(v)}
}

// timeUnit counts a transform's units since 1970 in microseconds since 1970.
func timeUnit(t iceberg.Transform) (func(us int64) int64, bool) {
	switch t.(type) {
	case iceberg.HourTransform:
		return func(us int64) int64 { return floorDiv(us, int64(time.Hour/time.Microsecond)) }, true
	case iceberg.DayTransform:
		return func(us int64) int64 { return floorDiv(us, 24*int64(time.Hour/time.Microsecond)) }, true
	case iceberg.MonthTransform:
		return func(us int64) int64 {
			at := time.UnixMicro(us).UTC()
			return int64(at.Year())*12 + int64(at.Month())
		}, true
	case iceberg.YearTransform:
		return func(us int64) int64 { return int64(time.UnixMicro(us).UTC().Year()) }, true
	}
	return nil, false
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// literalAt is the value of a row as Iceberg's transforms take it, nil for null. Values are those of the table's type.
func literalAt(column arrow.Array, row int, t iceberg.Type) iceberg.Literal {
	if column.IsNull(row) {
		return nil
	}
	switch c := column.(type) {
	case *array.Boolean:
		return iceberg.NewLiteral(c.Value(row))
	case *array.Int32:
		return iceberg.NewLiteral(c.Value(row))
	case *array.Int64:
		return iceberg.NewLiteral(c.Value(row))
	case *array.Float32:
		return iceberg.NewLiteral(c.Value(row))
	case *array.Float64:
		return iceberg.NewLiteral(c.Value(row))
	case *array.Date32:
		return iceberg.NewLiteral(iceberg.Date(c.Value(row)))
	case *array.Time64:
		return iceberg.NewLiteral(iceberg.Time(c.Value(row)))
	case *array.Timestamp:
		return iceberg.NewLiteral(iceberg.Timestamp(c.Value(row)))
	case *array.String:
		return iceberg.NewLiteral(strings.Clone(c.Value(row)))
	case *array.Binary:
		return iceberg.NewLiteral(append([]byte(nil), c.Value(row)...))
	case *array.FixedSizeBinary:
		if _, ok := t.(iceberg.UUIDType); ok {
			if id, err := uuid.FromBytes(c.Value(row)); err == nil {
				return iceberg.NewLiteral(id)
			}
			return nil
		}
		return iceberg.NewLiteral(append([]byte(nil), c.Value(row)...))
	case *array.Decimal128:
		if d, ok := t.(iceberg.DecimalType); ok {
			return iceberg.NewLiteral(iceberg.Decimal{Val: c.Value(row), Scale: d.Scale()})
		}
	case *array.Dictionary:
		return literalAt(c.Dictionary(), c.GetValueIndex(row), t)
	}
	return nil
}
