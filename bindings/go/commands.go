package meshgossip

/*
#include <stdlib.h>
#include <mesh_gossip.h>
*/
import "C"

import (
	"context"
	"encoding/json"
	"time"
)

// DefaultTimeout is how long a call waits for the agent where its context has no deadline.
const DefaultTimeout = 10 * time.Second

// SetLabel sets a label of this member. It stands in the next snapshot.
func (a *Agent) SetLabel(key, value string) error {
	return a.label(key, &value)
}

// RemoveLabel removes a label of this member.
func (a *Agent) RemoveLabel(key string) error {
	return a.label(key, nil)
}

func (a *Agent) label(key string, value *string) error {
	var copies copied
	defer copies.free()
	name := copies.text("key", key)
	var content *C.char
	if value != nil {
		content = copies.text("value", *value)
	}
	if copies.err != nil {
		return copies.err
	}
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_set_label(agent, name, content, object)
	})
}

// Metadata is what a member says of itself; what is nil stays as it is.
type Metadata struct {
	Region       *string `json:"region,omitempty"`
	MeshVersion  *string `json:"meshVersion,omitempty"`
	Endpoint     *string `json:"endpoint,omitempty"`
	HTTP3Support *bool   `json:"http3Support,omitempty"`
	// Labels stand in place of all labels.
	Labels *map[string]string `json:"labels,omitempty"`
}

// SetMetadata says something else of this member. A mistake changes nothing.
func (a *Agent) SetMetadata(metadata Metadata) error {
	// JSON would put a replacement for what is no UTF-8, and say nothing.
	for _, part := range []struct {
		field string
		text  *string
	}{{"region", metadata.Region}, {"meshVersion", metadata.MeshVersion}, {"endpoint", metadata.Endpoint}} {
		if part.text != nil {
			if err := judge(part.field, *part.text); err != nil {
				return err
			}
		}
	}
	if metadata.Labels != nil {
		for key, value := range *metadata.Labels {
			// One by one: halves of a character make a whole where they stand side by side.
			for _, text := range []string{key, value} {
				if err := judge("labels", text); err != nil {
					return err
				}
			}
		}
	}
	said, err := json.Marshal(metadata)
	if err != nil {
		return err
	}
	var texts copied
	defer texts.free()
	text := texts.text("json", string(said))
	if texts.err != nil {
		return texts.err
	}
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_set_metadata(agent, text, object)
	})
}

// Lease is one lease, in the words of the host's queue.
type Lease struct {
	SequenceID int64  `json:"sequenceId"`
	Attempt    uint32 `json:"attempt"`
	LeaseID    string `json:"leaseId"`
}

// LeaseReport is what a host knows of the work of one peer.
type LeaseReport struct {
	ActiveAssignments    uint64  `json:"activeAssignments"`
	PendingReassignments uint64  `json:"pendingReassignments"`
	ActiveLeases         []Lease `json:"activeLeases,omitempty"`
}

// ReportLeases tells what the host knows of the work of a peer, in place of what it told before; nil
// forgets it.
func (a *Agent) ReportLeases(nodeID string, report *LeaseReport) error {
	var texts copied
	defer texts.free()
	name := texts.text("nodeID", nodeID)
	var said *C.char
	if report != nil {
		for _, lease := range report.ActiveLeases {
			if err := judge("LeaseID", lease.LeaseID); err != nil {
				return err
			}
		}
		document, err := json.Marshal(report)
		if err != nil {
			return err
		}
		said = texts.text("report", string(document))
	}
	if texts.err != nil {
		return texts.err
	}
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_report_leases(agent, name, said, object)
	})
}

// SetLifecycle publishes a lifecycle, [LifecycleActive] to [LifecycleDrained].
func (a *Agent) SetLifecycle(lifecycle Lifecycle) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_set_lifecycle(agent, C.uint32_t(lifecycle), object)
	})
}

// Cordon says that this member takes no new work.
func (a *Agent) Cordon() error {
	return a.SetLifecycle(LifecycleCordoned)
}

// Drain says that this member hands its work over.
func (a *Agent) Drain() error {
	return a.SetLifecycle(LifecycleDraining)
}

// Resume says that this member takes work.
func (a *Agent) Resume() error {
	return a.SetLifecycle(LifecycleActive)
}

// Join replaces the seeds, host:port, that the host named before; those of the settings stay. Names
// are looked up here, which may take a while.
func (a *Agent) Join(ctx context.Context, seeds ...string) error {
	_, err := within(ctx, func(time.Duration) (struct{}, error) { return struct{}{}, a.join(seeds) })
	return err
}

func (a *Agent) join(seeds []string) error {
	var copies copied
	defer copies.free()
	for _, seed := range seeds {
		copies.text("seeds", seed)
	}
	if copies.err != nil {
		return copies.err
	}
	var first **C.char
	if len(copies.strings) > 0 {
		first = &copies.strings[0]
	}
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_join(agent, first, C.size_t(len(seeds)), object)
	})
}

// Leave says goodbye and waits until enough members know, up to the deadline of the context or
// [DefaultTimeout]. The agent has to be closed afterwards all the same.
func (a *Agent) Leave(ctx context.Context) error {
	_, err := within(ctx, func(timeout time.Duration) (struct{}, error) {
		return struct{}{}, a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
			return C.mesh_gossip_agent_leave(agent, milliseconds(timeout), object)
		})
	})
	return err
}

// ForceLeave obeys an operator's signed order that a member's life is over, and passes it on.
func (a *Agent) ForceLeave(order []byte) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_force_leave(agent, address(order), C.size_t(len(order)), object)
	})
}

// Reload reads certificate, key, trust and revocation lists again; it returns once they are in
// force. What does not hold changes nothing; where our own certificate alone is refused (CodeCredentials),
// the one before stays and new trust is in force.
func (a *Agent) Reload() error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_reload(agent, object)
	})
}

// Certificates are credentials as bytes, from a store of secrets.
type Certificates struct {
	// Certificate is a PEM chain, leaf first, or a PKCS#12 store.
	Certificate []byte
	// Key is its PEM key; empty where the certificate's content holds it.
	Key []byte
	// CA is the PEM trust anchors; empty keeps those in force.
	CA []byte
	// Password is that of a PKCS#12 store; empty where there is none.
	Password string
}

// ReloadCertificates puts these in place of certificate, key and trust; it returns once they are in
// force. What does not hold changes nothing; where our own certificate alone is refused (CodeCredentials),
// the one before stays and new trust is in force.
func (a *Agent) ReloadCertificates(with Certificates) error {
	var texts copied
	defer texts.free()
	var password *C.char
	if with.Password != "" {
		password = texts.text("password", with.Password)
	}
	if texts.err != nil {
		return texts.err
	}
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_reload_certificates(agent, address(with.Certificate), C.size_t(len(with.Certificate)),
			address(with.Key), C.size_t(len(with.Key)), address(with.CA), C.size_t(len(with.CA)), password, object)
	})
}

// AddRevocationLists takes revocation lists, PEM or DER, beside those of the files.
func (a *Agent) AddRevocationLists(lists []byte) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_add_revocation_lists(agent, address(lists), C.size_t(len(lists)), object)
	})
}

// Broadcast says something to every member: an [EventBroadcast] at each of their hosts. About
// 1,024 bytes at most, 128 at once and 100 a second.
func (a *Agent) Broadcast(topic uint16, content []byte) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_broadcast(agent, C.uint16_t(topic), address(content), C.size_t(len(content)), object)
	})
}

// BroadcastLatest is [Agent.Broadcast] in place of what this member said before under the same topic
// and key, where that is still on its way: who has not heard it yet is spared it.
func (a *Agent) BroadcastLatest(topic uint16, key uint64, content []byte) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_broadcast_latest(agent, C.uint16_t(topic), C.uint64_t(key), address(content),
			C.size_t(len(content)), object)
	})
}

// SendTo says something to one member: one datagram, which may be lost.
func (a *Agent) SendTo(member MemberID, topic uint16, content []byte) error {
	return a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_send_to(agent, address(member[:]), C.uint16_t(topic), address(content),
			C.size_t(len(content)), object)
	})
}

// Runs a call that may take a while. Where the context ends first its error is returned at once;
// the call itself cannot be broken off, and what it asked for may still happen.
func within[T any](ctx context.Context, call func(timeout time.Duration) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	timeout := DefaultTimeout
	if deadline, limited := ctx.Deadline(); limited {
		timeout = time.Until(deadline)
	}
	if ctx.Done() == nil {
		return call(timeout)
	}
	done := make(chan outcome[T], 1)
	go func() {
		value, err := call(timeout)
		done <- outcome[T]{value, err}
	}()
	select {
	case outcome := <-done:
		return outcome.value, outcome.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

type outcome[T any] struct {
	value T
	err   error
}

// Rounded up: no wait that was wanted becomes none.
func milliseconds(timeout time.Duration) C.uint64_t {
	if timeout <= 0 {
		return 0
	}
	whole := timeout / time.Millisecond
	if timeout%time.Millisecond != 0 {
		whole++
	}
	return C.uint64_t(whole)
}
