//go:build !race

package rebuild_test

// oneOf says of how many steps of the quick walks over operations one is made.
const oneOf = 1
