package meshgossip

/*
#include <stdlib.h>
#include <mesh_gossip.h>
*/
import "C"

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// Code says what kind of failure an [Error] is. It is an error itself, so that
// errors.Is(err, meshgossip.CodeStopped) asks for a kind.
type Code int32

const (
	// CodeABI: package and library do not belong together.
	CodeABI Code = C.MESH_GOSSIP_ERR_ABI
	// CodeArgument: an argument is missing or out of range.
	CodeArgument Code = C.MESH_GOSSIP_ERR_ARGUMENT
	// CodeUTF8: a string is not UTF-8.
	CodeUTF8 Code = C.MESH_GOSSIP_ERR_UTF8
	// CodeTooLarge: a string or a content is longer than is taken.
	CodeTooLarge Code = C.MESH_GOSSIP_ERR_TOO_LARGE
	// CodeConfig: a setting is wrong; the error's field names it.
	CodeConfig Code = C.MESH_GOSSIP_ERR_CONFIG
	// CodeCredentials: certificate, key, trust or a revocation list does not hold.
	CodeCredentials Code = C.MESH_GOSSIP_ERR_CREDENTIALS
	// CodeIO: the operating system refused: a port that is taken, a file, a thread.
	CodeIO Code = C.MESH_GOSSIP_ERR_IO
	// CodeStopped: the agent has stopped, left or been closed.
	CodeStopped Code = C.MESH_GOSSIP_ERR_STOPPED
	// CodeTimeout: no answer came in time; what was asked for may still happen.
	CodeTimeout Code = C.MESH_GOSSIP_ERR_TIMEOUT
	// CodeBusy: too much at once; try again a little later.
	CodeBusy Code = C.MESH_GOSSIP_ERR_BUSY
	// CodeNotFound: no such member or scope.
	CodeNotFound Code = C.MESH_GOSSIP_ERR_NOT_FOUND
	// CodeRefused: the agent refused the command; nothing has changed.
	CodeRefused Code = C.MESH_GOSSIP_ERR_REFUSED
	// CodeReentrant: not allowed within a callback.
	CodeReentrant Code = C.MESH_GOSSIP_ERR_REENTRANT
	// CodeForked: the handle was made before a fork.
	CodeForked Code = C.MESH_GOSSIP_ERR_FORKED
	// CodePanic: a defect of the library; the handle is of no use any more.
	CodePanic Code = C.MESH_GOSSIP_ERR_PANIC
	// CodePoisoned: a defect was met before on this handle; it can only be closed.
	CodePoisoned Code = C.MESH_GOSSIP_ERR_POISONED
	// CodeStructSize: a structure's size is none that the library knows.
	CodeStructSize Code = C.MESH_GOSSIP_ERR_STRUCT_SIZE
	// CodeDisabled: `mesh:gossip:enabled` is false.
	CodeDisabled Code = C.MESH_GOSSIP_ERR_DISABLED
)

var codes = map[Code]string{
	CodeABI:         "wrong ABI",
	CodeArgument:    "bad argument",
	CodeUTF8:        "not UTF-8",
	CodeTooLarge:    "too large",
	CodeConfig:      "bad setting",
	CodeCredentials: "bad credentials",
	CodeIO:          "refused by the operating system",
	CodeStopped:     "stopped",
	CodeTimeout:     "timeout",
	CodeBusy:        "busy",
	CodeNotFound:    "not found",
	CodeRefused:     "refused",
	CodeReentrant:   "called within a callback",
	CodeForked:      "made before a fork",
	CodePanic:       "defect of the library",
	CodePoisoned:    "spoilt by a defect of the library",
	CodeStructSize:  "unknown size of a structure",
	CodeDisabled:    "disabled",
}

// Error names the kind in a few words.
func (c Code) Error() string {
	if name, known := codes[c]; known {
		return name
	}
	return fmt.Sprintf("code %d", int32(c))
}

// Error is why a call failed.
type Error struct {
	// Code says what kind of failure it is.
	Code Code
	// Field is the argument or the setting that it is about; empty where it is about none.
	Field string
	// Message says what is wrong and what would be right.
	Message string
}

func (e *Error) Error() string {
	switch {
	case e.Message == "":
		return "mesh-gossip: " + e.Code.Error()
	case e.Field == "" || strings.Contains(e.Message, e.Field):
		return "mesh-gossip: " + e.Message
	default:
		return "mesh-gossip: " + e.Field + ": " + e.Message
	}
}

// Is tells whether the error is of the kind that a [Code] names. A timeout is also a
// [context.DeadlineExceeded].
func (e *Error) Is(target error) bool {
	if code, asked := target.(Code); asked {
		return e.Code == code
	}
	return target == context.DeadlineExceeded && e.Timeout()
}

// Timeout tells whether no answer came in time.
func (e *Error) Timeout() bool {
	return e.Code == CodeTimeout
}

// Makes an error of what a call returned, and frees the object that came with it.
func failure(code C.mesh_gossip_result, object *C.mesh_gossip_error) error {
	if code == C.MESH_GOSSIP_OK {
		return nil
	}
	defer C.mesh_gossip_error_free(object)
	told := &Error{Code: Code(code), Message: C.GoString(C.mesh_gossip_error_message(object))}
	if field := C.mesh_gossip_error_field(object); field != nil {
		told.Field = C.GoString(field)
	}
	return told
}

// Calls a function that may leave an error object behind.
func invoke(function func(object **C.mesh_gossip_error) C.mesh_gossip_result) error {
	var object *C.mesh_gossip_error
	code := function(&object)
	return failure(code, object)
}

// Copies strings for the length of a call. C takes a zero byte for the end, so that one within a
// string would silently cut it off.
type copied struct {
	strings []*C.char
	err     error
}

// Refuses what would reach the mesh as something else.
func judge(field, text string) error {
	if strings.IndexByte(text, 0) >= 0 {
		return &Error{Code: CodeArgument, Field: field, Message: field + " holds a zero byte"}
	}
	if !utf8.ValidString(text) {
		return &Error{Code: CodeUTF8, Field: field, Message: field + " is not UTF-8"}
	}
	return nil
}

func (c *copied) text(field, text string) *C.char {
	if err := judge(field, text); err != nil {
		c.err = err
		return nil
	}
	pointer := C.CString(text)
	c.strings = append(c.strings, pointer)
	return pointer
}

func (c *copied) free() {
	for _, pointer := range c.strings {
		C.free(unsafe.Pointer(pointer))
	}
}

// The address of bytes for the length of a call; nil where there are none.
func address(bytes []byte) *C.uint8_t {
	if len(bytes) == 0 {
		return nil
	}
	return (*C.uint8_t)(unsafe.Pointer(&bytes[0]))
}
