package tail

import (
	"maps"
	"slices"
	"strings"

	"github.com/firn-io/firn/kfs"
)

// Topics is what journal 0 says about topics and journals: a fold of its entries, without I/O. The zero value is a cluster of which
// nothing is known yet.
type Topics struct {
	cluster kfs.Cluster
	byID    map[kfs.TopicID]kfs.Topic
}

// Apply folds an entry. Entries of other kinds change nothing. Applying what was applied before, in the same order, ends in the same state.
func (t *Topics) Apply(entry kfs.Entry) {
	switch e := entry.(type) {
	case kfs.Cluster:
		t.cluster = e
	case kfs.Topic:
		if t.byID == nil {
			t.byID = map[kfs.TopicID]kfs.Topic{}
		}
		if e.State == kfs.TopicDeleted {
			delete(t.byID, e.ID)
			return
		}
		t.byID[e.ID] = e
	}
}

// Cluster is what the cluster is; ok is false while journal 0 has not said it.
func (t *Topics) Cluster() (c kfs.Cluster, ok bool) { return t.cluster, t.cluster.Journals > 0 }

// Live lists the topics that are not being deleted, by name.
func (t *Topics) Live() []kfs.Topic {
	all := slices.DeleteFunc(slices.Collect(maps.Values(t.byID)), func(e kfs.Topic) bool { return e.State != kfs.TopicLive })
	slices.SortFunc(all, func(a, b kfs.Topic) int { return strings.Compare(a.Name, b.Name) })
	return all
}
