package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/firn-io/firn/runtime/host"
)

// pod is what the test reads of a pod, wherever in a manifest it stands.
type pod struct {
	Containers []struct {
		Command, Args []string
		VolumeMounts  []struct {
			Name string
			Path string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name      string
		ConfigMap struct{ Name string } `yaml:"configMap"`
		Secret    struct {
			Name string `yaml:"secretName"`
		}
	}
	ServiceAccount string `yaml:"serviceAccountName"`
}

// manifest is a manifest of one of the kinds that are in deploy/kubernetes.
type manifest struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Secrets  map[string]string `yaml:"stringData"`
	Spec     struct {
		Template    struct{ Spec pod }
		JobTemplate struct {
			Spec struct {
				Template struct{ Spec pod }
			}
		} `yaml:"jobTemplate"`
	}
}

func readManifests(t *testing.T, path string) []manifest {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []manifest
	for d := yaml.NewDecoder(f); ; {
		var m manifest
		if err := d.Decode(&m); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
}

// TestKubernetesManifests: what the manifests run is a command of this program with flags that it has, the volumes are there, and the job
// file passes its check with the secret from where the pod has it.
func TestKubernetesManifests(t *testing.T) {
	const folder = "../../deploy/kubernetes"
	files := map[string]string{} // by the name of a ConfigMap, Secret or ServiceAccount: what it holds
	for _, m := range readManifests(t, filepath.Join(folder, "config.yaml")) {
		files[m.Kind+"/"+m.Metadata.Name] = m.Data["job.yaml"] + m.Secrets["catalog"]
	}
	for file, want := range map[string]string{"job.yaml": "Job", "cronjob.yaml": "CronJob", "deployment.yaml": "Deployment"} {
		all := readManifests(t, filepath.Join(folder, file))
		if len(all) != 1 || all[0].Kind != want {
			t.Fatalf("%s is not one %s", file, want)
		}
		p := all[0].Spec.Template.Spec
		if want == "CronJob" {
			p = all[0].Spec.JobTemplate.Spec.Template.Spec
		}
		if _, ok := files["ServiceAccount/"+p.ServiceAccount]; !ok || len(p.Containers) != 1 {
			t.Fatalf("%s: service account %q, %d containers", file, p.ServiceAccount, len(p.Containers))
		}
		c := p.Containers[0]
		if strings.Join(c.Command, " ") != "/usr/bin/firn" {
			t.Errorf("%s runs %v", file, c.Command)
		}
		command, flags, err := newCommand(io.Discard, io.Discard).Find(c.Args)
		if err == nil {
			err = command.ParseFlags(flags)
		}
		if err != nil || command.Name() != "process" {
			t.Fatalf("%s: %v: %v", file, c.Args, err)
		}
		if until := command.Flag("until").Value.String(); (until == "latest") != (want != "Deployment") {
			t.Errorf("%s: --until %q", file, until)
		}
		mounted := map[string]string{} // what is below a path
		for _, v := range p.Volumes {
			for _, at := range c.VolumeMounts {
				if at.Name == v.Name {
					mounted[at.Path] = files["ConfigMap/"+v.ConfigMap.Name] + files["Secret/"+v.Secret.Name]
				}
			}
		}
		runner := (&program{out: t.Output()}).runner()
		runner.ReadFile = func(path string) ([]byte, error) {
			if text := mounted[filepath.Dir(path)]; text != "" {
				return []byte(text), nil
			}
			return nil, os.ErrNotExist
		}
		path := filepath.Join(t.TempDir(), "job.yaml")
		if err := os.WriteFile(path, []byte(mounted[filepath.Dir(command.Flag("file").Value.String()[1:])]), 0o600); err != nil {
			t.Fatal(err)
		}
		jobs, err := runner.Read([]string{path})
		if err == nil {
			err = runner.Check(jobs, host.Settings{})
		}
		if err != nil {
			t.Errorf("%s: the job file: %v", file, err)
		}
	}
}
