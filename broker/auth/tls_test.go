package auth_test

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firn-io/firn/broker/auth"
	"github.com/firn-io/firn/broker/auth/authtest"
)

// shake connects a client to a listener of t, and gives what the client sees of it and the errors of both.
func shake(t *testing.T, listener *auth.TLS, client *tls.Config) (name string, clientErr, serverErr error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		secured := tls.Server(conn, listener.Server())
		if err = secured.Handshake(); err == nil {
			_, err = secured.Write([]byte("x"))
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err == nil {
		defer conn.Close()
		name = conn.ConnectionState().PeerCertificates[0].Subject.CommonName
		_, err = conn.Read(make([]byte, 1)) // a refusal comes after a client's part of TLS 1.3
	}
	return name, err, <-done
}

func load(t *testing.T, files auth.Files) *auth.TLS {
	t.Helper()
	loaded, err := auth.Load(files)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestTLS(t *testing.T) {
	ca := authtest.NewCA(t)
	listener := load(t, ca.Issue(t, "broker"))
	if name, err, serverErr := shake(t, listener, ca.Client(t)); err != nil || serverErr != nil || name != "broker" {
		t.Errorf("%q, %v, %v", name, err, serverErr)
	}
	if _, err, serverErr := shake(t, listener, &tls.Config{ServerName: "127.0.0.1"}); err == nil || serverErr == nil {
		t.Error("a client that does not know the authority trusts the listener")
	}
	old := ca.Client(t)
	old.MaxVersion = tls.VersionTLS11
	if _, err, serverErr := shake(t, listener, old); err == nil || serverErr == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestMutualTLS(t *testing.T) {
	ca, stranger := authtest.NewCA(t), authtest.NewCA(t)
	files := ca.Issue(t, "broker")
	files.ClientCA = ca.File
	listener := load(t, files)
	if _, err, serverErr := shake(t, listener, ca.Client(t, ca.Issue(t, "client"))); err != nil || serverErr != nil {
		t.Errorf("%v, %v", err, serverErr)
	}
	for name, client := range map[string]*tls.Config{"none": ca.Client(t), "a stranger's": ca.Client(t, stranger.Issue(t, "client"))} {
		if _, err, serverErr := shake(t, listener, client); err == nil || serverErr == nil {
			t.Errorf("certificate: %s: the client is let in: %v, %v", name, err, serverErr)
		}
	}
	// Another broker of the cluster.
	if name, err, serverErr := shake(t, listener, listener.Client("127.0.0.1")); err != nil || serverErr != nil || name != "broker" {
		t.Errorf("%q, %v, %v", name, err, serverErr)
	}
	if _, err, _ := shake(t, listener, listener.Client("elsewhere.example.com")); err == nil {
		t.Error("a broker is believed whose certificate has another name")
	}
}

func TestReload(t *testing.T) {
	ca := authtest.NewCA(t)
	files := ca.Issue(t, "broker")
	listener := load(t, files)
	if changed, err := listener.Reload(); changed || err != nil {
		t.Errorf("%t, %v", changed, err)
	}
	next := ca.Issue(t, "renewed")
	for to, from := range map[string]string{files.Cert: next.Cert, files.Key: next.Key} {
		body, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if changed, err := listener.Reload(); !changed || err != nil {
		t.Errorf("%t, %v", changed, err)
	}
	if name, err, _ := shake(t, listener, ca.Client(t)); err != nil || name != "renewed" {
		t.Errorf("%q, %v", name, err)
	}
	// What cannot be used changes nothing.
	if err := os.WriteFile(files.Cert, []byte("half a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	if changed, err := listener.Reload(); changed || err == nil || !strings.Contains(err.Error(), files.Cert) {
		t.Errorf("%t, %v", changed, err)
	}
	if name, err, _ := shake(t, listener, ca.Client(t)); err != nil || name != "renewed" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestLoadIsRefused(t *testing.T) {
	ca := authtest.NewCA(t)
	good, other := ca.Issue(t, "a"), ca.Issue(t, "b")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string]auth.Files{
		"nothing":         {},
		"no key":          {Cert: good.Cert},
		"no such file":    {Cert: good.Cert, Key: empty + "x"},
		"another's key":   {Cert: good.Cert, Key: other.Key},
		"empty":           {Cert: empty, Key: good.Key},
		"empty client CA": {Cert: good.Cert, Key: good.Key, ClientCA: empty},
	} {
		if _, err := auth.Load(files); err == nil {
			t.Errorf("%s: loaded", name)
		}
	}
}
