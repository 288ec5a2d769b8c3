package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/lease"
	"github.com/firn-io/firn/runtime/host"
	"github.com/firn-io/firn/runtime/job"
	"github.com/firn-io/firn/runtime/pipeline"
	"github.com/firn-io/firn/runtime/processor"
	"github.com/firn-io/firn/runtime/work"
)

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentedJobs reads every job file that the documents and examples show, and takes its columns through its transforms.
func TestDocumentedJobs(t *testing.T) {
	texts := map[string]string{}
	for _, path := range []string{"../../README.md", "../../runtime/job/README.md"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			texts[path] = block[1]
		}
		if texts[path] == "" {
			t.Errorf("%s shows no job file", path)
		}
	}
	text, err := os.ReadFile("../../examples/exec/job.yaml")
	if err != nil {
		t.Fatal(err)
	}
	texts["examples/exec/job.yaml"] = string(text)
	runner := (&program{out: os.Stdout}).runner()
	runner.Getenv = func(string) (string, bool) { return "lake", true }
	runner.ReadFile = func(string) ([]byte, error) { return []byte("x"), nil }
	runner.Out = t.Output()
	for name, text := range texts {
		path := filepath.Join(t.TempDir(), "job.yaml")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		jobs, err := runner.Read([]string{path})
		if err == nil {
			err = runner.Check(jobs, host.Settings{})
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestJobReferenceIsComplete: every key that there is has a place in the reference, and so has every transform and sink.
func TestJobReferenceIsComplete(t *testing.T) {
	text, err := os.ReadFile("../../runtime/job/README.md")
	if err != nil {
		t.Fatal(err)
	}
	reference := string(text)
	var walk func(of reflect.Type, path string)
	walk = func(of reflect.Type, path string) {
		for i := range of.NumField() {
			f := of.Field(i)
			key := f.Tag.Get("yaml")
			if key == "" {
				continue
			}
			if f.Type.Kind() == reflect.Struct {
				walk(f.Type, path+key+".")
			} else if !strings.Contains(reference, "| `"+path+key+"` |") {
				t.Errorf("the reference says nothing of %s", path+key)
			}
		}
	}
	walk(reflect.TypeFor[job.Job](), "")
	runner := (&program{}).runner()
	for name := range runner.Transforms {
		if !strings.Contains(reference, "| `"+name+": ") {
			t.Errorf("the reference says nothing of transform %s", name)
		}
	}
	for name := range runner.Sinks {
		if !strings.Contains(reference, "`"+name+": {") {
			t.Errorf("the reference says nothing of sink %s", name)
		}
	}
}

// describer notes the names of metrics that are registered with it.
type describer struct {
	prometheus.Registerer
	names map[string]bool
}

var metricName = regexp.MustCompile(`fqName: "([a-z_]+)"`)

func (d *describer) Register(c prometheus.Collector) error {
	descriptions := make(chan *prometheus.Desc, 10)
	c.Describe(descriptions)
	close(descriptions)
	for desc := range descriptions {
		d.names[metricName.FindStringSubmatch(desc.String())[1]] = true
	}
	return nil
}

// TestMetricsAreDocumented: every metric that a job or a worker has is in the list, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	d := &describer{names: map[string]bool{}}
	store := blob.NewMemory(nil)
	_, err := pipeline.New(pipeline.Config{Name: "job", Store: store, Topics: []string{"events"}, Errors: pipeline.Skip, Registerer: d,
		Route:    func(topic string) string { return topic },
		OpenSink: func(context.Context, string, kfs.TopicID) (processor.Sink, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := work.New(work.Config{Job: "job", Leases: new(lease.Service), Store: store, Registerer: d}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../runtime/README.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `(firn_[a-z_]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		listed[row[1]] = true
	}
	if !maps.Equal(listed, d.names) {
		t.Errorf("listed are\n%q, there are\n%q", slices.Sorted(maps.Keys(listed)), slices.Sorted(maps.Keys(d.names)))
	}
}
