//go:build integration

package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// TestIntegrationEarthquakes is the whole path: stock clients produce one week of earthquakes with every codec, and readers that are
// not ours find each of them once, exactly.
func TestIntegrationEarthquakes(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	firn := start(t, "dev", "--data", data, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	var tables []string
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "kcat_" + codec
		if _, err := run(t, "kcat", "-b", firn.where["kafka"], "-t", topic, "-P", "-z", codec, "-l", earthquakes); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, "default."+topic)
	}
	lines := readLines(t, earthquakes)
	for name, codec := range map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		topic := "franz_" + name
		client := newClient(t, firn, kgo.ProducerBatchCompression(codec), kgo.DefaultProduceTopic(topic))
		var records []*kgo.Record
		for i, line := range lines {
			records = append(records, kgo.KeyStringRecord(fmt.Sprint(i), line))
		}
		if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		tables = append(tables, "default."+topic)
	}
	catalog, warehouse := filepath.Join(data, "catalog.db"), filepath.Join(data, "warehouse")
	for _, reader := range []string{"pyiceberg", "duckdb"} {
		eventually(t, func() error {
			out, err := run(t, fromEnv(t, "FIRN_PYTHON"), append([]string{"testdata/check.py", reader, catalog, warehouse, earthquakes}, tables...)...)
			if err == nil {
				t.Logf("%s:\n%s", reader, out)
			}
			return err
		})
	}
	firn.stop(t)
}

func newClient(t *testing.T, p *process, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(p.where["kafka"]), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func readLines(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var lines []string
	s := bufio.NewScanner(file)
	s.Buffer(nil, 8<<20)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}
