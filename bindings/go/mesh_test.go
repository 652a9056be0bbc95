package meshgossip

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// Far more than anything here takes: it ends a test that would hang, and decides nothing else.
const patience = 30 * time.Second

// A certificate authority, and the nodes it signs.
type authority struct {
	t   *testing.T
	dir string
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	authority := authority{t, t.TempDir()}
	authority.omnirelay("init", "--dir", authority.path("ca"), "--trust-domain", "example.org", "--cluster", "prod")
	return authority
}

func (a authority) path(name string) string {
	return filepath.Join(a.dir, name)
}

func (a authority) omnirelay(arguments ...string) []byte {
	a.t.Helper()
	command := os.Getenv("OMNIRELAY")
	if command == "" {
		a.t.Fatal("OMNIRELAY names no command; run ./test")
	}
	output, err := exec.Command(command, append([]string{"mesh", "bootstrap"}, arguments...)...).Output()
	if err != nil {
		if exit, failed := err.(*exec.ExitError); failed {
			a.t.Fatalf("%v: %s", err, exit.Stderr)
		}
		a.t.Fatal(err)
	}
	return output
}

// The settings of a node with a certificate of its own, on a port of its own.
func (a authority) node(name string, more map[string]any) string {
	a.t.Helper()
	issued := a.omnirelay("issue", "--dir", a.path("ca"), "--node", name, "--role", "worker", "--out", a.path("certs"))
	var settings map[string]map[string]map[string]any
	if err := json.Unmarshal(issued, &settings); err != nil {
		a.t.Fatal(err)
	}
	gossip := settings["mesh"]["gossip"]
	gossip["bindAddress"] = "127.0.0.1"
	gossip["port"] = 0
	gossip["control"] = map[string]any{"port": 0}
	gossip["events"] = map[string]any{"delivery": "immediate"}
	for key, value := range more {
		gossip[key] = value
	}
	text, err := json.Marshal(settings)
	if err != nil {
		a.t.Fatal(err)
	}
	return string(text)
}

func (a authority) start(name string, more map[string]any, start ...StartOption) *Agent {
	a.t.Helper()
	options, err := OptionsFromJSON(a.node(name, more))
	must(a.t, err)
	defer options.Close()
	agent, err := Start(options, start...)
	must(a.t, err)
	a.t.Cleanup(func() {
		if err := agent.Close(); err != nil {
			a.t.Errorf("%s: %v", name, err)
		}
	})
	return agent
}

// An agent, and others that find it.
func (a authority) mesh(names ...string) []*Agent {
	a.t.Helper()
	agents := []*Agent{a.start(names[0], nil)}
	for _, name := range names[1:] {
		agents = append(agents, a.start(name, seeds(agents[0])))
	}
	return agents
}

func seeds(agent *Agent) map[string]any {
	return map[string]any{"seedPeers": []string{agent.Address()}}
}

func alive(t *testing.T, agent *Agent) string {
	t.Helper()
	names := []string{}
	for _, member := range newest(t, agent).Members() {
		if member.Status == StatusAlive {
			names = append(names, member.NodeID)
		}
	}
	sort.Strings(names)
	return strings.Join(names, " ")
}

func everyoneSees(t *testing.T, names string, agents ...*Agent) {
	t.Helper()
	for _, agent := range agents {
		agent := agent
		eventually(t, agent.NodeID()+" sees "+names, func() bool { return alive(t, agent) == names })
	}
}

func newest(t testing.TB, agent *Agent) *Snapshot {
	t.Helper()
	snapshot, err := agent.Snapshot()
	must(t, err)
	return snapshot
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The events of an agent, until the test is over.
func events(t *testing.T, agent *Agent) <-chan Event {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	events, err := agent.Events(ctx)
	must(t, err)
	return events
}

// The next event; false once the channel is closed.
func next(t *testing.T, events <-chan Event) (Event, bool) {
	t.Helper()
	select {
	case event, open := <-events:
		return event, open
	case <-time.After(patience):
		t.Fatalf("no event within %v", patience)
		return Event{}, false
	}
}

// Receives events until one holds, and returns it.
func until(t *testing.T, events <-chan Event, holds func(Event) bool) Event {
	t.Helper()
	for {
		event, open := next(t, events)
		if !open {
			t.Fatal("the channel was closed before the event came")
		}
		if holds(event) {
			return event
		}
	}
}
