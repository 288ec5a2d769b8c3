// Command firn turns a Kafka stream into Iceberg tables by way of object storage: brokers, processors and the tools around them in one
// program. Flags, job files and the environment are read here and nowhere else; below are values and Run(ctx).
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/firn-io/firn/catalog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go release(ctx, stop)
	catalog.SyncLocalFiles()
	command := newCommand(os.Stdout, os.Stderr)
	if err := command.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "firn:", err)
		os.Exit(exitCode(err))
	}
}

// passedOn is how long the signal that ends ctx is taken to come again: timeout, shells and container supervisors send it to the process and
// to its group.
const passedOn = time.Second

// release gives signals back when ctx has ended, so that another one ends the process at once.
func release(ctx context.Context, stop func()) {
	<-ctx.Done()
	time.Sleep(passedOn)
	stop()
}

// exitError carries an exit code other than 1.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.code
	}
	return 1
}

// program is what all commands share.
type program struct {
	out      io.Writer
	logger   *slog.Logger
	logLevel slog.LevelVar
}

func newCommand(out, logTo io.Writer) *cobra.Command {
	p := &program{out: out}
	var level, format string
	root := &cobra.Command{
		Use:   "firn",
		Short: "Kafka streams into Iceberg tables, over object storage",
		Long: `Firn turns Kafka streams into Iceberg tables by way of object storage.

Producers write to brokers that speak the Kafka protocol; the brokers write to a bucket, and nothing else is durable.
Processors read the bucket, never a broker, and commit Iceberg tables, every offset exactly once.

Start with everything in one process:

  firn dev`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if err := p.logLevel.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level: %q is not one of debug, info, warn, error", level)
			}
			options := &slog.HandlerOptions{Level: &p.logLevel}
			switch format {
			case "text":
				p.logger = slog.New(slog.NewTextHandler(logTo, options))
			case "json":
				p.logger = slog.New(slog.NewJSONHandler(logTo, options))
			default:
				return fmt.Errorf("--log-format: %q is neither text nor json", format)
			}
			// Libraries that write to the standard logger must not mix with our lines.
			log.SetFlags(0)
			log.SetOutput(slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug).Writer())
			return nil
		},
	}
	root.SetOut(out)
	root.PersistentFlags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	root.PersistentFlags().StringVar(&format, "log-format", "text", "text or json, on standard error")
	root.AddCommand(p.devCommand(), p.brokerCommand(), p.processCommand(), brokersCommand(), topicsCommand(), groupsCommand(), statusCommand(), verifyCommand(), whereCommand(), dlqCommand(),
		planCommand(), p.backfillCommand(), acceptLossCommand(), p.rebuildCommand(), sweepCommand(), bucketCommand(), p.snapshotCommand(), p.restoreCommand(), kfsCommand(openObject), versionCommand())
	return root
}
