package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Results are between two markers of a Markdown file. The first says which command writes them.
const (
	resultsBegin = "<!-- results: written by %s -->"
	resultsEnd   = "<!-- end of results -->"
)

// replaceResults puts report into the section of a Markdown file that a command writes.
func replaceResults(path, command, report string) error {
	begin := fmt.Sprintf(resultsBegin, command)
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(text, []byte(begin))
	_, after, ok2 := bytes.Cut(rest, []byte(resultsEnd))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no section between %s and %s", path, begin, resultsEnd)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(begin+"\n```\n"+report+"```\n"+resultsEnd), after), 0o644)
}

// machine says what the figures were measured on.
func machine() string {
	model := "unknown processor"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, line := range strings.Split(string(info), "\n") {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	commit := "unknown commit"
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		commit = strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("%s, commit %s, %s, %d cores of %s\n", time.Now().UTC().Format("2006-01-02"), commit, runtime.Version(), runtime.NumCPU(), model)
}

// table lays out rows of equal length; the first is the head.
func table(title string, rows [][]string) string {
	var out strings.Builder
	out.WriteString(title + "\n")
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, "  "+strings.Join(row, "\t"))
	}
	w.Flush()
	return out.String()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

func number(v float64, decimals int) string { return fmt.Sprintf("%.*f", decimals, v) }
