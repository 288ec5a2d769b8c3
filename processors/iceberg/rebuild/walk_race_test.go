//go:build race

package rebuild_test

// oneOf says of how many steps of the quick walks over operations one is made: the race detector makes them slow, and sees much the same in each.
const oneOf = 5
