package meshgossip

/*
#include <mesh_gossip.h>
*/
import "C"

import (
	"context"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// Event is one event. What a field means stands with its kind; others are zero.
type Event struct {
	// Kind is what the event tells.
	Kind EventKind
	// Reason is why a member left, with [EventLeft].
	Reason Reason
	// Previous is the status before, with [EventRecovered].
	Previous Status
	// At is when it happened; with [EventOverflow] and [EventMissed], when the last one was lost.
	At time.Time
	// Count is how many were lost, with [EventOverflow] and [EventMissed]; how many members
	// acknowledged, with [EventLeaveComplete]; the term, with [EventLeaderChanged].
	Count uint64
	// ID is about whom; from whom, with [EventBroadcast] and [EventMessage]; who leads, with
	// [EventLeaderChanged].
	ID MemberID
	// PreviousID is who led before, with [EventLeaderChanged].
	PreviousID MemberID
	// Topic is a number that hosts agree on, with [EventBroadcast] and [EventMessage].
	Topic uint16
	// Text is the scope, with [EventLeaderChanged]; which alarm, with [EventAlarm]; why, with
	// [EventRecordRejected].
	Text string
	// Payload is the content of a broadcast or a message.
	Payload []byte
	// Member is the member as of the event; nil where the event brings none.
	Member *Member
}

// Events that are taken from the library at once.
const batch = 64

// What is between the library and the channel. Held by one reader at a time: events are in order
// only where one goroutine hands them on.
type stream struct {
	mutex   sync.Mutex
	reading bool
	// Taken from the library, and not received by anybody yet.
	left []Event
	// The last event was received.
	ended bool
}

// Events is a channel of the events that come from here on and of those that nobody received yet,
// in order. It is closed after [EventEnded], when the context ends, and by [Agent.Close]; a loop
// over it ends in each case. Events that are not received wait in the library, and are told as one
// [EventOverflow] once there are too many.
//
// There is one channel at a time: until it is closed, a further call fails with [CodeBusy]. What a
// channel has not delivered when its context ends goes to the next one.
func (a *Agent) Events(ctx context.Context) (<-chan Event, error) {
	if !a.stream.begin() {
		return nil, &Error{Code: CodeBusy, Message: "events go to another channel already; end its context first"}
	}
	file, err := a.eventsFile()
	if err != nil {
		a.stream.end(nil, false)
		return nil, err
	}
	events := make(chan Event)
	go a.deliver(ctx, file, events)
	return events, nil
}

func (s *stream) begin() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.reading {
		return false
	}
	s.reading = true
	return true
}

func (s *stream) end(left []Event, ended bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.left, s.ended, s.reading = append(left, s.left...), s.ended || ended, false
}

// A descriptor of our own for the agent's flag, served by Go's poller. A copy, since the poller
// wants to close what it serves, and the agent's own ends with the agent.
func (a *Agent) eventsFile() (*os.File, error) {
	var file *os.File
	err := a.with(func(agent *C.mesh_gossip_agent) error {
		flag := C.mesh_gossip_agent_events_fd(agent)
		copied, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(flag), syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			return &Error{Code: CodeIO, Message: "the descriptor of events was not copied: " + errno.Error()}
		}
		if err := syscall.SetNonblock(int(copied), true); err != nil {
			syscall.Close(int(copied))
			return &Error{Code: CodeIO, Message: "the descriptor of events blocks: " + err.Error()}
		}
		file = os.NewFile(copied, "mesh-gossip events")
		return nil
	})
	if err != nil {
		return nil, err
	}
	// Fails where the poller did not take the descriptor, and nothing would ever wake us.
	if err := file.SetReadDeadline(time.Time{}); err != nil {
		file.Close()
		return nil, &Error{Code: CodeIO, Message: "the descriptor of events cannot be polled: " + err.Error()}
	}
	return file, nil
}

func (a *Agent) deliver(ctx context.Context, file *os.File, events chan<- Event) {
	over := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-ctx.Done():
		case <-a.closed:
		case <-over:
		}
		// A wait under way ends; Close would wait for it.
		file.SetReadDeadline(time.Unix(1, 0))
	}()
	left, ended := a.pump(ctx, file, events)
	close(over)
	<-watched
	file.Close()
	a.stream.end(left, ended)
	close(events)
}

// Hands events on until there are no more, or nobody wants them; returns those that were taken and
// not received, and whether the last of all was.
func (a *Agent) pump(ctx context.Context, file *os.File, events chan<- Event) (left []Event, ended bool) {
	flag, err := file.SyscallConn()
	if err != nil {
		return nil, false
	}
	taken := a.stream.take()
	if a.stream.isOver() {
		return nil, true
	}
	for {
		for index, event := range taken {
			select {
			case events <- event:
			case <-ctx.Done():
				return taken[index:], false
			case <-a.closed:
				return nil, false
			}
			if event.Kind == EventEnded {
				return nil, true
			}
		}
		var failed error
		// The poller tells edges, not levels: wait only after the library had nothing.
		err := flag.Read(func(uintptr) bool {
			taken, failed = a.takeEvents(batch)
			return failed != nil || len(taken) > 0
		})
		if err != nil || failed != nil {
			return nil, false
		}
	}
}

func (s *stream) take() []Event {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	taken := s.left
	s.left = nil
	return taken
}

func (s *stream) isOver() bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.ended
}

func (a *Agent) takeEvents(most int) ([]Event, error) {
	var taken *C.mesh_gossip_events
	err := a.call(func(agent *C.mesh_gossip_agent, object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_agent_take_events(agent, C.size_t(most), &taken, object)
	})
	if err != nil {
		return nil, err
	}
	defer C.mesh_gossip_events_free(taken)
	events := make([]Event, int(C.mesh_gossip_events_len(taken)))
	first := unsafe.Pointer(C.mesh_gossip_events_at(taken, 0))
	stride := uintptr(C.mesh_gossip_events_stride())
	for index := range events {
		events[index] = event((*C.mesh_gossip_event)(unsafe.Add(first, uintptr(index)*stride)))
	}
	return events, nil
}

func event(from *C.mesh_gossip_event) Event {
	event := Event{
		Kind:       EventKind(from.kind),
		Count:      uint64(from.count),
		ID:         memberID(&from.id),
		PreviousID: memberID(&from.previous_id),
		Topic:      uint16(from.topic),
		Text:       string(borrowed(from.text)),
		Payload:    append([]byte(nil), borrowed(from.payload)...),
	}
	if from.at_unix_ms != 0 {
		event.At = time.UnixMilli(int64(from.at_unix_ms))
	}
	switch event.Kind {
	case EventLeft:
		event.Reason = Reason(from.detail)
	case EventRecovered:
		event.Previous = Status(from.detail)
	}
	if from.member != nil {
		event.Member = &members(from.member, 1, 0)[0]
	}
	return event
}
