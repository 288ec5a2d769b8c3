package api

import (
	"context"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ListGroups: versions 0 to 5, all that kmsg knows.
//
// A broker lists the groups that it coordinates. Version 4 can ask for states and version 5 for types: "classic" and "consumer". After
// a takeover a group is classic until a member joins: what it was is not durable.
func listGroups(g *Groups) API {
	return serve(16, concurrent(func(ctx context.Context, r *Request) (kmsg.Response, error) {
		req := r.Body.(*kmsg.ListGroupsRequest)
		resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
		for number := range max(g.Cluster.State().Cluster().Journals, 1) {
			c, err := g.Coordinators.Coordinator(number)
			if err != nil {
				continue // another broker lists those
			}
			list, err := c.List()
			if err != nil {
				continue // as above, by now
			}
			for _, l := range list {
				if !asked(req.StatesFilter, string(l.State)) || !asked(req.TypesFilter, string(l.Type)) {
					continue
				}
				listed := kmsg.NewListGroupsResponseGroup()
				listed.Group, listed.ProtocolType, listed.GroupState, listed.GroupType = l.Group, l.ProtocolType, string(l.State), string(l.Type)
				if err := r.Reserve(ctx, int64(elementBytes+2*len(l.Group)+2*len(l.ProtocolType))); err != nil {
					return nil, err
				}
				resp.Groups = append(resp.Groups, listed)
			}
		}
		return resp, nil
	}))
}

// asked reports whether a filter, of which an empty one lets all pass, names a value, in upper or lower case.
func asked(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
}
