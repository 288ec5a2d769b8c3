package namespace

import (
	"errors"
	"strings"
	"testing"

	"github.com/firn-io/firn/kfs"
	"github.com/firn-io/firn/kfs/blob"
	"github.com/firn-io/firn/kfs/blob/blobtest"
)

func TestUsable(t *testing.T) {
	store := blob.NewMemory(nil)
	if err := Usable(t.Context(), store); err != nil {
		t.Errorf("an empty namespace: %v", err)
	}
	r := &kfs.Restoring{
		Version: kfs.RestoringVersion, Snapshot: "before-v2", ID: kfs.TopicID{1}, Source: kfs.ClusterID{2}, Cluster: kfs.ClusterID{3}, Lineage: kfs.TopicID{4}, Began: 1700000000000,
	}
	body, err := kfs.EncodeRestoring(r)
	if err != nil {
		t.Fatal(err)
	}
	for says, body := range map[string]string{"before-v2 of cluster AgAAAAAAAAAAAAAAAAAAAA, since 2023-11-14T22:13:20Z": string(body), "cannot be read": "{}", "unknown version": `{"version":7}`} {
		if _, err := store.Put(t.Context(), kfs.RestoringKey, []byte(body), false); err != nil {
			t.Fatal(err)
		}
		if err := Usable(t.Context(), store); !errors.Is(err, ErrRestoring) || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	r.Ended = true
	if body, err = kfs.EncodeRestoring(r); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Put(t.Context(), kfs.RestoringKey, body, false); err != nil {
		t.Fatal(err)
	}
	if err := Usable(t.Context(), store); err != nil {
		t.Errorf("a restore that has ended: %v", err)
	}
	fault := blobtest.NewFault(store, func(blobtest.Op) blobtest.Action { return blobtest.FailBefore })
	if err := Usable(t.Context(), fault); err == nil || errors.Is(err, ErrRestoring) {
		t.Errorf("a store that does not answer: %v", err)
	}
}
