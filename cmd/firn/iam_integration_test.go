//go:build integration

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/firn-io/firn/broker/journal"
	"github.com/firn-io/firn/kfs"
)

// TestIntegrationLeastPrivilege runs brokers, a job, the making of restore points and a restore, each with the policy that deploy/iam has for it, against an S3 server that refuses
// everything else. What a policy allows and nobody asks for is too much. It changes the keys of this process, and so has it to itself.
func TestIntegrationLeastPrivilege(t *testing.T) {
	guard := &guard{policies: map[string]*policy{}, used: map[string]bool{}}
	for _, role := range []string{"broker", "job", "snapshot", "restore"} {
		guard.policies[role] = readPolicy(t, role+".json")
	}
	backend := s3mem.New()
	for _, bucket := range []string{"log", "tables"} {
		if err := backend.CreateBucket(bucket); err != nil {
			t.Fatal(err)
		}
	}
	guard.server = gofakes3.New(backend).Server()
	server := httptest.NewServer(guard)
	defer server.Close()
	store := "s3://log/firn?endpoint=" + server.URL + "&region=us-east-1"
	role := func(name string) {
		t.Setenv("AWS_ACCESS_KEY_ID", name)
		t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	}
	data := t.TempDir()
	job := filepath.Join(data, "job.yaml")
	text := fmt.Sprintf("name: least\nsource: {topics: [quakes]}\ntable: {properties: {write.metadata.previous-versions-max: '1', write.metadata.delete-after-commit.enabled: 'true'}}\ncatalog: {type: sqlite, uri: '%s/catalog.db', warehouse: 's3://tables/lake', s3.endpoint: '%s', s3.region: us-east-1, s3.access-key-id: job, s3.secret-access-key: secret}\n", data, server.URL)
	if err := os.WriteFile(job, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := readLines(t, earthquakes)
	const rounds, objects = 2, 20
	var b *process
	for round := range rounds {
		role("broker")
		b = start(t, "broker", "--store", store, "--kafka", "127.0.0.1:0")
		if round == 0 {
			if _, err := run(t, fromEnv(t, "FIRN_BIN"), "topics", "create", "quakes", "--partitions", "2", "--config", "retention.bytes=100", "--brokers", b.where["kafka"]); err != nil {
				t.Fatal(err)
			}
		}
		for i := range objects {
			produceLines(t, b, "quakes", lines[round*objects+i:][:1])
		}
		commitGroup(t, b, "quakes", "readers", objects)
		role("job")
		if _, err := run(t, fromEnv(t, "FIRN_BIN"), "process", "-f", job, "--store", store, "--data", data, "--until", "latest"); err != nil {
			t.Fatal(err)
		}
		b.stop(t)
	}
	if _, err := run(t, fromEnv(t, "FIRN_BIN"), "verify", "-f", job, "--store", store, "--data", data, "--deep"); err != nil {
		t.Error(err)
	}
	role("snapshot")
	firn := fromEnv(t, "FIRN_BIN")
	for _, args := range [][]string{{"create", "point"}, {"create", "other"}, {"ls"}, {"show", "point"}, {"delete", "other"}} {
		if _, err := run(t, firn, append(append([]string{"snapshot"}, args...), "--store", store)...); err != nil {
			t.Error(err)
		}
	}
	role("restore")
	if _, err := run(t, firn, "restore", "--from", "point", "--store", store, "--to", strings.Replace(store, "/firn?", "/restored?", 1)); err != nil {
		t.Error(err)
	}
	// What a broker asks for only after hours.
	for _, key := range []string{"snapshots/point.json", "snapshots/point/x/0000.kfm"} {
		if !guard.allowed("broker", "s3:GetObject", "arn:aws:s3:::log/firn/"+key, "") {
			t.Errorf("a broker may not read %s", key)
		}
	}
	if !guard.allowed("broker", "s3:ListBucket", "arn:aws:s3:::log", "firn/"+kfs.SnapshotsPrefix) {
		t.Error("a broker may not list restore points")
	}
	role("broker")
	outgrowCheckpoints(t, store)
	b = start(t, "broker", "--store", store, "--kafka", "127.0.0.1:0")
	role("job")
	etcd := newEtcd(t)
	for range 2 {
		start(t, "process", "-f", job, "--store", store, "--data", data, "--etcd", etcd.Addr())
	}
	eventually(t, func() error { // retention asks what jobs hold, and workers hand over what they have staged
		produceLines(t, b, "quakes", lines[:2])
		return guard.unused()
	})
	guard.mu.Lock()
	defer guard.mu.Unlock()
	for _, r := range guard.refused {
		t.Errorf("refused: %s", r)
	}
}

// outgrowCheckpoints lets a journal of its own become old enough, in its checkpoints, that some of them are deleted.
func outgrowCheckpoints(t *testing.T, url string) {
	t.Helper()
	store, err := openStore(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.Open(t.Context(), journal.Config{Store: store, Journal: 9, CheckpointEvery: 2, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	for offset := range int64(20) {
		entry := kfs.GroupOffsets{Offsets: []kfs.GroupOffset{{Group: "g", Topic: "quakes", Offset: offset}}}
		results, err := j.AppendEntries([]kfs.Entry{entry}).Wait(ctx)
		if err != nil || results[0].Err != nil {
			t.Fatal(err, results)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// guard is an S3 server that knows who may do what.
type guard struct {
	policies map[string]*policy // by access key
	server   http.Handler

	mu      sync.Mutex // guards what follows
	refused []string
	used    map[string]bool // role, statement, action, resource
}

type policy struct {
	Statement []statement
}

type statement struct {
	Sid       string
	Action    oneOrMore
	Resource  oneOrMore
	Condition struct {
		StringLike map[string]oneOrMore
	}
}

// oneOrMore is a list that may be written as its only element.
type oneOrMore []string

func (o *oneOrMore) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*o = oneOrMore{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(o))
}

func readPolicy(t *testing.T, name string) *policy {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("../../deploy/iam", name))
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("BUCKET", "log", "PREFIX", "firn", "WAREHOUSE", "tables/lake", "RESTORED", "restored").Replace(string(body))
	p := &policy{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		t.Fatal(err)
	}
	return p
}

var accessKey = regexp.MustCompile(`Credential=([^/]+)/`)

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := accessKey.FindStringSubmatch(r.Header.Get("Authorization"))
	role := ""
	if found != nil {
		role = found[1]
	}
	action, resource, prefix := s3Action(r)
	source, copied := r.Header.Get("X-Amz-Copy-Source"), true
	if source != "" {
		copied = g.allowed(role, "s3:GetObject", "arn:aws:s3:::"+strings.TrimPrefix(source, "/"), "")
	}
	if !copied || !g.allowed(role, action, resource, prefix) {
		g.mu.Lock()
		g.refused = append(g.refused, fmt.Sprintf("%s: %s %s prefix %q (%s %s)", role, action, resource, prefix, r.Method, r.URL))
		g.mu.Unlock()
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>`)
		return
	}
	g.server.ServeHTTP(w, r)
}

// s3Action is what a request asks for, in the words of policies. Requests of other kinds have no action, and no policy allows them.
func s3Action(r *http.Request) (action, resource, prefix string) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	query := r.URL.Query()
	if key == "" {
		if r.Method == http.MethodGet && query.Get("list-type") == "2" {
			return "s3:ListBucket", "arn:aws:s3:::" + bucket, query.Get("prefix")
		}
		return "", bucket, ""
	}
	for name := range query {
		if name != "x-id" && name != "uploads" && name != "uploadId" && name != "partNumber" {
			return "", bucket + "/" + key, ""
		}
	}
	actions := map[string]string{
		http.MethodGet: "s3:GetObject", http.MethodHead: "s3:GetObject", http.MethodPut: "s3:PutObject", http.MethodPost: "s3:PutObject", http.MethodDelete: "s3:DeleteObject",
	}
	return actions[r.Method], "arn:aws:s3:::" + bucket + "/" + key, ""
}

func (g *guard) allowed(role, action, resource, prefix string) bool {
	p := g.policies[role]
	if p == nil || action == "" {
		return false
	}
	for _, s := range p.Statement {
		if !slices.Contains(s.Action, action) {
			continue
		}
		for _, pattern := range s.Resource {
			if !like(pattern, resource) {
				continue
			}
			for condition, patterns := range s.Condition.StringLike {
				if condition != "s3:prefix" || !slices.ContainsFunc(patterns, func(p string) bool { return like(p, prefix) }) {
					return false
				}
			}
			g.mu.Lock()
			g.used[path.Join(role, s.Sid, action)] = true
			g.mu.Unlock()
			return true
		}
	}
	return false
}

// like matches as policies do: a star is any text.
func like(pattern, text string) bool {
	re := strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*")
	return regexp.MustCompile("^" + re + "$").MatchString(text)
}

// unused is an error that lists what nobody has asked for.
func (g *guard) unused() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for role, p := range g.policies {
		for _, s := range p.Statement {
			for _, action := range s.Action {
				if !g.used[path.Join(role, s.Sid, action)] {
					errs = append(errs, fmt.Errorf("%s: statement %s allows %s, and nobody asks for it", role, s.Sid, action))
				}
			}
		}
	}
	return errors.Join(errs...)
}
