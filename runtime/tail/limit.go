//go:build !firn_short_limit

package tail

import "time"

// Limit is how long an answer about an object is believed after the LIST of checkpoints that did not name it released. It is a constant
// of the format, and is measured on the store's clock.
const Limit = 30 * time.Minute
