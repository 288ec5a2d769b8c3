//go:build race

package pipeline

// simReplays is none: the race detector has goroutines run in any order.
const simReplays = 0
