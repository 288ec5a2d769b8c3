//go:build !firn_short_limit

package journal

import "time"

// limit is the LIMIT of the format: how old knowledge of the journal's end may be, by the store's clock, when an object is acknowledged on
// it.
const limit = 30 * time.Minute
