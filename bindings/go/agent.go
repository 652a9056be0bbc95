package meshgossip

/*
#include <mesh_gossip.h>
*/
import "C"

import (
	"runtime"
	"sync"
	"unsafe"
)

// Agent is a member of a mesh, with an engine of its own.
//
// Freeing is the one thing that may not run beside another call. Calls therefore hold `life` for
// reading and Close for writing; Close stops the agent first, so that calls under way return.
type Agent struct {
	nodeID  string
	address string

	life   sync.RWMutex
	handle *C.mesh_gossip_agent

	closing  sync.Once
	closed   chan struct{}
	closeErr error

	view   view
	stream stream
}

// StartOption is something that only a program can say.
type StartOption func(*startOptions)

type startOptions struct {
	eventsCapacity uint
}

// EventsCapacity says how many events may wait for the channel of [Agent.Events] beside those
// within the engine (`mesh:gossip:limits:events`); 1,024 where it is not said.
func EventsCapacity(events uint) StartOption {
	return func(start *startOptions) { start.eventsCapacity = events }
}

// Start starts an agent. It returns once its ports are bound; joining the mesh goes on by itself
// and ends with an [EventJoinComplete] where there is anybody to join. It blocks while files are
// read and names looked up.
func Start(options *Options, more ...StartOption) (*Agent, error) {
	var start C.mesh_gossip_start_options
	if err := failure(C.mesh_gossip_start_options_init(&start, C.size_t(unsafe.Sizeof(start))), nil); err != nil {
		return nil, err
	}
	var said startOptions
	for _, option := range more {
		option(&said)
	}
	start.events_capacity = C.size_t(said.eventsCapacity)
	var handle *C.mesh_gossip_agent
	err := options.with(func(options *C.mesh_gossip_options) error {
		return invoke(func(object **C.mesh_gossip_error) C.mesh_gossip_result {
			return C.mesh_gossip_agent_start_with(options, &start, &handle, object)
		})
	})
	if err != nil {
		return nil, err
	}
	agent := &Agent{
		nodeID:  C.GoString(C.mesh_gossip_agent_node_id(handle)),
		address: C.GoString(C.mesh_gossip_agent_address(handle)),
		handle:  handle,
		closed:  make(chan struct{}),
	}
	// A net below Close, for whoever forgets it; stopping waits, which finalizers must not.
	runtime.SetFinalizer(agent, func(agent *Agent) { go agent.Close() })
	return agent, nil
}

// NodeID is the agent's name within the cluster.
func (a *Agent) NodeID() string {
	return a.nodeID
}

// Address is the address:port that the agent listens on.
func (a *Agent) Address() string {
	return a.address
}

// Stop stops without a goodbye; it returns once the ports are free. Calls under way fail with
// [CodeStopped]. Events that came before can still be received, the last one being [EventEnded].
// Again, it does nothing.
func (a *Agent) Stop() error {
	a.life.RLock()
	defer a.life.RUnlock()
	if a.handle == nil {
		return nil
	}
	return invoke(func(object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_stop(a.handle, object)
	})
}

// Close stops the agent where it runs, and frees it. The channel of [Agent.Events] is closed and
// events that nobody received are lost; snapshots remain good. It waits for calls under way, which
// end early but for a look-up of names in [Agent.Join]. Again, it does nothing but tell what it told
// before.
func (a *Agent) Close() error {
	a.closing.Do(func() {
		runtime.SetFinalizer(a, nil)
		close(a.closed)
		a.closeErr = a.Stop()
		a.life.Lock()
		defer a.life.Unlock()
		a.view.drop()
		if err := failure(C.mesh_gossip_agent_free(a.handle), nil); err != nil {
			a.closeErr = err
		}
		a.handle = nil
	})
	return a.closeErr
}

// Runs a function on the handle, which lives until the function is over.
func (a *Agent) with(function func(handle *C.mesh_gossip_agent) error) error {
	a.life.RLock()
	defer a.life.RUnlock()
	if a.handle == nil {
		return &Error{Code: CodeStopped, Message: "the agent is closed"}
	}
	return function(a.handle)
}

func (a *Agent) call(function func(*C.mesh_gossip_agent, **C.mesh_gossip_error) C.mesh_gossip_result) error {
	return a.with(func(handle *C.mesh_gossip_agent) error {
		return invoke(func(object **C.mesh_gossip_error) C.mesh_gossip_result {
			return function(handle, object)
		})
	})
}
