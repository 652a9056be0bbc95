package meshgossip

/*
#include <mesh_gossip.h>
*/
import "C"

import (
	"encoding/hex"
	"fmt"
)

// MemberID is the id of a member within the mesh; zero stands for nobody.
type MemberID [16]byte

// String is the id in hexadecimal digits.
func (id MemberID) String() string {
	return hex.EncodeToString(id[:])
}

// IsZero tells whether the id stands for nobody.
func (id MemberID) IsZero() bool {
	return id == MemberID{}
}

// Status is how a member is.
type Status uint32

const (
	// StatusAlive: in touch.
	StatusAlive Status = C.MESH_GOSSIP_STATUS_ALIVE
	// StatusSuspect: doubted; may still refute.
	StatusSuspect Status = C.MESH_GOSSIP_STATUS_SUSPECT
	// StatusFailed: judged failed, or its certificate is revoked.
	StatusFailed Status = C.MESH_GOSSIP_STATUS_FAILED
	// StatusLeft: left by its own word, or an operator's.
	StatusLeft Status = C.MESH_GOSSIP_STATUS_LEFT
)

func (s Status) String() string {
	return named(s, "status", map[Status]string{
		StatusAlive: "alive", StatusSuspect: "suspect", StatusFailed: "failed", StatusLeft: "left",
	})
}

// Lifecycle is what a member says of its work.
type Lifecycle uint32

const (
	// LifecycleActive: takes work.
	LifecycleActive Lifecycle = C.MESH_GOSSIP_LIFECYCLE_ACTIVE
	// LifecycleCordoned: takes no new work.
	LifecycleCordoned Lifecycle = C.MESH_GOSSIP_LIFECYCLE_CORDONED
	// LifecycleDraining: hands its work over.
	LifecycleDraining Lifecycle = C.MESH_GOSSIP_LIFECYCLE_DRAINING
	// LifecycleDrained: holds no work.
	LifecycleDrained Lifecycle = C.MESH_GOSSIP_LIFECYCLE_DRAINED
	// LifecycleLeaving: has said goodbye.
	LifecycleLeaving Lifecycle = C.MESH_GOSSIP_LIFECYCLE_LEAVING
)

func (l Lifecycle) String() string {
	return named(l, "lifecycle", map[Lifecycle]string{
		LifecycleActive: "active", LifecycleCordoned: "cordoned", LifecycleDraining: "draining",
		LifecycleDrained: "drained", LifecycleLeaving: "leaving",
	})
}

// Reason is why a member left.
type Reason uint32

const (
	// ReasonLeft: by its own word, or an operator's.
	ReasonLeft Reason = C.MESH_GOSSIP_REASON_LEFT
	// ReasonFailed: judged failed.
	ReasonFailed Reason = C.MESH_GOSSIP_REASON_FAILED
	// ReasonRevoked: its certificate is revoked.
	ReasonRevoked Reason = C.MESH_GOSSIP_REASON_REVOKED
)

func (r Reason) String() string {
	return named(r, "reason", map[Reason]string{
		ReasonLeft: "left", ReasonFailed: "failed", ReasonRevoked: "revoked",
	})
}

// EventKind is what an event tells.
type EventKind uint32

const (
	// EventJoined: a member that was unknown is alive.
	EventJoined EventKind = C.MESH_GOSSIP_EVENT_JOINED
	// EventRecovered: a suspect or departed member is alive.
	EventRecovered EventKind = C.MESH_GOSSIP_EVENT_RECOVERED
	// EventSuspected: a member is doubted.
	EventSuspected EventKind = C.MESH_GOSSIP_EVENT_SUSPECTED
	// EventUnreachable: a suspect whom nobody else can tell about either.
	EventUnreachable EventKind = C.MESH_GOSSIP_EVENT_UNREACHABLE
	// EventLeft: a member is gone.
	EventLeft EventKind = C.MESH_GOSSIP_EVENT_LEFT
	// EventUpdated: a member says something else of itself.
	EventUpdated EventKind = C.MESH_GOSSIP_EVENT_UPDATED
	// EventForgotten: a departed member is listed no longer.
	EventForgotten EventKind = C.MESH_GOSSIP_EVENT_FORGOTTEN
	// EventLeaderChanged: somebody else leads a scope, nobody does, or under another term.
	EventLeaderChanged EventKind = C.MESH_GOSSIP_EVENT_LEADER_CHANGED
	// EventRefuted: others doubted this agent; it answered.
	EventRefuted EventKind = C.MESH_GOSSIP_EVENT_REFUTED
	// EventConflict: two records claim one incarnation of a member.
	EventConflict EventKind = C.MESH_GOSSIP_EVENT_CONFLICT
	// EventAlarm: something that somebody has to look at.
	EventAlarm EventKind = C.MESH_GOSSIP_EVENT_ALARM
	// EventRecordRejected: a record was refused.
	EventRecordRejected EventKind = C.MESH_GOSSIP_EVENT_RECORD_REJECTED
	// EventJoinComplete: the first full exchange with the mesh is done.
	EventJoinComplete EventKind = C.MESH_GOSSIP_EVENT_JOIN_COMPLETE
	// EventLeaveComplete: the leave is done.
	EventLeaveComplete EventKind = C.MESH_GOSSIP_EVENT_LEAVE_COMPLETE
	// EventOverflow: events were lost because they were not received: resynchronise from a snapshot.
	EventOverflow EventKind = C.MESH_GOSSIP_EVENT_OVERFLOW
	// EventBroadcast: a member's host said this to everybody.
	EventBroadcast EventKind = C.MESH_GOSSIP_EVENT_BROADCAST
	// EventMessage: a member's host said this to this agent alone.
	EventMessage EventKind = C.MESH_GOSSIP_EVENT_MESSAGE
	// EventMissed: broadcasts and messages were lost because they were not received.
	EventMissed EventKind = C.MESH_GOSSIP_EVENT_MISSED
	// EventEnded: the agent has stopped: the last event of all.
	EventEnded EventKind = C.MESH_GOSSIP_EVENT_ENDED
)

var eventKinds = map[EventKind]string{
	EventJoined:         "joined",
	EventRecovered:      "recovered",
	EventSuspected:      "suspected",
	EventUnreachable:    "unreachable",
	EventLeft:           "left",
	EventUpdated:        "updated",
	EventForgotten:      "forgotten",
	EventLeaderChanged:  "leader changed",
	EventRefuted:        "refuted",
	EventConflict:       "conflict",
	EventAlarm:          "alarm",
	EventRecordRejected: "record rejected",
	EventJoinComplete:   "join complete",
	EventLeaveComplete:  "leave complete",
	EventOverflow:       "overflow",
	EventBroadcast:      "broadcast",
	EventMessage:        "message",
	EventMissed:         "missed",
	EventEnded:          "ended",
}

func (k EventKind) String() string {
	return named(k, "event", eventKinds)
}

// A library may know more than this package: what has no name keeps its number.
func named[T ~uint32](value T, what string, names map[T]string) string {
	if name, known := names[value]; known {
		return name
	}
	return fmt.Sprintf("%s %d", what, uint32(value))
}
