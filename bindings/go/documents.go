package meshgossip

/*
#include <mesh_gossip.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"time"
	"unsafe"
)

// Health is how an agent is.
type Health struct {
	// Joined: the first full exchange with the mesh is done.
	Joined bool
	// Ready: it may be given work: joined, a member in its own view, and not draining.
	Ready bool
	// Draining: it hands its work over, or has done so.
	Draining bool
}

// Health tells how the agent is; success means that it answers. It waits up to the deadline of the
// context, or [DefaultTimeout].
func (a *Agent) Health(ctx context.Context) (Health, error) {
	return within(ctx, func(timeout time.Duration) (Health, error) {
		var bits C.uint32_t
		err := a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
			return C.mesh_gossip_agent_health(agent, milliseconds(timeout), &bits, object)
		})
		return Health{
			Joined:   bits&C.MESH_GOSSIP_HEALTH_JOINED != 0,
			Ready:    bits&C.MESH_GOSSIP_HEALTH_READY != 0,
			Draining: bits&C.MESH_GOSSIP_HEALTH_DRAINING != 0,
		}, err
	})
}

// PeersJSON is what GET /control/peers answers. It waits like [Agent.Health].
func (a *Agent) PeersJSON(ctx context.Context) (json.RawMessage, error) {
	text, err := a.document(ctx, func(agent *C.mesh_gossip_agent, timeout C.uint64_t,
		out **C.mesh_gossip_text, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_peers_json(agent, timeout, out, object)
	})
	return json.RawMessage(text), err
}

// LeadersJSON is what GET /control/leaders answers, of the scope of this name or, for "", of all.
// It waits like [Agent.Health].
func (a *Agent) LeadersJSON(ctx context.Context, scope string) (json.RawMessage, error) {
	if err := judge("scope", scope); err != nil {
		return nil, err
	}
	// With the zero byte that C reads up to; the call may outlast this function, and so does it.
	name := append([]byte(scope), 0)
	text, err := a.document(ctx, func(agent *C.mesh_gossip_agent, timeout C.uint64_t,
		out **C.mesh_gossip_text, object **C.mesh_gossip_error) C.mesh_gossip_result {
		if scope == "" {
			return C.mesh_gossip_agent_leaders_json(agent, nil, timeout, out, object)
		}
		return C.mesh_gossip_agent_leaders_json(agent, (*C.char)(unsafe.Pointer(&name[0])), timeout, out, object)
	})
	return json.RawMessage(text), err
}

// LeaseHealthJSON is what GET /control/lease-health answers: who may be given work, and what was
// reported of whom. It waits like [Agent.Health].
func (a *Agent) LeaseHealthJSON(ctx context.Context) (json.RawMessage, error) {
	text, err := a.document(ctx, func(agent *C.mesh_gossip_agent, timeout C.uint64_t,
		out **C.mesh_gossip_text, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_lease_health_json(agent, timeout, out, object)
	})
	return json.RawMessage(text), err
}

// MetricsText is the metrics in Prometheus' text format. It waits like [Agent.Health].
func (a *Agent) MetricsText(ctx context.Context) (string, error) {
	text, err := a.document(ctx, func(agent *C.mesh_gossip_agent, timeout C.uint64_t,
		out **C.mesh_gossip_text, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_metrics_text(agent, timeout, out, object)
	})
	return string(text), err
}

// Contact is what an agent's own exchanges with one member showed.
type Contact struct {
	// Last is when a datagram of it came last.
	Last time.Time
	// RTT is the smoothed round-trip time; 0: none was measured.
	RTT time.Duration
}

// Contacts tells round-trip times and last contacts, of those members that this agent has exchanged
// anything with. It waits like [Agent.Health].
func (a *Agent) Contacts(ctx context.Context) (map[MemberID]Contact, error) {
	return within(ctx, func(timeout time.Duration) (map[MemberID]Contact, error) {
		var contacts *C.mesh_gossip_contacts
		err := a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
			return C.mesh_gossip_agent_contacts(agent, milliseconds(timeout), &contacts, object)
		})
		if err != nil {
			return nil, err
		}
		defer C.mesh_gossip_contacts_free(contacts)
		count, stride := int(C.mesh_gossip_contacts_len(contacts)), uintptr(C.mesh_gossip_contacts_stride())
		copies := make(map[MemberID]Contact, count)
		first := unsafe.Pointer(C.mesh_gossip_contacts_at(contacts, 0))
		for index := 0; index < count; index++ {
			record := (*C.mesh_gossip_contact)(unsafe.Add(first, uintptr(index)*stride))
			copies[memberID(&record.id)] = Contact{
				Last: time.UnixMilli(int64(record.last_unix_ms)),
				RTT:  time.Duration(record.rtt_us) * time.Microsecond,
			}
		}
		return copies, nil
	})
}

type documentOf func(*C.mesh_gossip_agent, C.uint64_t, **C.mesh_gossip_text, **C.mesh_gossip_error) C.mesh_gossip_result

func (a *Agent) document(ctx context.Context, ask documentOf) ([]byte, error) {
	return within(ctx, func(timeout time.Duration) ([]byte, error) {
		var text *C.mesh_gossip_text
		err := a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
			return ask(agent, milliseconds(timeout), &text, object)
		})
		if err != nil {
			return nil, err
		}
		defer C.mesh_gossip_text_free(text)
		content := unsafe.Slice((*byte)(unsafe.Pointer(C.mesh_gossip_text_data(text))), int(C.mesh_gossip_text_len(text)))
		return append([]byte(nil), content...), nil
	})
}
