package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
	"github.com/firn-io/firn/processors/iceberg/deadletter"
)

func dlqCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "dlq",
		Short: "Dead letters: records that fit no table, and why",
		Long: `Dead letters: records that could not be decoded, or did not fit the table, with their bytes and the reason. They lie in
{namespace}.{job}_dead_letter, an Iceberg table like any other; these commands read it for you. After the job was changed so that the
records fit, firn dlq retry brings them in. Letters stay; resolved_at says since when their record is no dead letter any more.`,
	}
	c.AddCommand(dlqLsCommand(), dlqShowCommand(), dlqRetryCommand())
	return c
}

// letterFlags select letters.
type letterFlags struct {
	topic, class string
	partition    int32
	offset       int64
	dead         bool
}

func (f *letterFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.topic, "topic", "", "only of this topic")
	c.Flags().Int32Var(&f.partition, "partition", -1, "only of this partition")
	c.Flags().Int64Var(&f.offset, "offset", -1, "only this record")
	c.Flags().StringVar(&f.class, "class", "", "only of this error class, such as invalid_json")
}

func (f *letterFlags) addDead(c *cobra.Command) {
	c.Flags().BoolVar(&f.dead, "dead", false, "only letters that are not resolved")
}

func (f *letterFlags) selection() deadletter.Selection {
	s := deadletter.Selection{Topic: f.topic, Class: f.class, Dead: f.dead}
	if f.partition >= 0 {
		s.Partition = &f.partition
	}
	if f.offset >= 0 {
		s.Offset = &f.offset
	}
	return s
}

// letters gives each dead letter of a job to do, until that says false.
func (j *jobTables) letters(ctx context.Context, want deadletter.Selection, do func(deadletter.Letter) bool) error {
	_, t, err := j.catalog.Account(ctx, j.job.DeadLetterTable(), j.store)
	if errors.Is(err, catalog.ErrNoTable) {
		return nil
	}
	if err != nil {
		return err
	}
	for l, err := range deadletter.Read(ctx, t, want) {
		if err != nil {
			return err
		}
		if !do(l) {
			break
		}
	}
	return nil
}

// letterGroup is letters of one kind.
type letterGroup struct {
	Job     string `json:"job"`
	Topic   string `json:"topic"`
	TopicID string `json:"topic_id,omitempty"` // which of the topics that had the name
	Class   string `json:"class"`
	Letters int64  `json:"letters"`
	// Resolved is how many of them are rows after all, or were found to be.
	Resolved int64     `json:"resolved"`
	First    time.Time `json:"first"` // by the records' own times
	Last     time.Time `json:"last"`
	Example  string    `json:"example"` // the message of the last of them
}

func dlqLsCommand() *cobra.Command {
	var flags tableFlags
	var which letterFlags
	c := &cobra.Command{
		Use:   "ls",
		Short: "Count dead letters by topic and error class",
		Example: `  firn dlq ls
  firn dlq ls -f job.yaml --topic events --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			groups := []letterGroup{}
			err := flags.each(c.Context(), func(j *jobTables) error {
				found, err := groupLetters(c.Context(), j, which.selection())
				if err == nil { // counts of a part would be taken for those of all
					groups = append(groups, found...)
				}
				return err
			})
			if err != nil && len(groups) == 0 {
				return err
			}
			if flags.asJSON {
				return errors.Join(err, printJSON(c.OutOrStdout(), groups))
			}
			return errors.Join(err, printTable(c.OutOrStdout(), "JOB\tTOPIC\tTOPIC ID\tCLASS\tLETTERS\tRESOLVED\tFIRST\tLAST\tEXAMPLE", groups, func(w io.Writer, g letterGroup) {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\n", g.Job, printable(g.Topic), g.TopicID, printable(g.Class), g.Letters, g.Resolved, g.First.Format(time.RFC3339), g.Last.Format(time.RFC3339), printable(g.Example))
			}))
		},
	}
	flags.add(c)
	which.add(c)
	which.addDead(c)
	return c
}

func groupLetters(ctx context.Context, j *jobTables, want deadletter.Selection) ([]letterGroup, error) {
	want.Coordinates = true
	byKind := map[[3]string]*letterGroup{}
	err := j.letters(ctx, want, func(l deadletter.Letter) bool {
		kind := [3]string{l.Topic, topicID(&l), l.Class}
		g := byKind[kind]
		if g == nil {
			g = &letterGroup{Job: j.job.Name, Topic: l.Topic, TopicID: kind[1], Class: l.Class, First: l.Time, Last: l.Time, Example: l.Message}
			byKind[kind] = g
		}
		g.Letters++
		if !l.Resolved.IsZero() {
			g.Resolved++
		}
		if l.Time.Before(g.First) {
			g.First = l.Time
		}
		if l.Time.After(g.Last) {
			g.Last, g.Example = l.Time, l.Message
		}
		return true
	})
	var all []letterGroup
	for _, g := range slices.SortedFunc(maps.Values(byKind), func(a, b *letterGroup) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), strings.Compare(a.TopicID, b.TopicID), cmp.Compare(b.Letters, a.Letters), strings.Compare(a.Class, b.Class))
	}) {
		all = append(all, *g)
	}
	return all, err
}

// topicID is "" where a letter does not say.
func topicID(l *deadletter.Letter) string {
	if l.TopicID.IsZero() {
		return ""
	}
	return l.TopicID.String()
}

func dlqShowCommand() *cobra.Command {
	var flags tableFlags
	var which letterFlags
	most := 0
	c := &cobra.Command{
		Use:   "show",
		Short: "Print dead letters with their bytes and the reason",
		Example: `  firn dlq show --topic events --class invalid_json --max 3
  firn dlq show --topic events --partition 0 --offset 41785 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if most < 0 {
				return fmt.Errorf("--max %d: want 0 for all, or more", most)
			}
			out, shown := c.OutOrStdout(), 0
			return flags.each(c.Context(), func(j *jobTables) error {
				var failed error
				err := j.letters(c.Context(), which.selection(), func(l deadletter.Letter) bool {
					if most > 0 && shown == most {
						return false
					}
					shown++
					failed = printLetter(out, j.job.Name, &l, flags.asJSON)
					return failed == nil
				})
				return errors.Join(err, failed)
			})
		},
	}
	flags.add(c)
	which.add(c)
	which.addDead(c)
	c.Flags().IntVar(&most, "max", 10, "how many letters at most; 0 for all")
	return c
}

// letterLine is a letter as a line of JSON: the record as firn kfs cat prints it, and why it is no row.
type letterLine struct {
	Job     string `json:"job"`
	Class   string `json:"class"`
	Message string `json:"message"`
	TopicID string `json:"topic_id,omitempty"` // which of the topics that had the name
	// Resolved is when the record became a row after all, RFC 3339.
	Resolved string `json:"resolved_at,omitempty"`
	recordLine
}

func printLetter(out io.Writer, job string, l *deadletter.Letter, asJSON bool) error {
	if asJSON {
		line := letterLine{Job: job, Class: l.Class, Message: l.Message, TopicID: topicID(l), recordLine: recordLine{
			Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Timestamp: l.Time.UnixMilli(),
		}}
		if !l.Resolved.IsZero() {
			line.Resolved = l.Resolved.Format(time.RFC3339Nano)
		}
		line.Key, line.KeyBase64 = text(l.Key)
		line.Value, line.ValueBase64 = text(l.Value)
		for _, h := range l.Headers {
			header := headerLine{Key: h.Key}
			header.Value, header.ValueBase64 = text(h.Value)
			line.Headers = append(line.Headers, header)
		}
		return json.NewEncoder(out).Encode(line)
	}
	fmt.Fprintf(out, "%s/%d offset %d, %s: %s: %s\n", printable(l.Topic), l.Partition, l.Offset, l.Time.Format(time.RFC3339Nano), printable(l.Class), printable(l.Message))
	if id := topicID(l); id != "" {
		fmt.Fprintf(out, "  topic id %s\n", id)
	}
	if !l.Resolved.IsZero() {
		fmt.Fprintf(out, "  resolved %s\n", l.Resolved.Format(time.RFC3339))
	}
	for _, h := range l.Headers {
		fmt.Fprintf(out, "  header %q: %s\n", h.Key, readable(h.Value))
	}
	if l.Key != nil {
		fmt.Fprintf(out, "  key    %s\n", readable(l.Key))
	}
	_, err := fmt.Fprintf(out, "  value  %s\n", readable(l.Value))
	return err
}

// printable is a text that may have come with a record, such as the name of a field: nothing in it can move a terminal's cursor.
func printable(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	quoted := strconv.Quote(text)
	return quoted[1 : len(quoted)-1]
}

// readable writes bytes for a terminal: nothing in them can move its cursor.
func readable(b []byte) string {
	const most = 2 << 10
	switch {
	case b == nil:
		return "null"
	case len(b) > most:
		return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
	}
	return fmt.Sprintf("%q", b)
}
