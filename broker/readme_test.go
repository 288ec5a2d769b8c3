package broker

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/kfs/blob"
)

// TestReadmeListsTheAPIs: the table in README.md is what this broker tells its clients.
func TestReadmeListsTheAPIs(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	fmt.Fprintln(&want, "| Key | API | Versions |\n|---:|---|---|")
	for _, a := range start(t, blob.NewMemory(time.Now), nil).server.config.Registry.All() {
		fmt.Fprintf(&want, "| %d | %s | %d–%d |\n", a.Key, kmsg.NameForKey(a.Key), a.Min, a.Max)
	}
	_, table, _ := strings.Cut(string(readme), "| Key |")
	table, _, _ = strings.Cut("| Key |"+table, "\n\n")
	if table+"\n" != want.String() {
		t.Errorf("the table of APIs in README.md is\n%s\nand should be\n%s", table, want.String())
	}
}

// TestReadmeListsWhatTheConformanceSuiteLacks: the table in README.md is what the suite lets fail.
func TestReadmeListsWhatTheConformanceSuiteLacks(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	lacking, err := os.ReadFile("conformance/librdkafka/lacking.txt")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	fmt.Fprintln(&want, "| Id | Needs |\n|---|---|")
	for line := range strings.Lines(string(lacking)) {
		if !strings.HasPrefix(line, "#") {
			fields := strings.Split(line, "|")
			if len(fields) != 4 {
				t.Fatalf("%q has %d fields", line, len(fields))
			}
			fmt.Fprintf(&want, "| %s | %s |\n", strings.TrimSpace(fields[0]), strings.TrimSpace(fields[1]))
		}
	}
	if !strings.Contains(string(readme), "\n"+want.String()+"\n") {
		t.Errorf("README.md has no table\n%s", want.String())
	}
}
