//go:build !race

package iceberg

// oneOf says of how many operations one fails in the walks over faults.
const oneOf = 1
