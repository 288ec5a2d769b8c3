//go:build firn_short_limit

package journal

import "time"

// limit is LIMIT for tests of whole processes that cannot wait, and with it all that is measured in it. A program that was built with it must
// not share a store with others.
const limit = 3 * time.Second
