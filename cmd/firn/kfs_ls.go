package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/inspect"
)

func (k *kfsTool) lsCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "ls PATH|URL",
		Short: "List the objects of a namespace, or what one object holds",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store, key, err := k.open(c.Context(), args[0])
			if err != nil {
				return err
			}
			if key != "" {
				d, err := inspect.Describe(c.Context(), store, key)
				if err != nil {
					return err
				}
				if asJSON {
					return describeJSON(c.OutOrStdout(), d)
				}
				return describe(c.OutOrStdout(), d)
			}
			print := k.rowTable(c.OutOrStdout())
			if asJSON {
				encoder := json.NewEncoder(c.OutOrStdout())
				print = func(row *inspect.Row) error { return encoder.Encode(row) }
			}
			damaged := 0
			for row, err := range inspect.Rows(c.Context(), store) {
				if err != nil {
					return err
				}
				if row.Damage != "" {
					damaged++
				}
				if err := print(&row); err != nil {
					return err
				}
			}
			if damaged > 0 {
				return fmt.Errorf("%s: %d objects are damaged", args[0], damaged)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "JSON, one line per object")
	return c
}

// rowTable prints rows in columns of fixed width, so that the first is seen before the last is known.
func (k *kfsTool) rowTable(out io.Writer) func(*inspect.Row) error {
	const columns = "%-10s  %7s  %12s  %5s  %10s  %10s  %10s  %8s  %s\n"
	headed := false
	return func(r *inspect.Row) error {
		if !headed {
			headed = true
			if _, err := fmt.Fprintf(out, columns, "KIND", "JOURNAL", "SEQUENCE", "EPOCH", "PARTITIONS", "RECORDS", "BYTES", "AGE", "KEY"); err != nil {
				return err
			}
		}
		if r.Damage != "" {
			_, err := fmt.Fprintf(out, columns, r.Kind, "", "", "", "", "", strconv.FormatInt(r.Bytes, 10), "", r.Key+": "+r.Damage)
			return err
		}
		_, err := fmt.Fprintf(out, columns, r.Kind, number(r.Journal), number(r.Sequence), number(r.Epoch), count(int64(r.Partitions)), count(r.Records),
			strconv.FormatInt(r.Bytes, 10), age(k.now(), r.Created), r.Key)
		return err
	}
}

func number[T uint32 | uint64 | int32](n *T) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

func count(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// age is how long ago a time in Unix milliseconds was, in its largest unit.
func age(now time.Time, created int64) string {
	d := now.Sub(time.UnixMilli(created))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, d/time.Second))
	case d < time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// describe prints what one object holds.
func describe(out io.Writer, d *inspect.Description) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	switch {
	case d.Object != nil:
		m := d.Object
		fmt.Fprintf(w, "object %d of journal %d: %d bytes, epoch %d, writer %s, created %s, CRC %08x, previous %08x\n",
			m.Sequence, m.Journal, d.Bytes, m.Epoch, m.Writer, clock(m.Created), d.CRC, m.Previous)
		segmentTable(w, m.Segments)
		for _, e := range m.Entries {
			fmt.Fprintf(w, "%s\n", entryLine(e))
		}
	case d.Checkpoint != nil:
		checkpointTable(w, d)
	case d.Page != nil:
		fmt.Fprintf(w, "index page [%d, %d] of journal %d: %d bytes, CRC %08x\n", d.Page.First, d.Page.Last, d.Page.Journal, d.Bytes, d.CRC)
		objectTable(w, d.Page.Objects)
	case d.Segment != nil:
		fmt.Fprintf(w, "settled segment %s: %d bytes, %d records, created %s, CRC %08x\n", d.Segment.Span, d.Bytes, d.Segment.Records, clock(d.Segment.Created), d.CRC)
	case d.Index != nil:
		fmt.Fprintf(w, "index of %d entries, every %d records\nOFFSET\tBYTE\n", len(d.Index.Entries), d.Index.Interval)
		for _, e := range d.Index.Entries {
			fmt.Fprintf(w, "%d\t%d\n", e.Offset, e.Position)
		}
	}
	return w.Flush()
}

func segmentTable(w io.Writer, segments []kfs.Segment) {
	if len(segments) > 0 {
		fmt.Fprintf(w, "TOPIC\tID\tPARTITION\tOFFSETS\tRECORDS\tBYTE\tLENGTH\tCRC\tLATEST\tPRODUCER BATCHES\n")
	}
	for i := range segments {
		s := &segments[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\t%d\t%08x\t%s\t%d\n", s.Name, s.Topic, s.Partition, s.Span, s.Records, s.Position, s.Length, s.CRC, clock(s.MaxTimestamp), len(s.Producers))
	}
}

func checkpointTable(w io.Writer, d *inspect.Description) {
	c := d.Checkpoint
	fmt.Fprintf(w, "checkpoint %d of journal %d: %d bytes, epoch %d, writer %s, created %s, object CRC %08x\n",
		c.Sequence, c.Journal, d.Bytes, c.Epoch, c.Writer, clock(c.Created), c.ObjectCRC)
	for _, e := range c.Metadata {
		fmt.Fprintf(w, "%s\n", entryLine(e))
	}
	if len(c.Partitions) > 0 {
		fmt.Fprintf(w, "TOPIC\tID\tPARTITION\tOFFSETS\tSETTLED SEGMENTS\tPRODUCERS\n")
	}
	for i := range c.Partitions {
		p := &c.Partitions[i]
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%d\n", p.Name, p.Topic, p.Partition, kfs.Span{Base: p.LogStart, Next: p.Next}, len(p.Settled), len(p.Producers))
	}
	for i := range c.Groups {
		fmt.Fprintf(w, "%s\n", offsetLine(&c.Groups[i]))
	}
	for _, p := range c.Pages {
		fmt.Fprintf(w, "index page [%d, %d]: %d bytes, CRC %08x\n", p.First, p.Last, p.Length, p.CRC)
	}
	objectTable(w, c.Objects)
	for _, r := range c.Released {
		fmt.Fprintf(w, "released [%d, %d] since %s\n", r.First, r.Last, clock(r.Since))
	}
}

func objectTable(w io.Writer, objects []kfs.Object) {
	if len(objects) > 0 {
		fmt.Fprintf(w, "OBJECT\tBYTES\tCRC\tCREATED\tSEGMENTS\n")
	}
	for i := range objects {
		o := &objects[i]
		fmt.Fprintf(w, "%d\t%d\t%08x\t%s\t%d\n", o.Sequence, o.Size, o.CRC, clock(o.Created), len(o.Segments))
	}
}

// entryLine is an entry for people.
func entryLine(entry kfs.Entry) string {
	switch e := entry.(type) {
	case kfs.Trim:
		return fmt.Sprintf("trim %s/%d: log start %d (journal 0 at %d)", e.Topic, e.Partition, e.LogStart, e.Metadata)
	case kfs.Settled:
		span := kfs.Span{Base: e.Segments[0].Span.Base, Next: e.Segments[len(e.Segments)-1].Span.Next}
		return fmt.Sprintf("settled %s/%d: %s in %d segments", e.Topic, e.Partition, span, len(e.Segments))
	case kfs.Ended:
		return fmt.Sprintf("ended %s", e.Topic)
	case kfs.GroupOffsets:
		line := fmt.Sprintf("%d group offsets", len(e.Offsets))
		for i := range e.Offsets {
			line += "\n  " + offsetLine(&e.Offsets[i])
		}
		return line
	case kfs.Cluster:
		return fmt.Sprintf("cluster %s: lineage %s, %d journals", e.ID, e.Lineage, e.Journals)
	case kfs.Topic:
		state := map[kfs.TopicState]string{kfs.TopicLive: "live", kfs.TopicDeleting: "deleting", kfs.TopicDeleted: "deleted"}[e.State]
		return fmt.Sprintf("topic %s %s: %s, %d partitions on journals %v, configs %v", e.Name, e.ID, state, len(e.Journals), e.Journals, e.Configs)
	case kfs.GroupSlot:
		return fmt.Sprintf("group slot %d on journal %d", e.Slot, e.Journal)
	case kfs.ProducerIDs:
		return fmt.Sprintf("producer ids [%d, %d)", e.First, e.First+e.Count)
	}
	return fmt.Sprintf("%T", entry)
}

func offsetLine(o *kfs.GroupOffset) string {
	return fmt.Sprintf("group %q %s/%d: offset %d, committed %s", o.Group, o.Topic, o.Partition, o.Offset, clock(o.Committed))
}

// clock writes a time in Unix milliseconds; what is not known is a dash.
func clock(ms int64) string {
	if ms <= 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
