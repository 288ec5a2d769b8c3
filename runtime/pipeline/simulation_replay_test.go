//go:build !race

package pipeline

// simReplays is how many of the first seeds are run twice: a finding can be run again.
const simReplays = 50
