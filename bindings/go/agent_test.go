package meshgossip

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestThreeAgentsSeeEachOtherAndMissTheOneThatStops(t *testing.T) {
	authority := newAuthority(t)
	// Quick to judge, as far as the settings allow; the time is told and decides nothing.
	quick := map[string]any{"interval": "00:00:00.200", "suspicionInterval": "00:00:01"}
	begin := time.Now()
	first := authority.start("node-1", quick)
	quick["seedPeers"] = []string{first.Address()}
	second, third := authority.start("node-2", quick), authority.start("node-3", quick)
	everyoneSees(t, "node-1 node-2 node-3", first, second, third)
	t.Logf("three agents saw each other after %v", time.Since(begin))

	told := events(t, first)
	gone, _ := newest(t, first).MemberByNodeID("node-3")
	begin = time.Now()
	must(t, third.Stop())
	left := until(t, told, func(event Event) bool { return event.Kind == EventLeft })
	if left.ID != gone.ID || left.Reason != ReasonFailed || left.Member.NodeID != "node-3" {
		t.Fatalf("%+v", left)
	}
	everyoneSees(t, "node-1 node-2", first, second)
	t.Logf("the one that stopped was missed by both after %v", time.Since(begin))
}

func TestAGoodbyeIsTold(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	told := events(t, agents[0])
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, agents[1].Leave(ctx))
	left := until(t, told, func(event Event) bool { return event.Kind == EventLeft })
	if left.Reason != ReasonLeft || left.Member.Status != StatusLeft || left.At.IsZero() {
		t.Fatalf("%+v", left)
	}
}

func TestOneJoinsThroughSeedsThatAreNamedLater(t *testing.T) {
	authority := newAuthority(t)
	first, second := authority.start("node-1", nil), authority.start("node-2", nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	failed(t, second.Join(ctx, "127.0.0.1"), CodeIO, "seeds")
	must(t, second.Join(ctx, first.Address()))
	everyoneSees(t, "node-1 node-2", first, second)
}

func TestStoppingTwiceAndClosingTwice(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	must(t, agent.Stop())
	must(t, agent.Stop())
	failed(t, agent.SetLabel("a", "b"), CodeStopped, "")
	if newest(t, agent).Len() != 1 {
		t.Fatal("the last view is gone")
	}
	must(t, agent.Close())
	must(t, agent.Close())
	must(t, agent.Stop())
	_, err := agent.Snapshot()
	failed(t, err, CodeStopped, "")
	_, err = agent.Events(context.Background())
	failed(t, err, CodeStopped, "")
	failed(t, agent.SetLabel("a", "b"), CodeStopped, "")
	if agent.NodeID() != "node-1" || !strings.HasPrefix(agent.Address(), "127.0.0.1:") {
		t.Fatalf("%q at %q", agent.NodeID(), agent.Address())
	}
}

func TestCallsBesideAClose(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	told := events(t, agent)
	var callers sync.WaitGroup
	for caller := 0; caller < 8; caller++ {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for {
				if _, err := agent.Snapshot(); err != nil {
					if !errors.Is(err, CodeStopped) {
						t.Error(err)
					}
					return
				}
				agent.SetLabel("busy", "yes")
			}
		}()
	}
	time.Sleep(50 * time.Millisecond)
	for closer := 0; closer < 2; closer++ {
		callers.Add(1)
		go func() {
			defer callers.Done()
			if err := agent.Close(); err != nil {
				t.Error(err)
			}
		}()
	}
	callers.Wait()
	for open := true; open; {
		_, open = next(t, told)
	}
}

func TestALabelAndALifecycleAreSeenByOthers(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	must(t, agents[0].SetLabel("rack", "r7"))
	must(t, agents[0].SetLabel("arch", "x86"))
	label := func(agent *Agent, key string) string {
		member, _ := newest(t, agent).MemberByNodeID("node-1")
		value, _ := member.Labels.Get(key)
		return value
	}
	if label(agents[0], "rack") != "r7" {
		t.Fatal("a label does not stand in the next snapshot")
	}
	eventually(t, "both labels are seen", func() bool {
		return label(agents[1], "rack") == "r7" && label(agents[1], "arch") == "x86"
	})
	seen, _ := newest(t, agents[1]).MemberByNodeID("node-1")
	if seen.Labels.Len() != 2 || seen.Labels.At(0) != (Label{"arch", "x86"}) || len(seen.Labels.Map()) != 2 {
		t.Fatalf("%+v", seen.Labels)
	}
	must(t, agents[0].RemoveLabel("rack"))
	eventually(t, "a removal is seen", func() bool { return label(agents[1], "rack") == "" })

	lifecycle := func() Lifecycle {
		member, _ := newest(t, agents[1]).MemberByNodeID("node-1")
		return member.Lifecycle
	}
	for _, step := range []struct {
		publish func() error
		seen    Lifecycle
	}{
		{agents[0].Cordon, LifecycleCordoned}, {agents[0].Drain, LifecycleDraining}, {agents[0].Resume, LifecycleActive},
	} {
		must(t, step.publish())
		eventually(t, step.seen.String()+" is seen", func() bool { return lifecycle() == step.seen })
	}
	failed(t, agents[0].SetLifecycle(LifecycleLeaving), CodeArgument, "lifecycle")
	failed(t, agents[0].SetLabel("a\x00b", ""), CodeArgument, "key")
}

func TestHostsSpeakToEachOther(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	from, to := newest(t, agents[0]).LocalID(), newest(t, agents[1]).LocalID()
	told := events(t, agents[1])
	must(t, agents[0].Broadcast(7, []byte("to\x00all")))
	heard := until(t, told, func(event Event) bool { return event.Kind == EventBroadcast })
	if heard.ID != from || heard.Topic != 7 || string(heard.Payload) != "to\x00all" {
		t.Fatalf("%+v", heard)
	}
	must(t, agents[0].SendTo(to, 8, []byte("to one")))
	heard = until(t, told, func(event Event) bool { return event.Kind == EventMessage })
	if heard.ID != from || heard.Topic != 8 || string(heard.Payload) != "to one" {
		t.Fatalf("%+v", heard)
	}
	if err := agents[0].SendTo(MemberID{1}, 8, nil); !errors.Is(err, CodeNotFound) {
		t.Fatalf("spoke to nobody: %v", err)
	}
	if err := agents[0].Broadcast(7, make([]byte, 1<<20)); err == nil {
		t.Fatal("a megabyte was taken")
	}
}

func TestDocumentsHealthAndCredentials(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	eventually(t, "the second one is ready", func() bool {
		health, err := agents[1].Health(ctx)
		must(t, err)
		return health == Health{Joined: true, Ready: true}
	})
	peers, err := agents[0].PeersJSON(ctx)
	must(t, err)
	if !json.Valid(peers) || !strings.Contains(string(peers), "node-2") {
		t.Fatalf("%s", peers)
	}
	leaders, err := agents[0].LeadersJSON(context.Background(), "")
	must(t, err)
	if !json.Valid(leaders) {
		t.Fatalf("%s", leaders)
	}
	if _, err = agents[0].LeadersJSON(ctx, "nowhere"); !errors.Is(err, CodeNotFound) {
		t.Fatalf("a scope that is not there: %v", err)
	}
	metrics, err := agents[0].MetricsText(ctx)
	must(t, err)
	if !strings.Contains(metrics, "# TYPE mesh_gossip_") {
		t.Fatalf("%s", metrics)
	}
	must(t, agents[0].Reload())
	if err := agents[0].AddRevocationLists([]byte("no list")); !errors.Is(err, CodeCredentials) {
		t.Fatalf("what is no list: %v", err)
	}
	if err := agents[0].ForceLeave([]byte("no order")); err == nil {
		t.Fatal("what is no order was obeyed")
	}
	over, end := context.WithCancel(context.Background())
	end()
	if _, err := agents[0].Health(over); err != context.Canceled {
		t.Fatalf("a context that is over: %v", err)
	}
}

func TestContactsTellRoundTripTimes(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	other, _ := newest(t, agents[0]).MemberByNodeID("node-2")
	eventually(t, "a round-trip time is measured", func() bool {
		contacts, err := agents[0].Contacts(context.Background())
		must(t, err)
		contact := contacts[other.ID]
		return contact.RTT > 0 && contact.RTT < patience && time.Since(contact.Last) < patience
	})
}

func TestBadTextIsRefusedByItsField(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for bad, code := range map[string]Code{"a\xed\xa0\x80": CodeUTF8, "a\xff": CodeUTF8, "a\x00b": CodeArgument} {
		failed(t, agent.SetLabel(bad, "v"), code, "key")
		failed(t, agent.SetLabel("k", bad), code, "value")
		failed(t, agent.Join(ctx, bad), code, "seeds")
		_, err := agent.LeadersJSON(ctx, bad)
		failed(t, err, code, "scope")
		failed(t, agent.SetMetadata(Metadata{Region: &bad}), code, "region")
		failed(t, agent.SetMetadata(Metadata{Labels: &map[string]string{bad: "v"}}), code, "labels")
		failed(t, agent.SetMetadata(Metadata{Labels: &map[string]string{"k": bad}}), code, "labels")
		failed(t, agent.ReportLeases(bad, nil), code, "nodeID")
		failed(t, agent.ReportLeases("q", &LeaseReport{ActiveLeases: []Lease{{LeaseID: bad}}}), code, "LeaseID")
	}
}

func TestLeasesAreReportedAndShown(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	told := func() string {
		text, err := agent.LeaseHealthJSON(ctx)
		must(t, err)
		return string(text)
	}
	must(t, agent.ReportLeases("queue-9", &LeaseReport{ActiveLeases: []Lease{{SequenceID: -7, Attempt: 1, LeaseID: "l"}}}))
	if said := told(); !strings.Contains(said, `{"sequenceId":-7,"attempt":1,"leaseId":"l"}`) {
		t.Fatal(said)
	}
	failed(t, agent.ReportLeases("", nil), CodeArgument, "node_id")
	must(t, agent.ReportLeases("queue-9", nil))
	if said := told(); strings.Contains(said, "queue-9") {
		t.Fatal(said)
	}
}

func TestHalvesOfACharacterMakeNoLabel(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	// Side by side they are a face.
	const first, second = "\xf0\x9f", "\x98\x80"
	for _, labels := range []map[string]string{{first: second}, {first: "v"}, {"k": second}} {
		labels := labels
		failed(t, agent.SetMetadata(Metadata{Labels: &labels}), CodeUTF8, "labels")
	}
	whole := map[string]string{"k": first + second}
	must(t, agent.SetMetadata(Metadata{Labels: &whole}))
	local, _ := newest(t, agent).MemberByNodeID("node-1")
	if value, _ := local.Labels.Get("k"); value != "😀" || local.Labels.Len() != 1 {
		t.Fatalf("%+v", local.Labels)
	}
}

func TestADeadlineMayBeFarAway(t *testing.T) {
	if got := milliseconds(math.MaxInt64); got != math.MaxInt64/1_000_000+1 {
		t.Fatalf("%d ms", got)
	}
	if got := []uint64{uint64(milliseconds(-1)), uint64(milliseconds(1)), uint64(milliseconds(time.Millisecond))}; got[0] != 0 || got[1] != 1 || got[2] != 1 {
		t.Fatalf("%v ms", got)
	}
	agent := newAuthority(t).start("node-1", nil)
	ctx, cancel := context.WithDeadline(context.Background(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	defer cancel()
	_, err := agent.Health(ctx)
	must(t, err)
	must(t, agent.Leave(ctx))
}

func TestOptionsThatAreNone(t *testing.T) {
	var none *Options
	_, err := Start(none)
	failed(t, err, CodeArgument, "options")
	failed(t, none.Set("fanout", "4"), CodeArgument, "options")
}
