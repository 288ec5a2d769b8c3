package broker

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/kfs/blob"
)

// TestAlteredConfigsAreInForceAtOnce alters configs by an admin client; the next record is judged by them, and so is one after a restart.
func TestAlteredConfigsAreInForceAtOnce(t *testing.T) {
	store := blob.NewMemory(time.Now)
	r := start(t, store, nil)
	ctx := within(t, 30*time.Second)
	client := r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopic(ctx, 1, 1, nil, "events"); err != nil {
		t.Fatal(err)
	}
	large := &kgo.Record{Topic: "events", Value: []byte(strings.Repeat("x", 1000))}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Fatal(err)
	}
	alter := func(change func(...string) (kadm.AlterConfigsResponses, error)) error {
		t.Helper()
		answers, err := change("events")
		if err != nil {
			t.Fatal(err)
		}
		return answers[0].Err
	}
	less := kadm.AlterConfig{Op: kadm.SetConfig, Name: "max.message.bytes", Value: kadm.StringPtr("500")}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.ValidateAlterTopicConfigs(ctx, []kadm.AlterConfig{less}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Fatalf("after a validation: %v", err)
	}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{less, {Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("-1")}}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("1000 bytes where 500 are allowed: %v", err)
	}
	r.end(t)
	r = start(t, store, nil)
	client = r.client(t, kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin = kadm.NewClient(client)
	if err := client.ProduceSync(ctx, large).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("after a restart: %v", err)
	}
	if err := alter(func(topics ...string) (kadm.AlterConfigsResponses, error) {
		return admin.AlterTopicConfigsState(ctx, []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("5000")}}, topics...)
	}); err != nil {
		t.Fatal(err)
	}
	if err := client.ProduceSync(ctx, large).FirstErr(); err != nil {
		t.Error(err)
	}
	described, err := admin.DescribeTopicConfigs(ctx, "events")
	if err != nil || described[0].Err != nil {
		t.Fatal(err, described)
	}
	for _, c := range described[0].Configs {
		if want := map[string]string{"max.message.bytes": "5000", "retention.ms": "604800000"}[c.Key]; want != "" && c.MaybeValue() != want {
			t.Errorf("%s is %s, want %s", c.Key, c.MaybeValue(), want)
		}
	}
	answers, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "num.partitions", Value: kadm.StringPtr("5")}})
	if err != nil || !errors.Is(answers[0].Err, kerr.InvalidRequest) || answers[0].ErrMessage == "" {
		t.Errorf("a broker's configs: %+v, %v", answers, err)
	}
}
