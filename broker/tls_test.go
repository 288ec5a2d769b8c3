package broker

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/firn-io/firn/broker/auth"
	"github.com/firn-io/firn/broker/auth/authtest"
)

// TestMutualTLS runs brokers that want certificates of their clients, and are clients of each other.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	ca := authtest.NewCA(t)
	files := ca.Issue(t, "broker")
	files.ClientCA = ca.File
	s := newSeveral(t)
	for id := int32(1); id <= 2; id++ {
		s.start(id, 2, func(c *Config) {
			var err error
			if c.TLS, err = auth.Load(files); err != nil {
				t.Fatal(err)
			}
		})
	}
	s.spread(2)
	// The topic is made through the broker that is not the controller.
	client := s.other().client(t, kgo.DialTLSConfig(ca.Client(t, ca.Issue(t, "client"))), kgo.DefaultProduceTopic("secret"), kgo.AllowAutoTopicCreation())
	value := make([]byte, 300_000) // some TLS records
	if err := client.ProduceSync(t.Context(), &kgo.Record{Value: value}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	client.AddConsumeTopics("secret")
	fetches := client.PollFetches(within(t, 30*time.Second))
	if err := fetches.Err(); err != nil || fetches.NumRecords() != 1 || len(fetches.Records()[0].Value) != len(value) {
		t.Errorf("%d records: %v", fetches.NumRecords(), err)
	}
	for name, opt := range map[string]kgo.Opt{"plain": kgo.ClientID("plain"), "without a certificate": kgo.DialTLSConfig(ca.Client(t))} {
		stranger := s.other().client(t, opt, kgo.RequestRetries(0))
		if err := stranger.Ping(within(t, 5*time.Second)); err == nil {
			t.Errorf("a client that is %s is served", name)
		}
	}
}
