//go:build !race

package route

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
)

// The race detector makes pools drop what they are given, so allocations are counted without it.

// TestAssignAllocations lets what is allocated depend on the tables, not on the rows.
func TestAssignAllocations(t *testing.T) {
	columns := []arrow.Field{{Name: "a", Type: arrow.PrimitiveTypes.Int64}}
	var few, many []string
	for i := range 1000 {
		row := fmt.Sprintf(`{"a": %d, "kafka_headers": [{"key": "h", "value": "b25l"}]}`, 1000+i%3)
		if many = append(many, row); i < 3 {
			few = append(few, row)
		}
	}
	r := routeOf(t, "db.{field:a}_{header:h}")
	allocations := func(rows []string) float64 {
		batch := rowsOf(t, columns, rows...)
		return testing.AllocsPerRun(10, func() {
			if _, err := r.assign(batch); err != nil {
				t.Fatal(err)
			}
		})
	}
	if a, b := allocations(few), allocations(many); b > a {
		t.Errorf("%v allocations for 3 rows, %v for 1000, of 3 tables", a, b)
	}
}
