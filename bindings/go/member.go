package meshgossip

/*
#include "chunk.h"
*/
import "C"

import (
	"sort"
	"strings"
	"unsafe"
)

// Member is one member, as of a snapshot or an event.
type Member struct {
	// ID within the mesh.
	ID MemberID
	// Generation is when this life of it began, Unix milliseconds; may lie ahead of the clock.
	Generation uint64
	// Counter counts the changes within this life.
	Counter uint32
	// Status is how it is.
	Status Status
	// Lifecycle is what it says of its work.
	Lifecycle Lifecycle
	// Local: it is the agent itself.
	Local bool
	// HTTP3: it serves HTTP/3.
	HTTP3 bool
	// MetadataVersion rises with every change of what it says of itself.
	MetadataVersion uint64
	// NodeID is its name within the cluster.
	NodeID string
	// Role, cluster and region.
	Role, ClusterID, Region string
	// MeshVersion is the version of its mesh software.
	MeshVersion string
	// Endpoint is the host:port that it advertises.
	Endpoint string
	// Labels are its labels.
	Labels Labels
}

// Label is one label of a member.
type Label struct {
	Key, Value string
}

// Labels are the labels of a member, by key. They never change.
type Labels struct {
	sorted []Label
}

// Len tells how many there are.
func (l Labels) Len() int {
	return len(l.sorted)
}

// At is the label at an index, in the order of the keys.
func (l Labels) At(index int) Label {
	return l.sorted[index]
}

// Get is the value of a label, and whether there is one.
func (l Labels) Get(key string) (string, bool) {
	index := sort.Search(len(l.sorted), func(index int) bool { return l.sorted[index].Key >= key })
	if index < len(l.sorted) && l.sorted[index].Key == key {
		return l.sorted[index].Value, true
	}
	return "", false
}

// Map is a copy of the labels.
func (l Labels) Map() map[string]string {
	labels := make(map[string]string, len(l.sorted))
	for _, label := range l.sorted {
		labels[label.Key] = label.Value
	}
	return labels
}

// Copies records out of the library, `stride` bytes apart. The text of all of them becomes one
// string, which the members share: two allocations a chunk, and one more for labels.
func members(first *C.mesh_gossip_member, count int, stride uintptr) []Member {
	var bytes, labels int
	// A library may know more of a label than this package.
	apart := uintptr(C.mesh_gossip_labels_stride())
	record := func(index int) *C.mesh_gossip_member {
		return (*C.mesh_gossip_member)(unsafe.Add(unsafe.Pointer(first), uintptr(index)*stride))
	}
	for index := 0; index < count; index++ {
		member := record(index)
		for _, text := range texts(member) {
			bytes += int(text.len)
		}
		for at := 0; at < int(member.labels_len); at++ {
			label := labelOf(member, at, apart)
			bytes += int(label.key.len) + int(label.value.len)
		}
		labels += int(member.labels_len)
	}
	arena := arena{labels: make([]Label, 0, labels), apart: apart}
	arena.text.Grow(bytes)
	copies := make([]Member, count)
	for index := range copies {
		arena.copy(&copies[index], record(index))
	}
	return copies
}

// Copies the members of a chunk, whose text and labels the library keeps in one piece each: three
// allocations, and a walk through the records alone.
func chunkMembers(from *C.chunk) []Member {
	arena := arena{
		labels: make([]Label, 0, int(from.labels_len)),
		apart:  uintptr(C.mesh_gossip_labels_stride()),
		whole:  C.GoStringN((*C.char)(unsafe.Pointer(from.text.data)), C.int(from.text.len)),
		base:   uintptr(unsafe.Pointer(from.text.data)),
	}
	copies := make([]Member, int(from.len))
	for index := range copies {
		record := unsafe.Add(unsafe.Pointer(from.records), uintptr(index)*uintptr(from.stride))
		arena.copy(&copies[index], (*C.mesh_gossip_member)(record))
	}
	return copies
}

// Room for the text and the labels of some members. It is made large enough at once: what was
// handed out would stay where it was, but be kept alive twice.
type arena struct {
	text   strings.Builder
	labels []Label
	// From one label of the library to the next.
	apart uintptr
	// The text of a whole chunk where it was copied at once, and where the library has it.
	whole string
	base  uintptr
}

func (a *arena) copy(to *Member, from *C.mesh_gossip_member) {
	text := texts(from)
	*to = Member{
		ID:              memberID(&from.id),
		Generation:      uint64(from.generation),
		Counter:         uint32(from.counter),
		Status:          Status(from.status),
		Lifecycle:       Lifecycle(from.lifecycle),
		Local:           from.flags&C.MESH_GOSSIP_MEMBER_LOCAL != 0,
		HTTP3:           from.flags&C.MESH_GOSSIP_MEMBER_HTTP3 != 0,
		MetadataVersion: uint64(from.metadata_version),
		NodeID:          a.string(text[0]),
		Role:            a.string(text[1]),
		ClusterID:       a.string(text[2]),
		Region:          a.string(text[3]),
		MeshVersion:     a.string(text[4]),
		Endpoint:        a.string(text[5]),
	}
	start := len(a.labels)
	for at := 0; at < int(from.labels_len); at++ {
		label := labelOf(from, at, a.apart)
		a.labels = append(a.labels, Label{a.string(label.key), a.string(label.value)})
	}
	to.Labels.sorted = a.labels[start:len(a.labels):len(a.labels)]
}

func (a *arena) string(from C.mesh_gossip_bytes) string {
	if from.len == 0 {
		return ""
	}
	if a.base != 0 {
		begin := uintptr(unsafe.Pointer(from.data)) - a.base
		return a.whole[begin : begin+uintptr(from.len)]
	}
	start := a.text.Len()
	a.text.Write(borrowed(from))
	return a.text.String()[start:]
}

func texts(member *C.mesh_gossip_member) [6]C.mesh_gossip_bytes {
	return [...]C.mesh_gossip_bytes{
		member.node_id, member.role, member.cluster_id, member.region, member.mesh_version, member.endpoint,
	}
}

func labelOf(member *C.mesh_gossip_member, index int, apart uintptr) *C.mesh_gossip_label {
	return (*C.mesh_gossip_label)(unsafe.Add(unsafe.Pointer(member.labels), uintptr(index)*apart))
}

// Bytes of the library, good for as long as their owner.
func borrowed(bytes C.mesh_gossip_bytes) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(bytes.data)), int(bytes.len))
}

func memberID(id *[16]C.uint8_t) MemberID {
	return *(*MemberID)(unsafe.Pointer(id))
}
