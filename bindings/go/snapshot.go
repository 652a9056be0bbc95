package meshgossip

/*
#include "chunk.h"
*/
import "C"

import (
	"sync"
	"time"
	"unsafe"
)

// Snapshot is the members as of one moment. It never changes, holds nothing of the library, and
// may be kept for as long as one likes. Members of chunks that did not change are shared with the
// snapshot before.
type Snapshot struct {
	generation uint64
	at         time.Time
	local      MemberID
	chunks     []chunk
	len        int

	indexed  sync.Once
	byID     map[MemberID]*Member
	byNodeID map[string]*Member
}

type chunk struct {
	generation uint64
	members    []Member
}

// Generation rises with every change of the view.
func (s *Snapshot) Generation() uint64 {
	return s.generation
}

// Time is when the view was published.
func (s *Snapshot) Time() time.Time {
	return s.at
}

// LocalID is the id of the agent itself.
func (s *Snapshot) LocalID() MemberID {
	return s.local
}

// Len tells how many members are listed.
func (s *Snapshot) Len() int {
	return s.len
}

// Each calls a function with every member, until it returns false.
func (s *Snapshot) Each(function func(member Member) bool) {
	for _, chunk := range s.chunks {
		for index := range chunk.members {
			if !function(chunk.members[index]) {
				return
			}
		}
	}
}

// Members is a copy of the list.
func (s *Snapshot) Members() []Member {
	members := make([]Member, 0, s.len)
	for _, chunk := range s.chunks {
		members = append(members, chunk.members...)
	}
	return members
}

// Member is the member with an id, and whether it is listed.
func (s *Snapshot) Member(id MemberID) (Member, bool) {
	s.index()
	member, listed := s.byID[id]
	if !listed {
		return Member{}, false
	}
	return *member, true
}

// MemberByNodeID is the member with a name, and whether it is listed. Where a name is listed
// several times, since its bearer came back under another id, it is the latest life.
func (s *Snapshot) MemberByNodeID(nodeID string) (Member, bool) {
	s.index()
	member, listed := s.byNodeID[nodeID]
	if !listed {
		return Member{}, false
	}
	return *member, true
}

func (s *Snapshot) index() {
	s.indexed.Do(func() {
		s.byID = make(map[MemberID]*Member, s.len)
		s.byNodeID = make(map[string]*Member, s.len)
		for _, chunk := range s.chunks {
			for index := range chunk.members {
				member := &chunk.members[index]
				s.byID[member.ID] = member
				if other, taken := s.byNodeID[member.NodeID]; !taken || other.Generation < member.Generation {
					s.byNodeID[member.NodeID] = member
				}
			}
		}
	})
}

// The snapshot that was copied last. The library's own is held beside it, so that its address
// means it and nothing else: the same address again is the same members.
type view struct {
	mutex  sync.Mutex
	handle *C.mesh_gossip_snapshot
	copied *Snapshot
}

// Snapshot is the newest view; after [Agent.Stop] the last one. Only what changed since the last
// call is copied.
func (a *Agent) Snapshot() (*Snapshot, error) {
	var snapshot *Snapshot
	err := a.with(func(agent *C.mesh_gossip_agent) (err error) {
		snapshot, err = a.view.newest(agent)
		return err
	})
	return snapshot, err
}

func (v *view) newest(agent *C.mesh_gossip_agent) (*Snapshot, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	var handle *C.mesh_gossip_snapshot
	var object *C.mesh_gossip_error
	if err := failure(C.mesh_gossip_snapshot_try_acquire(agent, &handle, &object), object); err != nil {
		return nil, err
	}
	if handle == v.handle {
		C.mesh_gossip_snapshot_release(handle)
		return v.copied, nil
	}
	copied, err := copySnapshot(handle, v.copied)
	if err != nil {
		C.mesh_gossip_snapshot_release(handle)
		return nil, err
	}
	C.mesh_gossip_snapshot_release(v.handle)
	v.handle, v.copied = handle, copied
	return copied, nil
}

func (v *view) drop() {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	C.mesh_gossip_snapshot_release(v.handle)
	v.handle, v.copied = nil, nil
}

func copySnapshot(handle *C.mesh_gossip_snapshot, before *Snapshot) (*Snapshot, error) {
	records := make([]C.chunk, int(C.mesh_gossip_snapshot_chunk_count(handle)))
	if len(records) > 0 {
		code := C.chunks(handle, &records[0], C.size_t(len(records)))
		if err := failure(code, nil); err != nil {
			return nil, err
		}
	}
	snapshot := &Snapshot{
		generation: uint64(C.mesh_gossip_snapshot_generation(handle)),
		at:         time.UnixMilli(int64(C.mesh_gossip_snapshot_time(handle))),
		local:      *(*MemberID)(unsafe.Pointer(C.mesh_gossip_snapshot_local_id(handle))),
		chunks:     make([]chunk, len(records)),
	}
	for index, from := range records {
		to := &snapshot.chunks[index]
		if old := before.chunk(index); old != nil && old.generation == uint64(from.generation) {
			*to = *old
		} else {
			if err := fits("member", uintptr(from.stride), unsafe.Sizeof(C.mesh_gossip_member{})); err != nil {
				return nil, err
			}
			*to = chunk{uint64(from.generation), chunkMembers(&records[index])}
		}
		snapshot.len += len(to.members)
	}
	return snapshot, nil
}

func (s *Snapshot) chunk(index int) *chunk {
	if s == nil || index >= len(s.chunks) {
		return nil
	}
	return &s.chunks[index]
}
