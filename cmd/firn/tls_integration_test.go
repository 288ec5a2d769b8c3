//go:build integration

package main

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/firn-io/firn/broker/auth/authtest"
)

// TestIntegrationMutualTLS: librdkafka and our own commands with certificates, and the listener's renewed while it runs.
func TestIntegrationMutualTLS(t *testing.T) {
	t.Parallel()
	ca := authtest.NewCA(t)
	server, client := ca.Issue(t, "broker"), ca.Issue(t, "client")
	firn := start(t, "broker", "--store", "file://"+t.TempDir(), "--kafka", "127.0.0.1:0", "--tls-cert", server.Cert, "--tls-key", server.Key, "--tls-client-ca", ca.File)
	address := firn.where["kafka"]
	kcat := func(args ...string) (string, error) {
		return run(t, "kcat", append([]string{"-b", address, "-t", "quakes", "-X", "security.protocol=ssl", "-X", "ssl.ca.location=" + ca.File,
			"-X", "ssl.certificate.location=" + client.Cert, "-X", "ssl.key.location=" + client.Key}, args...)...)
	}
	if _, err := kcat("-P", "-l", earthquakes); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "kcat", "-b", address, "-L", "-m", "5", "-X", "security.protocol=ssl", "-X", "ssl.ca.location="+ca.File); err == nil {
		t.Error("a client without a certificate is served")
	}
	// Another authority takes over: who has no certificate of it is a stranger from then on.
	next := authtest.NewCA(t)
	renewed := next.Issue(t, "renewed")
	for to, from := range map[string]string{server.Cert: renewed.Cert, server.Key: renewed.Key, ca.File: next.File} {
		body, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	client = next.Issue(t, "client")
	eventually(t, func() error {
		_, err := run(t, fromEnv(t, "FIRN_BIN"), "topics", "ls", "--brokers", address, "--tls-ca", next.File, "--tls-cert", client.Cert, "--tls-key", client.Key)
		return err
	})
	out, err := kcat("-C", "-e", "-q")
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Split(strings.TrimSuffix(out, "\n"), "\n"), readLines(t, earthquakes)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%d lines come back, %d went out", len(got), len(want))
	}
}
