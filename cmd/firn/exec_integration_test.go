//go:build integration

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/runtime/tail/tailtest"
)

// TestIntegrationExec runs the example in Python between a log and an Iceberg table.
func TestIntegrationExec(t *testing.T) {
	t.Parallel()
	mask, err := filepath.Abs("../../examples/exec/mask.py")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorkbench(t)
	users := tailtest.Topic("users", 1, 0)
	w.journal.Append(t, []kfs.Entry{users}, tailtest.Values(users, 0, `{"id":1}`, `{"id":2,"email":"alice@example.com"}`, `{"id":3,"email":"nobody"}`))
	job := "name: users\nsource: {topics: [users]}\ntransform: [{exec: {command: [" + fromEnv(t, "FIRN_PYTHON") + ", " + mask + "]}}]\n"
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	w.journal.Append(t, nil, tailtest.Values(users, 0, `{"id":4,"email":"bob@example.org","more":true}`))
	if err := w.run(job); err != nil {
		t.Fatal(err)
	}
	w.want("default.users", map[int64]string{
		0: `{"id":1}`,
		1: `{"email":"a…@example.com","email_domain":"example.com","id":2}`,
		3: `{"email":"b…@example.org","email_domain":"example.org","id":4,"more":true}`,
	})
	if letters := w.rows("default.users_dead_letter"); len(letters) != 1 || !strings.Contains(letters[2], `"error_class":"program_rejected","error_message":"email is no address"`) {
		t.Errorf("dead letters: %v", letters)
	}
}
