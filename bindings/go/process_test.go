package meshgossip

import (
	"net"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// Go programs do not fork without exec; what a child could inherit are descriptors.
func TestNoDescriptorReachesAChild(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	events(t, agent)
	output, err := exec.Command("ls", "-l", "/proc/self/fd").CombinedOutput()
	must(t, err)
	for _, kind := range []string{"eventfd", "socket:", "io_uring"} {
		if strings.Contains(string(output), kind) {
			t.Errorf("a child has a descriptor of kind %s:\n%s", kind, output)
		}
	}
}

func TestAnAgentThatIsForgottenGivesItsPortBack(t *testing.T) {
	options, err := OptionsFromJSON(newAuthority(t).node("node-1", nil))
	must(t, err)
	address := func() string {
		agent, err := Start(options)
		must(t, err)
		return agent.Address()
	}()
	must(t, options.Close())
	eventually(t, "the port is free", func() bool {
		runtime.GC()
		port, err := net.ListenPacket("udp", address)
		if err != nil {
			return false
		}
		return port.Close() == nil
	})
}

func TestAClosedAgentLeavesNoGoroutine(t *testing.T) {
	delivering := func() bool {
		stacks := make([]byte, 1<<20)
		return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "(*Agent).deliver")
	}
	eventually(t, "those of other tests have ended", func() bool { return !delivering() })
	agent := newAuthority(t).start("node-1", nil)
	events(t, agent)
	eventually(t, "one delivers events", delivering)
	must(t, agent.Close())
	eventually(t, "all goroutines have ended", func() bool { return !delivering() })
}
