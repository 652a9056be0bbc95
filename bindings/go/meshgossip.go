// Package meshgossip embeds an agent of mesh-gossip, a gossip membership engine: every member of a
// cluster knows every other one, with its state and its metadata.
//
// An agent is started with [Options], tells the members as an immutable [Snapshot], tells changes
// on the channel of [Agent.Events], and is given back with [Agent.Close]. Every method may be
// called from any goroutine. Failures are of type [*Error].
package meshgossip

/*
#cgo LDFLAGS: -lmesh_gossip
#include <mesh_gossip.h>
*/
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// Version is the version of the library that was loaded.
func Version() string {
	return C.GoString(C.mesh_gossip_version_string())
}

// Features tells the optional parts that the library was built with, one bit each.
func Features() uint64 {
	return uint64(C.mesh_gossip_features())
}

var (
	checked    sync.Once
	checkError error
)

// Check tells whether the library that was loaded is the one that this package was compiled for.
// Making [Options] does it as well.
func Check() error {
	checked.Do(func() { checkError = check() })
	return checkError
}

func check() error {
	if found := C.mesh_gossip_abi_version(); C.mesh_gossip_check_abi() != C.MESH_GOSSIP_OK {
		return &Error{Code: CodeABI, Message: fmt.Sprintf(
			"this package speaks ABI %d, the library implements %d", uint32(C.MESH_GOSSIP_ABI_VERSION), uint32(found))}
	}
	for _, record := range []struct {
		name          string
		stride, known uintptr
	}{
		{"member", uintptr(C.mesh_gossip_members_stride()), unsafe.Sizeof(C.mesh_gossip_member{})},
		{"label", uintptr(C.mesh_gossip_labels_stride()), unsafe.Sizeof(C.mesh_gossip_label{})},
		{"event", uintptr(C.mesh_gossip_events_stride()), unsafe.Sizeof(C.mesh_gossip_event{})},
		{"contact", uintptr(C.mesh_gossip_contacts_stride()), unsafe.Sizeof(C.mesh_gossip_contact{})},
	} {
		if err := fits(record.name, record.stride, record.known); err != nil {
			return err
		}
	}
	var start C.mesh_gossip_start_options
	code := C.mesh_gossip_start_options_init(&start, C.size_t(unsafe.Sizeof(start)))
	return failure(code, nil)
}

// Records may grow at their end and never shrink: a shorter one is of another library.
func fits(record string, stride, known uintptr) error {
	if stride < known {
		return &Error{Code: CodeABI, Field: record, Message: fmt.Sprintf(
			"a record of the library has %d bytes, this package reads %d", stride, known)}
	}
	return nil
}
