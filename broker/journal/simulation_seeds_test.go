//go:build !race

package journal

// What the simulations in this folder do unless told otherwise.
const (
	DefaultSeeds = 300
	ReplaySeeds  = 50 // that are run twice: a finding can be run again
)
