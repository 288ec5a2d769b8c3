package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// adminTimeout bounds a whole command: against a broker that is there it takes milliseconds.
const adminTimeout = 15 * time.Second

// admin is what the commands that talk to a running cluster share.
type admin struct {
	brokers []string
	asJSON  bool
	tls     tlsFlags
}

// tlsFlags are how a command is a client of brokers that listen with TLS.
type tlsFlags struct {
	on        bool
	ca        string
	cert, key string
}

// config is nil for plain connections. Any file turns TLS on.
func (f *tlsFlags) config() (*tls.Config, error) {
	if !f.on && f.ca == "" && f.cert == "" && f.key == "" {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca: %s holds no certificate in PEM", f.ca)
		}
	}
	if f.cert != "" || f.key != "" {
		own, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	return c, nil
}

func (a *admin) flags(c *cobra.Command) {
	c.PersistentFlags().StringSliceVar(&a.brokers, "brokers", []string{"127.0.0.1:9092"}, "brokers to begin with, host:port,...")
	c.PersistentFlags().BoolVar(&a.tls.on, "tls", false, "connect with TLS, and trust what the system trusts")
	c.PersistentFlags().StringVar(&a.tls.ca, "tls-ca", "", "connect with TLS, and trust the certificates in this `file`")
	c.PersistentFlags().StringVar(&a.tls.cert, "tls-cert", "", "`file` with the certificate that this client shows")
	c.PersistentFlags().StringVar(&a.tls.key, "tls-key", "", "`file` with that certificate's private key")
	c.PersistentFlags().BoolVar(&a.asJSON, "json", false, "print JSON in place of a table")
}

// connect runs a command against the cluster.
func (a *admin) connect(ctx context.Context, run func(context.Context, *kadm.Client) error) error {
	return a.connectClient(ctx, func(ctx context.Context, client *kgo.Client) error { return run(ctx, kadm.NewClient(client)) })
}

// connectClient is connect for what kadm does not tell.
func (a *admin) connectClient(ctx context.Context, run func(context.Context, *kgo.Client) error) error {
	opts := []kgo.Opt{kgo.SeedBrokers(a.brokers...), kgo.RequestRetries(2), kgo.RetryTimeout(adminTimeout)}
	secure, err := a.tls.config()
	if err != nil {
		return err
	}
	if secure != nil {
		opts = append(opts, kgo.DialTLSConfig(secure))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return fmt.Errorf("--brokers %s: %w", strings.Join(a.brokers, ","), err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("no broker answers at %s; start one with \"firn dev\", or say with --brokers where one is: %w", strings.Join(a.brokers, ","), err)
	}
	return run(ctx, client)
}

func printJSON(out io.Writer, value any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(value)
}

// printTable prints aligned columns under a header of tabs.
func printTable[T any](out io.Writer, header string, rows []T, row func(io.Writer, T)) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, header)
	for _, r := range rows {
		row(w, r)
	}
	return w.Flush()
}
