package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/inspect"
)

// kfsTool is `firn kfs`: looking into a namespace without a broker.
type kfsTool struct {
	open func(ctx context.Context, url string) (store blob.Store, key string, err error) // an empty key means the whole namespace
	now  func() time.Time
}

func kfsCommand(open func(ctx context.Context, url string) (blob.Store, string, error)) *cobra.Command {
	return (&kfsTool{open, time.Now}).command()
}

func (k *kfsTool) command() *cobra.Command {
	c := &cobra.Command{
		Use:   "kfs",
		Short: "Look into a namespace: list, print and verify what is stored",
		Long: `Look into a namespace: list, print and verify what is stored. No broker is needed, and nothing is ever written.

PATH|URL is a directory, file:///dir, or s3://bucket/prefix?endpoint=…&region=…; or one object in it.`,
	}
	c.AddCommand(k.lsCommand(), k.catCommand(), k.verifyCommand())
	return c
}

func (k *kfsTool) catCommand() *cobra.Command {
	want := inspect.Selection{}
	format := ""
	c := &cobra.Command{
		Use:   "cat PATH|URL",
		Short: "Print records of an object, or of a topic",
		Long:  "Print records of an object, or of a topic, as they are stored: trimmed records too, as long as they are there.",
		Example: `  firn kfs cat firn-data/store --topic events --partition 0 --from 100 --max 10
  firn kfs cat firn-data/store/journal/0000/00000000000000000007.kfs --format value`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store, key, err := k.open(c.Context(), args[0])
			if err != nil {
				return err
			}
			print, err := recordPrinter(c.OutOrStdout(), format)
			if err != nil {
				return err
			}
			records := inspect.ObjectRecords(c.Context(), store, key, want)
			if key == "" {
				if want.Topic == "" {
					return fmt.Errorf("%s is a namespace: say which topic with --topic", args[0])
				}
				records = inspect.TopicRecords(c.Context(), store, want)
			}
			for r, err := range records {
				if err != nil {
					return err
				}
				if err := print(&r); err != nil {
					return err
				}
			}
			return nil
		},
	}
	c.Flags().StringVar(&want.Topic, "topic", "", "only this topic, by name or by id")
	c.Flags().Int32Var(&want.Partition, "partition", -1, "only this partition; -1 for all")
	c.Flags().Int64Var(&want.From, "from", 0, "the first offset")
	c.Flags().Int64Var(&want.Max, "max", 0, "how many records at most; 0 for all")
	c.Flags().StringVar(&format, "format", "json", "json: one line per record; value: the value and a newline")
	return c
}

func (k *kfsTool) verifyCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "verify PATH|URL",
		Short: "Check everything that is stored, and how it fits together",
		Long: `Check everything that is stored, and how it fits together: checksums down to the record batches, the chain of each journal, sequences and
offsets without holes, checkpoints and index pages, settled segments. Reads every byte once. Exits with 1 if anything is wrong.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			store, key, err := k.open(c.Context(), args[0])
			if err != nil {
				return err
			}
			out := c.OutOrStdout()
			v := inspect.Verifier{Store: store, Report: findingPrinter(out, asJSON), Progress: k.progress(c.ErrOrStderr())}
			var s inspect.Summary
			if key == "" {
				s, err = v.Namespace(c.Context())
			} else {
				s, err = v.Object(c.Context(), key)
			}
			if err != nil {
				return fmt.Errorf("not everything was verified: %w", err)
			}
			if asJSON {
				err = json.NewEncoder(out).Encode(struct {
					Summary inspect.Summary `json:"summary"`
				}{s})
			} else {
				_, err = fmt.Fprintf(out, "%d journals, %d objects, %d checkpoints, %d index pages, %d settled segments: %d batches with %d records in %s\n",
					s.Journals, s.Objects, s.Checkpoints, s.Pages, s.Segments, s.Batches, s.Records, byteSize(s.Bytes))
			}
			switch {
			case err != nil:
				return err
			case s.Findings > 0:
				return fmt.Errorf("%s: %d findings", args[0], s.Findings)
			case s.Journals+s.Objects+s.Checkpoints+s.Pages+s.Segments == 0 && key == "":
				return fmt.Errorf("%s: neither a journal nor a segment is here: give the folder above journal/, or an object", args[0])
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON line per finding, and one for the summary")
	return c
}

func findingPrinter(out io.Writer, asJSON bool) func(inspect.Finding) {
	if asJSON {
		encoder := json.NewEncoder(out)
		return func(f inspect.Finding) { _ = encoder.Encode(f) } // the summary's error tells
	}
	return func(f inspect.Finding) { fmt.Fprintln(out, f) }
}

// progressInterval is how often long work says how far it is.
const progressInterval = 5 * time.Second

func (k *kfsTool) progress(out io.Writer) func(inspect.Summary) {
	last := k.now()
	return func(s inspect.Summary) {
		if now := k.now(); now.Sub(last) >= progressInterval {
			last = now
			fmt.Fprintf(out, "… %d objects, %s, %d findings\n", s.Objects+s.Segments, byteSize(s.Bytes), s.Findings)
		}
	}
}

// byteSize writes a number of bytes for people.
func byteSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
