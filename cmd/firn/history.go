package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/broker"
	"github.com/firn-io/firn/runtime/job"
)

// historyFlags say what a broker does about old records.
type historyFlags struct {
	settleAge  time.Duration
	settleSize string
	grace      time.Duration
}

func (f *historyFlags) register(c *cobra.Command) {
	c.Flags().DurationVar(&f.settleAge, "settle-age", time.Hour, "how `long` records stay in the journal until they are settled in segments")
	c.Flags().StringVar(&f.settleSize, "settle-size", "64MiB", "how `much` of a partition is settled at once; at most a sixteenth of --memory")
	c.Flags().DurationVar(&f.grace, "grace", 6*time.Hour, "how `long` nobody may have needed what is deleted; at least 2h")
}

// parse checks the flags.
func (f *historyFlags) parse() (broker.History, error) {
	size, err := job.ParseSize(f.settleSize)
	if err != nil {
		return broker.History{}, fmt.Errorf("--settle-size: %w", err)
	}
	if f.settleAge <= 0 {
		return broker.History{}, fmt.Errorf("--settle-age: %v is no time that records can lie in the journal", f.settleAge)
	}
	return broker.History{SettleAge: f.settleAge, SettleBytes: size, Grace: f.grace}, nil
}
