//go:build !race

package pipeline

// simReplays is how many of the first seeds are run twice where that must give the same: a finding can be run again.
const simReplays = 50
