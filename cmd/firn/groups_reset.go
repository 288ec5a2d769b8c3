package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func (g *groupsTool) resetCommand() *cobra.Command {
	var topic, to string
	c := &cobra.Command{
		Use: "reset GROUP --topic TOPIC --to WHERE", Short: "Set a group's offsets of a topic", Args: cobra.ExactArgs(1),
		Long: "Set a group's offsets of all partitions of a topic. The group's consumers must be stopped.\n\n" +
			"WHERE is earliest, latest, an offset, a time as in 2026-11-27T08:00:00Z (RFC 3339), or how long ago as in -1h30m. A time means the\n" +
			"first record that is not older, by the records' timestamps, and the end where all are.",
		Example: "  firn groups reset readers --topic events --to earliest\n  firn groups reset readers --topic events --to 1000\n" +
			"  firn groups reset readers --topic events --to 2026-11-27T08:00:00Z\n  firn groups reset readers --topic events --to -1h",
		RunE: func(c *cobra.Command, args []string) error {
			where, err := parseResetTo(to, time.Now())
			if err != nil {
				return err
			}
			return g.connect(c.Context(), func(ctx context.Context, admin *kadm.Client) error {
				offsets, err := where.offsets(ctx, admin, topic)
				if err != nil {
					return err
				}
				if err := admin.CommitAllOffsets(ctx, args[0], offsets); err != nil {
					return groupError(args[0], err)
				}
				info, err := describeGroup(ctx, admin, args[0])
				if err != nil {
					return err
				}
				if g.asJSON {
					return printJSON(c.OutOrStdout(), info)
				}
				_, err = fmt.Fprintf(c.OutOrStdout(), "reset %s on %s to %s, now %d records behind\n", args[0], topic, where, info.Lag)
				return err
			})
		},
	}
	c.Flags().StringVar(&topic, "topic", "", "the topic")
	c.Flags().StringVar(&to, "to", "", "earliest, latest, an offset, which is moved into each partition's log, a time, or how long ago")
	c.MarkFlagRequired("topic")
	c.MarkFlagRequired("to")
	return c
}

// resetTo is where a group is to go on.
type resetTo struct {
	word   string    // earliest or latest, if not ""
	at     time.Time // if not zero
	offset int64
}

func parseResetTo(text string, now time.Time) (resetTo, error) {
	if text == "earliest" || text == "latest" {
		return resetTo{word: text}, nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
		return resetTo{offset: n}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil && at.UnixMilli() >= 0 {
		return resetTo{at: at}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && strings.HasPrefix(text, "-") && now.Add(ago).UnixMilli() >= 0 {
		return resetTo{at: now.Add(ago)}, nil
	}
	return resetTo{}, fmt.Errorf("--to %q: want earliest, latest, an offset, a time since 1970 as in %s, or how long ago as in -1h", text, now.UTC().Format(time.RFC3339))
}

func (r resetTo) String() string {
	switch {
	case r.word != "":
		return r.word
	case !r.at.IsZero():
		return r.at.Format(time.RFC3339)
	}
	return strconv.FormatInt(r.offset, 10)
}

// offsets are where to go on in each partition of a topic, within its log.
func (r resetTo) offsets(ctx context.Context, admin *kadm.Client, topic string) (kadm.Offsets, error) {
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err = errors.Join(err, starts.Error()); err != nil {
		return nil, topicError(topic, err)
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err = errors.Join(err, ends.Error()); err != nil {
		return nil, topicError(topic, err)
	}
	var found kadm.ListedOffsets
	if !r.at.IsZero() {
		found, err = admin.ListOffsetsAfterMilli(ctx, r.at.UnixMilli(), topic)
		if err = errors.Join(err, found.Error()); err != nil {
			return nil, topicError(topic, err)
		}
	}
	offsets := kadm.Offsets{}
	for partition, start := range starts[topic] {
		end, at := ends[topic][partition].Offset, r.offset
		switch {
		case r.word == "earliest":
			at = start.Offset
		case r.word == "latest":
			at = end
		case !r.at.IsZero():
			o, ok := found.Lookup(topic, partition)
			if !ok { // it was added meanwhile
				o.Offset = start.Offset
			}
			at = o.Offset
		}
		offsets.AddOffset(topic, partition, max(start.Offset, min(at, end)), -1)
	}
	return offsets, nil
}
