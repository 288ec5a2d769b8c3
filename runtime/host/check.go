package host

import (
	"fmt"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/schema"
)

// Check says what jobs would do, without connecting to anything.
func (p *Program) Check(jobs []*job.Job, s Settings) error {
	for i, j := range jobs {
		cfg, err := config(j, s)
		if err == nil {
			err = cfg.ValidateSettings()
		}
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		columns, err := j.Columns()
		if err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		if err := open.Check(StoreOf(j, s)); err != nil {
			return fmt.Errorf("job %s: %w", j.Name, err)
		}
		if err := j.CheckMachine(); err != nil {
			return err
		}
		if i > 0 {
			fmt.Fprintln(p.Out)
		}
		p.describe(j, StoreOf(j, s), columns)
	}
	return nil
}

func (p *Program) describe(j *job.Job, store string, columns *arrow.Schema) {
	say := func(what, format string, args ...any) {
		fmt.Fprintf(p.Out, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(p.Out, "job %s\n", j.Name)
	topics := "topics " + strings.Join(j.Source.Topics, ", ")
	if j.Source.Pattern != "" {
		topics = "every topic that matches " + j.Source.Pattern
	}
	if j.Source.Format == "kafscale" {
		store = "the KafScale bucket " + store
	}
	say("reads", "%s from %s, from %s on where a table has no position", topics, store, j.Source.From)
	inferred := ", columns as the records have them"
	if j.Decode.Value.Schema != "inferred" {
		inferred = ", columns as declared"
	}
	if j.Decode.Value.Format == "raw" {
		inferred = ""
	}
	say("decodes", "values as %s%s, keys as %s", j.Decode.Value.Format, inferred, j.Decode.Key.Format)
	for i, step := range j.Transform {
		say("transform", "%d. %s", i+1, strings.Join(strings.Fields(step.String()), " "))
	}
	partition := "unpartitioned"
	if len(j.Table.Partition) > 0 {
		partition = "partitioned by " + strings.Join(j.Table.Partition, ", ")
	}
	say("writes", "%s, %s, by sink %s", j.Table.Name, partition, j.SinkKind())
	say("commits", "%s after the acknowledgement, or at %d bytes", time.Duration(j.Commit.Freshness), j.Commit.FileSize)
	switch j.Errors.Policy {
	case "dead_letter":
		say("errors", "become rows of %s", j.DeadLetterTable())
	case "skip":
		say("errors", "are counted and left out")
	default:
		say("errors", "halt their partition")
	}
	if columns == nil {
		return
	}
	var names []string
	for _, f := range columns.Fields() {
		typ := f.Type.String()
		if known, err := schema.FromArrow([]arrow.Field{f}); err == nil {
			typ = known.Fields[0].Type.String()
		}
		names = append(names, f.Name+" "+typ)
	}
	say("columns", "%s", strings.Join(names, ", "))
}
