package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// forbidden lists who must not import whom. A path ends with /... for the folder and all below it; "std" stands for the standard library.
// Each edge is a promise of the architecture: the format stays free of dependencies, brokers and processors meet only in the bucket, and
// each big library has one door.
var forbidden = []struct {
	from   []string // these packages
	except []string // but not these
	to     []string // must not import these
}{
	{from: []string{"kfs"}, to: []string{"!std"}},
	{from: []string{"..."}, except: []string{"kfs/blob/s3/...", "cmd/..."}, to: []string{"github.com/aws/aws-sdk-go-v2/..."}},
	{from: []string{"..."}, except: []string{"kfs/blob/s3/..."}, to: []string{"github.com/aws/aws-sdk-go-v2/service/s3/..."}},
	{from: []string{"..."}, except: []string{"kfs/lease/...", "cmd/..."}, to: []string{"go.etcd.io/..."}},
	{from: []string{"kfs/..."}, to: []string{"broker/...", "runtime/...", "catalog/...", "processors/..."}},
	{from: []string{"broker/..."}, to: []string{"runtime/...", "catalog/...", "processors/...", "github.com/apache/...", "github.com/twmb/franz-go/pkg/kgo"}},
	{from: []string{"runtime/..."}, to: []string{"broker/...", "catalog/...", "processors/...", "github.com/apache/iceberg-go/..."}},
	{from: []string{"runtime/processor"}, to: []string{"!std", "!kfs", "!github.com/apache/arrow-go/v18/..."}},
	// Examples are what users write: they read tables as any other program does.
	{from: []string{"..."}, except: []string{"catalog/...", "processors/iceberg/...", "examples/..."}, to: []string{"github.com/apache/iceberg-go/..."}},
	{from: []string{"..."}, except: []string{"cmd/..."}, to: []string{"cmd/..."}},
}

const module = "github.com/firn-io/firn/"

type listed struct {
	ImportPath string
	Imports    []string
}

// TestImportRules holds the import graph of everything but tests against the forbidden edges.
func TestImportRules(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) < 10 {
		t.Fatalf("go list found only %d packages", len(packages))
	}
	for _, broken := range brokenRules(packages) {
		t.Error(broken)
	}
}

// TestImportRulesBite shows that a forbidden edge is found.
func TestImportRulesBite(t *testing.T) {
	for from, to := range map[string]string{
		"kfs":                 "github.com/klauspost/compress/zstd",
		"kfs/record":          "github.com/aws/aws-sdk-go-v2/aws",
		"broker":              "github.com/firn-io/firn/runtime/tail",
		"broker/api":          "github.com/apache/arrow-go/v18/arrow",
		"runtime/tail":        "github.com/firn-io/firn/broker/metadata",
		"runtime/pipeline":    "github.com/apache/iceberg-go",
		"runtime/processor":   "github.com/firn-io/firn/kfs/record",
		"processors":          "github.com/apache/iceberg-go/table",
		"catalog":             "github.com/firn-io/firn/cmd/firn",
		"broker/cluster":      "go.etcd.io/etcd/client/v3",
		"processors/iceberg/": "github.com/aws/aws-sdk-go-v2/service/s3",
	} {
		if len(brokenRules([]listed{{module + strings.TrimSuffix(from, "/"), []string{to}}})) == 0 {
			t.Errorf("%s may import %s", from, to)
		}
	}
}

func brokenRules(packages []listed) []string {
	var broken []string
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		for _, rule := range forbidden {
			if !matchesAny(rule.from, name) || matchesAny(rule.except, name) {
				continue
			}
			for _, imported := range p.Imports {
				if refused(rule.to, imported) {
					broken = append(broken, name+" imports "+imported)
				}
			}
		}
	}
	return broken
}

// refused reports whether a rule's targets refuse an import. Targets that begin with ! allow only what they name.
func refused(targets []string, imported string) bool {
	path, ours := strings.CutPrefix(imported, module)
	first, _, _ := strings.Cut(imported, "/")
	standard := !ours && !strings.Contains(first, ".")
	if !strings.HasPrefix(targets[0], "!") {
		return !standard && matchesAny(targets, path)
	}
	for _, t := range targets {
		if t = t[1:]; t == "std" && standard || !standard && matches(t, path) {
			return false
		}
	}
	return true
}

func matchesAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if matches(p, path) {
			return true
		}
	}
	return false
}

func matches(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == base || strings.HasPrefix(path, base+"/")
	}
	return path == pattern
}
