package meshgossip

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Runs the program of example/join beside an agent of ours, and interrupts it.
func TestTheExampleJoinsAndSaysGoodbye(t *testing.T) {
	authority := newAuthority(t)
	agent := authority.start("node-1", nil)
	program, file := authority.path("join"), authority.path("node-2.json")
	if output, err := exec.Command("go", "build", "-o", program, "./example/join").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	must(t, os.WriteFile(file, []byte(authority.node("node-2", seeds(agent))), 0o600))
	command := exec.Command(program, file)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	must(t, err)
	must(t, command.Start())
	watchdog := time.AfterFunc(patience, func() { command.Process.Kill() })
	defer watchdog.Stop()

	told := events(t, agent)
	until(t, told, func(event Event) bool { return event.Kind == EventJoined && event.Member.NodeID == "node-2" })
	lines := bufio.NewScanner(output)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "joined "+newest(t, agent).LocalID().String()) {
	}
	must(t, lines.Err())
	must(t, command.Process.Signal(os.Interrupt))
	for lines.Scan() {
	}
	must(t, command.Wait())
	left := until(t, told, func(event Event) bool { return event.Kind == EventLeft })
	if left.Reason != ReasonLeft {
		t.Fatalf("%+v", left)
	}
}
