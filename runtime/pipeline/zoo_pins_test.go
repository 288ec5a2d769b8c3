package pipeline

import (
	"slices"

	icetable "github.com/apache/iceberg-go/table"
)

// unpinnedHead takes the pin off a commit and gives its snapshot a number that the catalog takes.
func unpinnedHead(reqs []icetable.Requirement, updates []icetable.Update) ([]icetable.Requirement, []icetable.Update) {
	out := slices.Clone(updates)
	for i, u := range updates {
		if snapshot, ok := added(u); ok {
			snapshot.SequenceNumber += 1000
			out[i] = icetable.NewAddSnapshotUpdate(snapshot)
			return nil, out
		}
	}
	return reqs, updates
}

// unpinnedMerge does so where manifests are merged.
func unpinnedMerge(reqs []icetable.Requirement, updates []icetable.Update) ([]icetable.Requirement, []icetable.Update) {
	for _, u := range updates {
		if snapshot, ok := added(u); ok && snapshot.Summary.Properties["firn.kind"] == "merge" {
			return unpinnedHead(reqs, updates)
		}
	}
	return reqs, updates
}

// unpinnedIDs takes the pins off a change of the schema.
func unpinnedIDs(reqs []icetable.Requirement, updates []icetable.Update) ([]icetable.Requirement, []icetable.Update) {
	if len(updates) > 0 && updates[0].Action() == icetable.UpdateAddSchema {
		return nil, updates
	}
	return reqs, updates
}
