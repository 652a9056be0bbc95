package meshgossip

/*
#include <mesh_gossip.h>
*/
import "C"

import (
	"runtime"
	"sync"
)

// Options are the settings of an agent. An agent keeps a copy of what it was started with, so that
// they may be closed or changed afterwards.
type Options struct {
	mutex  sync.Mutex
	handle *C.mesh_gossip_options
}

// OptionsFromJSON reads options from text alone, {"mesh":{"gossip":{...}}}; no file and no variable
// of the environment counts.
func OptionsFromJSON(json string) (*Options, error) {
	return newOptions("json", json, func(text *C.char, out **C.mesh_gossip_options,
		object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_options_from_json(text, out, object)
	})
}

// OptionsFromFile reads options from a JSON file, under the variables of the environment
// (MESH__GOSSIP__*). The file is read here and once more by [Start].
func OptionsFromFile(path string) (*Options, error) {
	return newOptions("path", path, func(text *C.char, out **C.mesh_gossip_options,
		object **C.mesh_gossip_error) C.mesh_gossip_result {
		return C.mesh_gossip_options_from_file(text, out, object)
	})
}

type optionsFrom func(*C.char, **C.mesh_gossip_options, **C.mesh_gossip_error) C.mesh_gossip_result

func newOptions(field, text string, from optionsFrom) (*Options, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	var copies copied
	defer copies.free()
	pointer := copies.text(field, text)
	if copies.err != nil {
		return nil, copies.err
	}
	var handle *C.mesh_gossip_options
	err := invoke(func(object **C.mesh_gossip_error) C.mesh_gossip_result {
		return from(pointer, &handle, object)
	})
	if err != nil {
		return nil, err
	}
	options := &Options{handle: handle}
	// A net below Close, for whoever forgets it.
	runtime.SetFinalizer(options, func(options *Options) { options.Close() })
	return options, nil
}

// Set sets a key, "fanout" or "tls:caPath", over file and environment.
func (o *Options) Set(key, value string) error {
	return o.set(key, &value)
}

// Unset takes back what [Options.Set] set and what file and environment say.
func (o *Options) Unset(key string) error {
	return o.set(key, nil)
}

func (o *Options) set(key string, value *string) error {
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
	return o.with(func(handle *C.mesh_gossip_options) error {
		return invoke(func(object **C.mesh_gossip_error) C.mesh_gossip_result {
			return C.mesh_gossip_options_set(handle, name, content, object)
		})
	})
}

func (o *Options) with(function func(handle *C.mesh_gossip_options) error) error {
	if o == nil {
		return &Error{Code: CodeArgument, Field: "options", Message: "options are nil"}
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if o.handle == nil {
		return &Error{Code: CodeArgument, Field: "options", Message: "options are closed"}
	}
	return function(o.handle)
}

// Close frees the options; agents that were started with them go on. Again, it does nothing.
func (o *Options) Close() error {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	C.mesh_gossip_options_free(o.handle)
	o.handle = nil
	runtime.SetFinalizer(o, nil)
	return nil
}
