package meshgossip

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
)

func TestTheLibraryIsTheOneCompiledFor(t *testing.T) {
	must(t, Check())
	if Version() == "" {
		t.Fatal("the library has no version")
	}
	t.Logf("mesh-gossip %s, features %b", Version(), Features())
}

// The failure that was wanted, with its fields; fails the test where there is none.
func failed(t *testing.T, err error, code Code, field string) *Error {
	t.Helper()
	var failure *Error
	if !errors.As(err, &failure) {
		t.Fatalf("%v is no *Error", err)
	}
	if failure.Code != code || failure.Field != field {
		t.Fatalf("code %d (%v), field %q: %v", failure.Code, failure.Code, failure.Field, err)
	}
	if !errors.Is(err, code) || errors.Is(err, CodePanic) {
		t.Fatalf("%v is of another kind", err)
	}
	return failure
}

func TestBadOptionsTellCodeAndField(t *testing.T) {
	_, err := OptionsFromJSON(`{"mesh":{"gossip":{"fanuot":4}}}`)
	if failure := failed(t, err, CodeConfig, "mesh:gossip:fanuot"); !strings.Contains(failure.Message, "fanout") {
		t.Fatalf("does not say what would be right: %v", err)
	}
	_, err = OptionsFromJSON("\xff")
	failed(t, err, CodeUTF8, "json")
	_, err = OptionsFromJSON("{}\x00{")
	failed(t, err, CodeArgument, "json")
	_, err = OptionsFromFile(t.TempDir() + "/none.json")
	if err == nil {
		t.Fatal("a file that is not there was read")
	}
}

func TestOptionsAreSetTakenBackAndClosed(t *testing.T) {
	options, err := OptionsFromJSON(newAuthority(t).node("node-1", nil))
	must(t, err)
	failed(t, options.Set("interval", "5"), CodeConfig, "mesh:gossip:interval")
	must(t, options.Set("region", "eu-1"))
	must(t, options.Set("meshVersion", "7.7"))
	must(t, options.Unset("meshVersion"))
	agent, err := Start(options)
	must(t, err)
	defer agent.Close()
	must(t, options.Close())
	must(t, options.Close())
	failed(t, options.Set("region", "eu-2"), CodeArgument, "options")
	_, err = Start(options)
	failed(t, err, CodeArgument, "options")
	local, _ := newest(t, agent).MemberByNodeID("node-1")
	if local.Region != "eu-1" || local.MeshVersion == "7.7" {
		t.Fatalf("%+v", local)
	}
}

func TestAFileIsReadUnderTheEnvironment(t *testing.T) {
	authority := newAuthority(t)
	file := authority.path("node-1.json")
	must(t, os.WriteFile(file, []byte(authority.node("node-1", map[string]any{"region": "file"})), 0o600))
	t.Setenv("MESH__GOSSIP__REGION", "environment")
	options, err := OptionsFromFile(file)
	must(t, err)
	defer options.Close()
	agent, err := Start(options)
	must(t, err)
	defer agent.Close()
	if local, _ := newest(t, agent).MemberByNodeID("node-1"); local.Region != "environment" {
		t.Fatalf("%+v", local)
	}
}

func TestAPortThatIsTakenIsRefusedByTheSystem(t *testing.T) {
	authority := newAuthority(t)
	first := authority.start("node-1", nil)
	port := first.Address()[strings.LastIndex(first.Address(), ":")+1:]
	options, err := OptionsFromJSON(authority.node("node-2", nil))
	must(t, err)
	defer options.Close()
	must(t, options.Set("port", port))
	agent, err := Start(options)
	if agent != nil || !errors.Is(err, CodeIO) {
		t.Fatalf("agent %v, error %v", agent, err)
	}
}

func TestATimeoutIsADeadlineExceeded(t *testing.T) {
	timeout := error(&Error{Code: CodeTimeout})
	if !errors.Is(timeout, context.DeadlineExceeded) || errors.Is(&Error{Code: CodeIO}, context.DeadlineExceeded) {
		t.Fatal("only a timeout is one")
	}
}
