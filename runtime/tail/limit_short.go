//go:build firn_short_limit

package tail

import "time"

// Limit is LIMIT for tests of whole processes that cannot wait; it goes with that of package journal.
const Limit = 3 * time.Second
