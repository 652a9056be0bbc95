package meshgossip

import (
	"context"
	"strconv"
	"testing"
	"time"
)

func TestEventsComeInOrderAndEnd(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	told := events(t, agents[1])
	until(t, told, func(event Event) bool { return event.Kind == EventJoinComplete })
	everyoneSees(t, "node-1 node-2", agents...)
	const changes = 20
	value := func(event Event) int {
		if event.Kind != EventUpdated || event.Member.NodeID != "node-1" {
			return -1
		}
		text, _ := event.Member.Labels.Get("step")
		number, err := strconv.Atoi(text)
		must(t, err)
		return number
	}
	for step := 1; step <= changes; step++ {
		must(t, agents[0].SetLabel("step", strconv.Itoa(step)))
		time.Sleep(time.Millisecond)
	}
	// Steps may be told together, and none comes after a later one.
	last := 0
	until(t, told, func(event Event) bool {
		if step := value(event); step >= 0 {
			if step <= last {
				t.Fatalf("step %d came after step %d", step, last)
			}
			last = step
		}
		return last == changes
	})
	must(t, agents[1].Stop())
	until(t, told, func(event Event) bool { return event.Kind == EventEnded })
	if event, open := next(t, told); open {
		t.Fatalf("%+v came after the last one", event)
	}
	again, err := agents[1].Events(context.Background())
	must(t, err)
	if event, open := next(t, again); open {
		t.Fatalf("%+v came after the last one", event)
	}
}

func TestOneChannelAtATimeAndNothingIsLostBetween(t *testing.T) {
	authority := newAuthority(t)
	agent := authority.start("node-1", nil)
	ctx, cancel := context.WithCancel(context.Background())
	first, err := agent.Events(ctx)
	must(t, err)
	_, err = agent.Events(context.Background())
	failed(t, err, CodeBusy, "")
	// It waits by now, or will: either way the end of the context wakes it.
	cancel()
	if event, open := next(t, first); open {
		t.Fatalf("%+v, though nothing happened", event)
	}

	other := authority.start("node-2", seeds(agent))
	everyoneSees(t, "node-1 node-2", agent, other)
	ctx, cancel = context.WithCancel(context.Background())
	second, err := agent.Events(ctx)
	must(t, err)
	// Time to take the events; nobody receives them.
	time.Sleep(50 * time.Millisecond)
	cancel()
	count := 0
	for event := range second {
		if event.Kind == EventJoined {
			count++
		}
	}
	must(t, agent.Stop())
	for event := range events(t, agent) {
		if event.Kind == EventJoined && event.Member.NodeID == "node-2" {
			count++
		}
	}
	if count != 1 {
		t.Fatalf("a member joined %d times", count)
	}
}

func TestAChannelEndsWithItsAgent(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	told := events(t, agent)
	must(t, agent.Close())
	for open := true; open; {
		_, open = next(t, told)
	}
}

func TestWhatIsNotReceivedOverflows(t *testing.T) {
	authority := newAuthority(t)
	first := authority.start("node-1", nil)
	limits := seeds(first)
	limits["limits"] = map[string]any{"events": 2}
	slow := authority.start("node-2", limits, EventsCapacity(1))
	everyoneSees(t, "node-1 node-2", first, slow)
	step := func(agent *Agent) string {
		member, _ := newest(t, agent).MemberByNodeID("node-1")
		value, _ := member.Labels.Get("step")
		return value
	}
	for number := 0; number < 8; number++ {
		number := strconv.Itoa(number)
		must(t, first.SetLabel("step", number))
		eventually(t, "step "+number+" is seen", func() bool { return step(slow) == number })
	}
	told := events(t, slow)
	var kept, lost uint64
	count := func(event Event) {
		if event.Kind == EventOverflow {
			lost += event.Count
		} else {
			kept++
		}
	}
	// A loss is told as soon as there is room, although nothing else happens.
	until(t, told, func(event Event) bool {
		count(event)
		return event.Kind == EventOverflow
	})
	must(t, first.SetLabel("step", "last"))
	until(t, told, func(event Event) bool {
		count(event)
		if event.Kind != EventUpdated {
			return false
		}
		value, _ := event.Member.Labels.Get("step")
		return value == "last"
	})
	if lost == 0 || step(slow) != "last" {
		t.Fatalf("%d were lost, step %s", lost, step(slow))
	}
	t.Logf("%d events were kept, %d were lost, and the view has all", kept, lost)
}
