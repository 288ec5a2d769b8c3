// Package processors names what is built in: the sinks and the transforms that every Firn has. They are below.
package processors

import "github.com/firn-io/firn/runtime/plugin"

// Table is one table of a job.
type Table = plugin.Table

// Opener opens the sinks of one job.
type Opener = plugin.Tables
