//go:build integration

package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestIntegrationHostileInput sends a running firn dev what no client should send, and then shows that it still serves.
func TestIntegrationHostileInput(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	firn := start(t, "dev", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	frames := map[string][]byte{
		"2 GiB length":     binary.BigEndian.AppendUint32(nil, 0x7fffffff),
		"negative length":  binary.BigEndian.AppendUint32(nil, 0xffffffff),
		"zero length":      binary.BigEndian.AppendUint32(nil, 0),
		"90 MiB, no data":  binary.BigEndian.AppendUint32(nil, 90<<20),
		"cut in the head":  {0, 0},
		"cut in the frame": append(binary.BigEndian.AppendUint32(nil, 100), 0, 18, 0, 3),
		"unknown key":      append(binary.BigEndian.AppendUint32(nil, 10), 0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff),
		"HTTP":             []byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
		"TLS":              {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
	}
	for name, frame := range frames {
		conn, err := net.Dial("tcp", firn.where["kafka"])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(waitLimit)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: the connection was not closed: %v", name, err)
		}
		conn.Close()
	}
	if out, err := run(t, "kcat", "-b", firn.where["kafka"], "-t", "../../evil", "-P", "-X", "message.timeout.ms=5000", "-l", earthquakes); err == nil {
		t.Errorf("topic ../../evil was accepted: %s", out)
	}
	if _, err := os.Stat(filepath.Join(data, "..", "evil")); err == nil {
		t.Error("a topic's name left the folder")
	}
	client := newClient(t, firn, kgo.DefaultProduceTopic("after"))
	if err := client.ProduceSync(t.Context(), kgo.StringRecord(`{"id": 1}`)).FirstErr(); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, err := readRows(t, data, "default.after")
		return err
	})
	response, err := http.Get("http://" + firn.where["http"] + "/readyz")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("readyz: %v %v", response, err)
	}
}
