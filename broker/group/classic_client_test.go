package group

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
)

// joiner is a client of the classic protocol as the model has it. Partitions are letters.
type joiner struct {
	id, instance string
	cooperative  bool

	stage      stage
	token      Token // of the request that it waits for
	generation int32
	leads      bool
	skip       bool // it leads, and need not assign
	members    []JoinedMember
	owns       string // what it reads
	silent     bool   // it has crashed, or its network has
}

// stage is what a client does next.
type stage string

const (
	joins   stage = "joins"   // it is to join
	joining stage = "joining" // it waits for the answer
	joined  stage = "joined"  // it is to sync
	syncing stage = "syncing" // it waits for the answer
	reads   stage = "reads"   // it sends heartbeats
)

const allPartitions = "abcdefg"

// next is the client's next request; nil if it waits.
func (j *joiner) next(newID func() string) Event {
	switch j.stage {
	case joins:
		if !j.cooperative {
			j.owns = "" // it stops before it joins
		}
		j.stage = joining
		return Join{MemberID: j.id, NewID: newID(), InstanceID: j.instance, Session: 10 * 1e9, Rebalance: 15 * 1e9, ProtocolType: "consumer",
			Protocols: []Protocol{{"p", fmt.Appendf(nil, "%d:%s", j.generation, j.owns)}}, RequireMemberID: true, SkipAssignment: true}
	case joined:
		j.stage = syncing
		ev := Sync{MemberID: j.id, InstanceID: j.instance, Generation: j.generation}
		if j.leads && !j.skip {
			ev.Assignments = assignment(j.members, j.cooperative)
		}
		return ev
	case reads:
		return Heartbeat{MemberID: j.id, InstanceID: j.instance, Generation: j.generation}
	}
	return nil
}

// assignment is what a leader gives to the members. A cooperative one gives nothing that another says it has: that is let go of first,
// and given in the next generation. What a member has of a generation before the last does not count: it has missed one (KIP-792).
func assignment(members []JoinedMember, cooperative bool) []Assignment {
	share := (len(allPartitions) + len(members) - 1) / len(members)
	given := make([]string, len(members))
	generations, claims, latest := make([]int, len(members)), make([]string, len(members)), 0
	for i, m := range members {
		fmt.Sscanf(string(m.Metadata), "%d:%s", &generations[i], &claims[i])
		latest = max(latest, generations[i])
	}
	taken := ""
	for i, claim := range claims {
		if cooperative && generations[i] == latest {
			given[i] = claim[:min(len(claim), share)]
			taken += claim
		}
	}
	for _, p := range allPartitions {
		if slices.Contains([]rune(taken), p) {
			continue
		}
		least := 0
		for i := range given {
			if len(given[i]) < len(given[least]) {
				least = i
			}
		}
		given[least] += string(p)
	}
	var out []Assignment
	for i, m := range members {
		out = append(out, Assignment{m.MemberID, []byte(given[i])})
	}
	return out
}

// answered takes an answer.
func (j *joiner) answered(a Answer) {
	var err *kerr.Error
	switch a := a.(type) {
	case Joined:
		if err = a.Err; err == nil {
			if a.Generation > j.generation+1 {
				j.owns = "" // it has missed a generation, in which others may have been given it
			}
			j.stage, j.generation, j.members = joined, a.Generation, a.Members
			j.id, j.leads, j.skip = a.MemberID, a.Leader == a.MemberID, a.SkipAssignment
		}
		if err == kerr.MemberIDRequired {
			j.id = a.MemberID
		}
	case Synced:
		if err = a.Err; err == nil {
			j.stage = reads
			had := j.owns
			j.owns = string(a.Assignment)
			for _, p := range had {
				if j.cooperative && !slices.Contains([]rune(j.owns), p) {
					j.stage = joins // it has let go of something: another may have it now
				}
			}
		}
	case Done:
		err = a.Err
	}
	switch err {
	case nil:
		return
	case kerr.UnknownMemberID, kerr.FencedInstanceID:
		j.id, j.owns, j.generation = "", "", 0
	case kerr.IllegalGeneration:
		j.owns = ""
	}
	j.stage = joins
}

func (j *joiner) String() string {
	return fmt.Sprintf("%s/%s %s generation=%d owns=%q", j.id, j.instance, j.stage, j.generation, j.owns)
}
