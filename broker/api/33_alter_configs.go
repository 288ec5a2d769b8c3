package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// AlterConfigs: versions 0 to 2, all that kmsg knows.
//
// The configs that are sent become all that a topic has: what is not among them goes back to its default. Clients of today send
// IncrementalAlterConfigs instead.
func alterConfigs(b *Backend) API {
	return serve(33, serial(b.atController(func(b *Backend) Handler { return (&configAlterer{b}).replace })))
}

// configAlterer changes the configs of topics; those of a broker are its own settings, and refused. A change is durable, and in
// force on this broker, when it is answered. A topic's configs change together or not at all.
type configAlterer struct{ *Backend }

func (a *configAlterer) replace(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.AlterConfigsRequest)
	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	wanted := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		resource := &req.Resources[i]
		wanted[i] = alteration{resource.ResourceType, resource.ResourceName, func(t *metadata.Topic) (set []kfs.Config, remove []string, err error) {
			return replacement(t, resource.Configs)
		}}
	}
	for i, err := range a.alter(ctx, wanted, req.ValidateOnly) {
		answer := kmsg.NewAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = wanted[i].kind, wanted[i].name
		answer.ErrorCode, answer.ErrorMessage = Code(err), message(err)
		resp.Resources = append(resp.Resources, answer)
	}
	return resp, nil
}

// replacement sets the given configs and removes all others.
func replacement(t *metadata.Topic, configs []kmsg.AlterConfigsRequestResourceConfig) (set []kfs.Config, remove []string, err error) {
	seen := map[string]bool{}
	for _, c := range configs {
		switch {
		case seen[c.Name]:
			return nil, nil, refuse(kerr.InvalidRequest, fmt.Sprintf("config %s is given twice", c.Name))
		case c.Value == nil:
			return nil, nil, refuse(kerr.InvalidRequest, fmt.Sprintf("config %s has no value", c.Name))
		}
		seen[c.Name] = true
		set = append(set, kfs.Config{Key: c.Name, Value: *c.Value})
	}
	for _, c := range t.Configs {
		remove = append(remove, c.Key)
	}
	return set, remove, nil
}

// alteration is a wanted change of one resource's configs.
type alteration struct {
	kind kmsg.ConfigResourceType
	name string
	plan func(*metadata.Topic) (set []kfs.Config, remove []string, err error)
}

// alter makes the changes and gives an error for each. With validateOnly it only says whether they could be made.
func (a *configAlterer) alter(ctx context.Context, wanted []alteration, validateOnly bool) []error {
	outcome := make([]error, len(wanted))
	plan := func(s *metadata.State) ([]kfs.Entry, error) {
		draft := s.Edit()
		var entries []kfs.Entry
		for i := range wanted {
			var changed *kfs.Topic
			if changed, outcome[i] = planAlteration(draft.State(), wanted, i); outcome[i] != nil || changed == nil {
				continue
			}
			if outcome[i] = draft.Apply(*changed); outcome[i] == nil {
				entries = append(entries, *changed)
			}
		}
		return entries, nil
	}
	var err error
	if validateOnly {
		_, err = plan(a.Cluster.State())
	} else {
		err = a.Controller.Change(ctx, plan)
	}
	for i := range outcome {
		if outcome[i] == nil {
			outcome[i] = err
		}
	}
	return outcome
}

// planAlteration plans the change of one resource; nil if it is as wanted already.
func planAlteration(s *metadata.State, wanted []alteration, i int) (*kfs.Topic, error) {
	w := &wanted[i]
	for j := range wanted {
		if i != j && wanted[j].kind == w.kind && wanted[j].name == w.name {
			return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("%q is named twice", w.name))
		}
	}
	switch w.kind {
	case kmsg.ConfigResourceTypeTopic:
	case kmsg.ConfigResourceTypeBroker, kmsg.ConfigResourceTypeBrokerLogger:
		return nil, refuse(kerr.InvalidRequest, "a broker's configs are the settings that it was started with: change them there and start it again")
	case kmsg.ConfigResourceTypeGroupConfig:
		return nil, refuse(kerr.InvalidRequest, groupConfigs)
	default:
		return nil, refuse(kerr.InvalidRequest, fmt.Sprintf("configs of resource type %d are not known", w.kind))
	}
	if w.name == "" {
		return nil, refuse(kerr.InvalidRequest, "topics have no common defaults to change: name a topic")
	}
	topic, missing := byValidName(s, w.name)
	if missing != nil {
		topic = &metadata.Topic{} // what is wrong with the configs is told first, as in Kafka
	}
	set, remove, err := w.plan(topic)
	if err != nil {
		return nil, err
	}
	if missing != nil {
		if _, invalid := metadata.ParseSettings(set); invalid != nil && errors.Is(missing, errUnknownTopic) {
			return nil, invalid
		}
		return nil, missing
	}
	changed, err := s.AlterConfigs(topic.ID, set, remove)
	if err != nil || slices.Equal(changed.Configs, topic.Configs) {
		return nil, err
	}
	return &changed, nil
}
