//go:build integration

package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"testing"
	"time"

	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/open"
	"github.com/firn-io/firn/processors/iceberg/sweep"
)

// leaveDataFile puts a copy of a data file beside it, which is what a process leaves that is killed between writing and committing: whether the kills
// of the test hit that moment is chance.
func leaveDataFile(t *testing.T, folder, endpoint string, inS3 bool) {
	t.Helper()
	const left = "left-by-a-kill.parquet"
	if !inS3 {
		var files []string
		err := filepath.WalkDir(filepath.Join(folder, "lake"), func(file string, _ os.DirEntry, err error) error {
			if filepath.Ext(file) == ".parquet" {
				files = append(files, file)
			}
			return err
		})
		if err != nil || len(files) == 0 {
			t.Fatalf("data files %v, %v", files, err)
		}
		body, err := os.ReadFile(files[0])
		if err == nil {
			err = os.WriteFile(filepath.Join(filepath.Dir(files[0]), left), body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	store, err := open.Store(t.Context(), "s3://lake/warehouse?region=us-east-1&endpoint="+endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for page, err := range store.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			if path.Ext(o.Key) != ".parquet" {
				continue
			}
			body, _, err := blob.ReadAll(t.Context(), store, o.Key, blob.All, 1<<20)
			if err == nil {
				_, err = store.Put(t.Context(), path.Join(path.Dir(o.Key), left), body, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatal("there is no data file")
}

// TestIntegrationSweep kills a job again and again in the middle of writing. What it leaves is swept, in a folder and in S3, and every
// record is there before and after.
func TestIntegrationSweep(t *testing.T) {
	t.Parallel()
	endpoint := startVersitygw(t, "lake")
	for name, warehouse := range map[string]string{
		"folder": "",
		"s3":     fmt.Sprintf(`"s3://lake/warehouse", s3.endpoint: %q, s3.region: us-east-1, s3.access-key-id: firn, s3.secret-access-key: firnfirnfirn`, endpoint),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			if warehouse == "" {
				warehouse = `"file://` + folder + `/lake"`
			}
			firn := start(t, "dev", "--data", folder, "--kafka", "127.0.0.1:0", "--http", "127.0.0.1:0")
			bin, job := fromEnv(t, "FIRN_BIN"), filepath.Join(folder, "job.yaml")
			err := os.WriteFile(job, fmt.Appendf(nil, `name: orders
source: {topics: [orders], store: "file://%[1]s/store"}
table: {name: "lake.{topic}", partition: ["bucket(8, id)"]}
catalog: {type: sqlite, uri: "sqlite:///%[1]s/lake.db", warehouse: %[2]s}
commit: {freshness: 50ms}
`, folder, warehouse), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			p := startProducer(t, firn, "orders", 0)
			for i := range 8 {
				at := start(t, "process", "-f", job)
				select {
				case <-time.After(time.Duration(300+70*i) * time.Millisecond):
				case <-at.done:
					t.Fatalf("the job ended by itself: %v", at.err)
				}
				at.kill()
			}
			acknowledged := p.stop(t)
			if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
				t.Fatal(err, out)
			}
			if _, err := run(t, bin, "sweep", "-f", job, "--older", "1h"); err == nil {
				t.Error("files younger than three days were swept without the flag that says what it risks")
			}
			leaveDataFile(t, folder, endpoint, name == "s3")
			var dry, swept, again []*sweep.Report
			args := []string{"sweep", "-f", job, "--older", "1ms", "--risk-running-writes"}
			// Object stores tell times in whole seconds, and a dry run goes by this machine's clock: what was written more than a second
			// ago by this one is old by the store's.
			eventually(t, func() error {
				firnJSON(t, &dry, "sweep", "-f", job, "--older", "1001ms", "--risk-running-writes", "--dry-run")
				if dry[0].Young.Files > 0 {
					return fmt.Errorf("%d files are young", dry[0].Young.Files)
				}
				return nil
			})
			firnJSON(t, &swept, args...)
			if fmt.Sprint(swept[0].Swept) != fmt.Sprint(dry[0].Swept) || swept[0].Kept != dry[0].Kept {
				t.Errorf("swept %+v, the dry run said %+v", swept[0], dry[0])
			}
			if swept[0].Swept[sweep.Data].Files == 0 {
				t.Error("not even the file that was left on purpose was swept")
			}
			t.Logf("listed %+v, referred to %+v, swept %v", swept[0].Listed, swept[0].Kept, swept[0].Swept)
			firnJSON(t, &again, args...)
			if len(again[0].Swept) > 0 {
				t.Errorf("a second sweep found %v", again[0].Swept)
			}
			if out, err := run(t, bin, "verify", "-f", job, "--deep"); err != nil {
				t.Error(err, out)
			}
			var reports []struct {
				Rows int64 `json:"rows"`
			}
			firnJSON(t, &reports, "verify", "-f", job)
			if reports[0].Rows != int64(len(acknowledged)) {
				t.Errorf("%d rows, %d records were acknowledged", reports[0].Rows, len(acknowledged))
			}
			if out, err := run(t, bin, "process", "-f", job, "--until", "latest"); err != nil {
				t.Error("the job does not go on:", err, out)
			}
		})
	}
}
