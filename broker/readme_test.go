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
