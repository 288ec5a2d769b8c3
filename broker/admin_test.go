package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/blob"
)

// TestWhatAdminToolsAsk has what an admin client asks beside topics, configs and groups, and what it makes of the answers.
func TestWhatAdminToolsAsk(t *testing.T) {
	r := start(t, blob.NewMemory(time.Now), func(c *Config) { c.StoreName = "s3://bucket/prefix" })
	ctx := within(t, 30*time.Second)
	client := r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 2, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "events", Partition: 1, Value: make([]byte, 1000)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	id, epoch, err := client.ProducerID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	producers, err := admin.DescribeProducers(ctx, kadm.TopicsSet{"events": {0: {}, 1: {}}})
	if err != nil || len(producers["events"].Partitions[0].ActiveProducers) != 0 {
		t.Fatal(err, producers)
	}
	known := producers["events"].Partitions[1].ActiveProducers.Sorted()
	if len(known) != 1 || known[0].ProducerID != id || known[0].ProducerEpoch != epoch || known[0].LastSequence != 0 || known[0].CurrentTxnStartOffset != -1 {
		t.Errorf("producers %+v, want %d with epoch %d", known, id, epoch)
	}
	dirs, err := admin.DescribeAllLogDirs(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	empty, _ := dirs[0].Lookup("s3://bucket/prefix", "events", 0)
	full, ok := dirs[0].Lookup("s3://bucket/prefix", "events", 1)
	if !ok || empty.Size != 0 || full.Size < 1000 || full.Size > 1200 {
		t.Errorf("log dirs %+v", dirs)
	}
	elected, err := admin.ElectLeaders(ctx, kadm.ElectPreferredReplica, kadm.TopicsSet{"events": {0: {}, 7: {}}})
	if err != nil || !errors.Is(elected["events"][0].Err, kerr.ElectionNotNeeded) || !errors.Is(elected["events"][7].Err, kerr.UnknownTopicOrPartition) {
		t.Errorf("elections %+v, %v", elected, err)
	}
	if moving, err := admin.ListPartitionReassignments(ctx, nil); err != nil || len(moving) != 0 {
		t.Errorf("reassignments %+v, %v", moving, err)
	}
	acls := kadm.NewACLs().Topics("events").Allow("User:somebody").AllowHosts("*").Operations(kadm.OpRead).ResourcePatternType(kadm.ACLPatternLiteral)
	described, err := admin.DescribeACLs(ctx, acls)
	if err != nil || len(described) != 1 || !errors.Is(described[0].Err, kerr.SecurityDisabled) {
		t.Errorf("ACLs: %+v, %v", described, err)
	}
	created, err := admin.CreateACLs(ctx, acls)
	if err != nil || len(created) != 1 || !errors.Is(created[0].Err, kerr.SecurityDisabled) {
		t.Errorf("creating an ACL: %+v, %v", created, err)
	}
}
