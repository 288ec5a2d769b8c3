package api

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
)

// IncrementalAlterConfigs: versions 0 and 1, all that kmsg knows.
//
// Each config that is sent is set, goes back to its default, or, if it is a list, gets or loses elements; the others stay as they are.
func incrementalAlterConfigs(b *Backend) API {
	return serve(44, serial(b.atController(func(b *Backend) Handler { return (&configAlterer{b}).edit })))
}

func (a *configAlterer) edit(ctx context.Context, r *Request) (kmsg.Response, error) {
	req := r.Body.(*kmsg.IncrementalAlterConfigsRequest)
	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	wanted := make([]alteration, len(req.Resources))
	for i := range req.Resources {
		resource := &req.Resources[i]
		wanted[i] = alteration{resource.ResourceType, resource.ResourceName, func(t *metadata.Topic) (set []kfs.Config, remove []string, err error) {
			return edition(t, resource.Configs)
		}}
	}
	for i, err := range a.alter(ctx, wanted, req.ValidateOnly) {
		answer := kmsg.NewIncrementalAlterConfigsResponseResource()
		answer.ResourceType, answer.ResourceName = wanted[i].kind, wanted[i].name
		answer.ErrorCode, answer.ErrorMessage = Code(err), message(err)
		resp.Resources = append(resp.Resources, answer)
	}
	return resp, nil
}

// edition is what the operations set and remove.
func edition(t *metadata.Topic, configs []kmsg.IncrementalAlterConfigsRequestResourceConfig) (set []kfs.Config, remove []string, err error) {
	seen := map[string]bool{}
	for _, c := range configs {
		switch {
		case seen[c.Name]:
			return nil, nil, refuse(kerr.InvalidRequest, fmt.Sprintf("config %s is given twice", c.Name))
		case c.Op != kmsg.IncrementalAlterConfigOpDelete && c.Value == nil:
			return nil, nil, refuse(kerr.InvalidRequest, fmt.Sprintf("config %s has no value", c.Name))
		}
		seen[c.Name] = true
		switch c.Op {
		case kmsg.IncrementalAlterConfigOpSet:
			set = append(set, kfs.Config{Key: c.Name, Value: *c.Value})
		case kmsg.IncrementalAlterConfigOpDelete:
			remove = append(remove, c.Name)
		case kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract:
			value, err := editList(t, c.Name, *c.Value, c.Op == kmsg.IncrementalAlterConfigOpAppend)
			if err != nil {
				return nil, nil, err
			}
			set = append(set, kfs.Config{Key: c.Name, Value: value})
		default:
			return nil, nil, refuse(kerr.InvalidRequest, fmt.Sprintf("config %s: operation %d is not known", c.Name, c.Op))
		}
	}
	return set, remove, nil
}

// editList adds elements to the value that a list has for the topic, or takes them away. What is there, or is not, already changes nothing.
func editList(t *metadata.Topic, name, elements string, add bool) (string, error) {
	values := t.ConfigValues()
	i := slices.IndexFunc(values, func(v metadata.ConfigValue) bool { return v.Name == name })
	switch {
	case i < 0:
		return "", fmt.Errorf("topic %s: %w: unknown name %q", t.Name, metadata.ErrInvalidConfig, name)
	case values[i].Type != metadata.TypeList:
		return "", fmt.Errorf("topic %s: %w: %s is no list", t.Name, metadata.ErrInvalidConfig, name)
	}
	list := splitList(values[i].Value)
	for e := range strings.SplitSeq(elements, ",") { // an empty one is an element too, which no config takes
		e = strings.TrimSpace(e)
		at := slices.Index(list, e)
		switch {
		case add && at < 0:
			list = append(list, e)
		case !add && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ","), nil
}

func splitList(value string) (list []string) {
	for e := range strings.SplitSeq(value, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}
