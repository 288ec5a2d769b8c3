package api

import (
	"errors"
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/journal"
)

// toController are requests of every API that the controller serves, and how to read the code of their answers.
func toController() map[string]struct {
	req  kmsg.Request
	code func(kmsg.Response) int16
} {
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Topics = []kmsg.CreateTopicsRequestTopic{{Topic: "new", NumPartitions: 1, ReplicationFactor: 1}}
	remove := kmsg.NewPtrDeleteTopicsRequest()
	remove.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: kmsg.StringPtr("events")}}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: "events", Count: 5}}
	alter := kmsg.NewPtrAlterConfigsRequest()
	alter.Resources = []kmsg.AlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events"}}
	alter.Resources[0].Configs = []kmsg.AlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1")}}
	edit := kmsg.NewPtrIncrementalAlterConfigsRequest()
	edit.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "events"}}
	edit.Resources[0].Configs = []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: "retention.ms", Value: kmsg.StringPtr("1")}}
	return map[string]struct {
		req  kmsg.Request
		code func(kmsg.Response) int16
	}{
		"CreateTopics":     {create, func(r kmsg.Response) int16 { return r.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode }},
		"DeleteTopics":     {remove, func(r kmsg.Response) int16 { return r.(*kmsg.DeleteTopicsResponse).Topics[0].ErrorCode }},
		"CreatePartitions": {grow, func(r kmsg.Response) int16 { return r.(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode }},
		"AlterConfigs":     {alter, func(r kmsg.Response) int16 { return r.(*kmsg.AlterConfigsResponse).Resources[0].ErrorCode }},
		"IncrementalAlterConfigs": {edit, func(r kmsg.Response) int16 {
			return r.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
		}},
		"InitProducerID": {kmsg.NewPtrInitProducerIDRequest(), func(r kmsg.Response) int16 { return r.(*kmsg.InitProducerIDResponse).ErrorCode }},
	}
}

func TestForwarding(t *testing.T) {
	for name, c := range toController() {
		version := c.req.MaxVersion()
		for _, failure := range []struct {
			err  error
			want *kerr.Error
		}{
			{ErrNotController, kerr.NotController},
			{fmt.Errorf("a connection was cut: %w", journal.ErrUnavailable), kerr.RequestTimedOut},
		} {
			f := newFake(t, topic(1, "events", 1))
			f.forward = func(kmsg.Request) (kmsg.Response, error) { return nil, failure.err }
			if got := c.code(f.call(t, version, c.req)); got != failure.want.Code {
				t.Errorf("%s, forwarded with %v: code %d", name, failure.err, got)
			}
			if _, changed := f.State().Topic("new"); changed {
				t.Errorf("%s changed something here", name)
			}
		}
		f, controller := newFake(t, topic(1, "events", 1)), newFake(t, topic(1, "events", 1))
		forwarded := 0
		f.forward = func(req kmsg.Request) (kmsg.Response, error) {
			forwarded++
			if req.GetVersion() != version {
				t.Errorf("%s is forwarded in version %d, the client sent %d", name, req.GetVersion(), version)
			}
			return controller.call(t, req.GetVersion(), req), nil
		}
		if got := c.code(f.call(t, version, c.req)); got != 0 || forwarded != 1 {
			t.Errorf("%s, forwarded %d times: code %d", name, forwarded, got)
		}
	}
}

// TestForwardedRequestsStay: what another broker has forwarded is not forwarded again.
func TestForwardedRequestsStay(t *testing.T) {
	f := newFake(t, topic(1, "events", 1))
	f.forward = func(kmsg.Request) (kmsg.Response, error) { return nil, errors.New("forwarded again") }
	a, _ := f.apis().Lookup(22)
	req := kmsg.NewPtrInitProducerIDRequest()
	resp, err := a.Start(t.Context(), &Request{Body: req, ClientID: ForwardedClientID})(t.Context())
	if err != nil || resp.(*kmsg.InitProducerIDResponse).ErrorCode != 0 {
		t.Errorf("%+v, %v", resp, err)
	}
}

func TestMetadataCreatesTopicsAtTheController(t *testing.T) {
	f, controller := newFake(t), newFake(t)
	f.forward = func(req kmsg.Request) (kmsg.Response, error) {
		resp := controller.call(t, req.GetVersion(), req)
		created, _ := controller.State().Topic("events")
		f.apply(t, created.Topic)
		return resp, nil
	}
	req := metadataFor("events")
	req.AllowAutoTopicCreation = true
	resp := f.call(t, 12, req).(*kmsg.MetadataResponse)
	if topic := resp.Topics[0]; topic.ErrorCode != 0 || len(topic.Partitions) != int(f.backend.Partitions) {
		t.Errorf("%+v", topic)
	}
}
