package meshgossip

import (
	"testing"
	"time"
)

func TestASnapshotIsHeldAcrossClose(t *testing.T) {
	agents := newAuthority(t).mesh("node-1", "node-2")
	everyoneSees(t, "node-1 node-2", agents...)
	held := newest(t, agents[0])
	must(t, agents[0].SetLabel("later", "yes"))
	after := newest(t, agents[0])
	if after == held || after.Generation() <= held.Generation() {
		t.Fatalf("generation %d after %d", after.Generation(), held.Generation())
	}
	must(t, agents[0].Close())
	local, listed := held.Member(held.LocalID())
	if !listed || !local.Local || local.NodeID != "node-1" || local.Role != "worker" || local.ClusterID != "prod" {
		t.Fatalf("%+v", local)
	}
	if local.Labels.Len() != 0 {
		t.Fatal("a snapshot has changed")
	}
	other, _ := held.MemberByNodeID("node-2")
	if other.Local || other.Endpoint != agents[1].Address() || other.Generation == 0 || other.ID.IsZero() {
		t.Fatalf("%+v", other)
	}
	if age := time.Since(held.Time()); age < -patience || age > patience {
		t.Fatalf("published %v ago", age)
	}
	seen := 0
	held.Each(func(Member) bool { seen++; return false })
	if seen != 1 || held.Len() != 2 || len(held.Members()) != 2 {
		t.Fatalf("%d of %d", seen, held.Len())
	}
	if _, listed := held.Member(MemberID{}); listed {
		t.Fatal("nobody is listed")
	}
	if _, listed := held.MemberByNodeID("node-3"); listed {
		t.Fatal("nobody is listed")
	}
}

func TestAnUnchangedViewIsCopiedOnce(t *testing.T) {
	agent := newAuthority(t).start("node-1", nil)
	eventually(t, "a view is asked for twice and copied once", func() bool {
		return newest(t, agent) == newest(t, agent)
	})
}
