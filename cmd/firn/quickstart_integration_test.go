//go:build integration

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestIntegrationQuickStartReadme runs what the quick start tells people to type, as it stands there.
func TestIntegrationQuickStartReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../examples/quickstart/README.md")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	firn := start(t, "dev", "--data", filepath.Join(folder, "firn-data"), "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
	if _, err := run(t, "kcat", "-b", firn.where["kafka"], "-t", "earthquakes", "-P", "-l", earthquakes); err != nil {
		t.Fatal(err)
	}
	sql, err := filepath.Abs("testdata/sql.py")
	if err != nil {
		t.Fatal(err)
	}
	python := fromEnv(t, "FIRN_PYTHON")
	for language, c := range map[string]struct {
		want string
		args []string
	}{
		"sql":    {"1707", []string{sql}},
		"python": {"Afghanistan", []string{"-"}},
	} {
		block := codeBlock(t, string(readme), language)
		eventually(t, func() error {
			cmd := exec.CommandContext(t.Context(), python, c.args...)
			cmd.Dir, cmd.Stdin = folder, strings.NewReader(block)
			out, err := cmd.CombinedOutput()
			if err == nil && !strings.Contains(string(out), c.want) {
				err = fmt.Errorf("%s is not in it", c.want)
			}
			if err != nil {
				return fmt.Errorf("%s: %w\n%s", block, err, tail(string(out), 15))
			}
			return nil
		})
	}
}

// codeBlock is the first block of a language in Markdown.
func codeBlock(t *testing.T, markdown, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(markdown, "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatalf("there is no %s block", language)
	}
	return block
}
