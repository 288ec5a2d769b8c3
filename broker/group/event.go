package group

import (
	"time"

	"github.com/firn-io/firn/broker/metadata"
	"github.com/firn-io/firn/kfs"
	"github.com/twmb/franz-go/pkg/kerr"
)

// Token names a request that waits for its answer. It is never 0.
type Token uint64

// Event is what can happen to a group: the concrete types are the ones in this file. All but Tick are requests.
type Event interface{ with(Token) Event }

// Protocol is one way of assigning that a member knows, with what the member tells the leader for it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Join is a JoinGroup request. The group keeps its byte slices.
type Join struct {
	Token           Token
	MemberID        string // "" if the client has none yet
	NewID           string // what the member is called if it gets a new id; never used before
	InstanceID      string // "" for a dynamic member
	ClientID, Host  string
	Session         time.Duration
	Rebalance       time.Duration
	ProtocolType    string
	Protocols       []Protocol // the one that the member likes best first
	RequireMemberID bool       // a new dynamic member has to come back with the id that it is given (KIP-394)
	SkipAssignment  bool       // the client understands Joined.SkipAssignment (KIP-814)
}

// Sync is a SyncGroup request. The group keeps its byte slices.
type Sync struct {
	Token                Token
	MemberID, InstanceID string
	Generation           int32
	ProtocolType         string // "" if the request does not say
	Protocol             string // "" if the request does not say
	Assignments          []Assignment
}

// Assignment is what the leader gives to a member.
type Assignment struct {
	MemberID string
	Bytes    []byte
}

// Heartbeat says that a member is alive.
type Heartbeat struct {
	Token                Token
	MemberID, InstanceID string
	Generation           int32
}

// Leave takes members out of the group.
type Leave struct {
	Token   Token
	Members []LeavingMember
}

// LeavingMember names a member by its id, or a static one by its instance id alone.
type LeavingMember struct{ MemberID, InstanceID string }

// Commit is an OffsetCommit request. Generation -1 without a member is a client that assigns itself, or a tool.
type Commit struct {
	Token                Token
	MemberID, InstanceID string
	Generation           int32 // or the member's epoch
	NoEpochs             bool  // the request's version is older than epochs
	Offsets              []kfs.GroupOffset
}

// ConsumerHeartbeat is a ConsumerGroupHeartbeat request. What is nil or zero, where that is said, is as it was before. The group keeps
// its slices.
type ConsumerHeartbeat struct {
	Token          Token
	MemberID       string // "" if the member leaves it to the coordinator to find one
	NewID          string // what the member is called then
	Epoch          int32  // 0 joins, -1 leaves, -2 leaves and will be back
	InstanceID     string // "" for a dynamic member
	Rack           *string
	ClientID, Host string
	Rebalance      time.Duration     // how long it may take to let go of partitions; 0 is as before
	Topics         []string          // names; nil is as before
	Regex          *string           // names of topics as a regular expression, "" for none; nil is as before
	Assignor       string            // "" is as before
	Owned          []kfs.PartitionID // nil is as before
	Cluster        *metadata.State   // the topics at this time
}

// The epochs of a ConsumerHeartbeat that are none.
const (
	epochJoin        = 0
	epochLeave       = -1
	epochLeaveStatic = -2
)

// Delete ends the group and its offsets.
type Delete struct{ Token Token }

// Tick lets time pass: Group.Next says when it is due.
type Tick struct{}

func (ev Join) with(t Token) Event              { ev.Token = t; return ev }
func (ev Sync) with(t Token) Event              { ev.Token = t; return ev }
func (ev Heartbeat) with(t Token) Event         { ev.Token = t; return ev }
func (ev Leave) with(t Token) Event             { ev.Token = t; return ev }
func (ev Commit) with(t Token) Event            { ev.Token = t; return ev }
func (ev Delete) with(t Token) Event            { ev.Token = t; return ev }
func (ev ConsumerHeartbeat) with(t Token) Event { ev.Token = t; return ev }
func (ev Tick) with(Token) Event                { return ev }

// Effect is what follows from an event: Reply, Persist or Expire.
type Effect interface{ effect() }

// Reply answers a request.
type Reply struct {
	To     Token
	Answer Answer
}

// Persist says that a commit is allowed: its offsets are to be made durable, and then it is answered.
type Persist struct {
	To      Token
	Offsets []kfs.GroupOffset
}

// Expire says that the group is dead and its offsets are to be deleted.
type Expire struct{}

func (Reply) effect()   {}
func (Persist) effect() {}
func (Expire) effect()  {}

// Answer is what a request gets. In all of them a nil error is success. Byte slices belong to the group.
type Answer interface{ answer() }

// Joined answers Join.
type Joined struct {
	Err            *kerr.Error
	Generation     int32 // -1 beside an error
	ProtocolType   string
	Protocol       string
	Leader         string
	SkipAssignment bool
	MemberID       string
	Members        []JoinedMember // to the leader only
}

// JoinedMember is a member as the leader sees it.
type JoinedMember struct {
	MemberID, InstanceID string
	Metadata             []byte
}

// Synced answers Sync.
type Synced struct {
	Err                    *kerr.Error
	ProtocolType, Protocol string
	Assignment             []byte
}

// Left answers Leave, in the order of its members.
type Left struct{ Members []LeftMember }

// LeftMember says whether a member has left.
type LeftMember struct {
	LeavingMember
	Err *kerr.Error
}

// Beaten answers ConsumerHeartbeat.
type Beaten struct {
	Err      *kerr.Error
	Message  string // beside an error; may be ""
	MemberID string
	Epoch    int32
	Interval time.Duration
	// Assignment is what the member has from now on, sorted; it is news if Assigned is set.
	Assignment []kfs.PartitionID
	Assigned   bool
}

// Done answers Heartbeat and Delete, and a Commit that is refused.
type Done struct{ Err *kerr.Error }

func (Joined) answer() {}
func (Synced) answer() {}
func (Left) answer()   {}
func (Beaten) answer() {}
func (Done) answer()   {}
