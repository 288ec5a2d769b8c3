// Package auth is whom a listener lets in: TLS, with certificates of clients if wanted.
//
// The files are read again while the broker runs, so that a certificate that was renewed is used from the next handshake on. Files that
// cannot be used are reported, and what was read before stays: a half-written file ends no service.
//
//	t, err := auth.Load(auth.Files{Cert: "tls.crt", Key: "tls.key", ClientCA: "clients.crt"})
//	go t.Run(ctx, log)
//	listener configuration: t.Server()
package auth

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

// Files say where a listener's certificates are, in PEM.
type Files struct {
	Cert string // the listener's certificate, with the chain behind it
	Key  string // its private key
	// ClientCA is the certificates that those of clients are signed by. Where it is set, a client without one is refused (mTLS). Brokers are clients of
	// each other, with the certificate of their listener: it must be good for both then.
	ClientCA string
}

// Validate reports what is missing.
func (f Files) Validate() error {
	if f.Cert == "" || f.Key == "" {
		return errors.New("TLS needs a certificate and its key, each in a file of its own")
	}
	return nil
}

// reloadEvery is how often the files are looked at.
const reloadEvery = 10 * time.Second

// TLS is the certificates of a listener as they are now. It is safe for concurrent use.
type TLS struct {
	files Files
	now   atomic.Pointer[loaded]
}

// loaded is what the files held.
type loaded struct {
	raw     [3][]byte // certificate, key, client CA
	cert    tls.Certificate
	clients *x509.CertPool // nil: clients need no certificate
}

// Load reads the files.
func Load(files Files) (*TLS, error) {
	if err := files.Validate(); err != nil {
		return nil, err
	}
	t := &TLS{files: files}
	if _, err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Run reads the files again when they have changed, until ctx ends.
func (t *TLS) Run(ctx context.Context, log *slog.Logger) error {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	failed := ""
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		changed, err := t.Reload()
		switch {
		case err != nil && err.Error() != failed:
			failed = err.Error()
			log.Error("certificates cannot be read again; those that were read before stay in use", "error", err, "until", t.now.Load().cert.Leaf.NotAfter)
		case err == nil && changed:
			log.Info("certificates were read again", "file", t.files.Cert, "until", t.now.Load().cert.Leaf.NotAfter)
		}
		if err == nil {
			failed = ""
		}
	}
}

// Reload reads the files, and takes what they hold if that has changed and can be used.
func (t *TLS) Reload() (changed bool, err error) {
	var l loaded
	for i, name := range []string{t.files.Cert, t.files.Key, t.files.ClientCA} {
		if name == "" {
			continue
		}
		if l.raw[i], err = os.ReadFile(name); err != nil {
			return false, fmt.Errorf("TLS: %w", err)
		}
	}
	if old := t.now.Load(); old != nil && bytes.Equal(old.raw[0], l.raw[0]) && bytes.Equal(old.raw[1], l.raw[1]) && bytes.Equal(old.raw[2], l.raw[2]) {
		return false, nil
	}
	if l.cert, err = tls.X509KeyPair(l.raw[0], l.raw[1]); err != nil {
		return false, fmt.Errorf("TLS: %s with the key %s: %w", t.files.Cert, t.files.Key, err)
	}
	if t.files.ClientCA != "" {
		l.clients = x509.NewCertPool()
		if !l.clients.AppendCertsFromPEM(l.raw[2]) {
			return false, fmt.Errorf("TLS: %s holds no certificate in PEM", t.files.ClientCA)
		}
	}
	t.now.Store(&l)
	return true, nil
}

// Server is the configuration of the listener. It follows the files.
func (t *TLS) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			l := t.now.Load()
			c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{l.cert}}
			if l.clients != nil {
				// A session that is resumed is not verified anew: none is, so that a CA that was taken away counts for everyone.
				c.ClientCAs, c.ClientAuth, c.SessionTicketsDisabled = l.clients, tls.RequireAndVerifyClientCert, true
			}
			return c, nil
		},
	}
}

// Client is the configuration of a connection to another broker of the cluster, which is reached at host. Where clients need certificates, the
// other's is to be signed as theirs; else by an authority that the system knows, or be the very same certificate as this broker's.
func (t *TLS) Client(host string) *tls.Config {
	l := t.now.Load()
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, Certificates: []tls.Certificate{l.cert}}
	if l.clients != nil {
		c.RootCAs = l.clients
		return c
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, der := range l.cert.Certificate {
		if cert, err := x509.ParseCertificate(der); err == nil {
			roots.AddCert(cert)
		}
	}
	c.RootCAs = roots
	return c
}
