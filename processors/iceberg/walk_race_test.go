//go:build race

package iceberg

// oneOf says of how many operations one fails: the race detector makes the walks over faults slow, and sees much the same in each.
const oneOf = 7
