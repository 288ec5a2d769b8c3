//go:build race

package journal

// The simulations run on one goroutine, where the race detector makes everything slow and has little to see: some seeds are enough for it.
const (
	DefaultSeeds = 30
	ReplaySeeds  = 5
)
