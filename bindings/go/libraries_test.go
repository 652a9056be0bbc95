package meshgossip

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// Set in the process that has the fake library.
const inside = "MESH_GOSSIP_TEST_INSIDE"

// Runs the calling test once more, in a process that finds the fake library under a script. True
// within that process.
func scripted(t *testing.T, script string) bool {
	t.Helper()
	if os.Getenv(inside) == t.Name() {
		return true
	}
	places := t.TempDir()
	if output, err := exec.Command("../../ffi/fake/compile", places).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	program, err := os.Executable()
	must(t, err)
	again := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout", patience.String())
	again.Env = append(os.Environ(), inside+"="+t.Name(), "LD_LIBRARY_PATH="+places, "MESH_GOSSIP_FAKE="+script)
	output, err := again.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	t.Logf("%s", output)
	return false
}

func fake(t testing.TB) *Agent {
	t.Helper()
	options, err := OptionsFromJSON("{}")
	must(t, err)
	agent, err := Start(options)
	must(t, err)
	must(t, options.Close())
	t.Cleanup(func() { must(t, agent.Close()) })
	return agent
}

func TestALibraryOfAnotherABIIsRefused(t *testing.T) {
	if !scripted(t, "abi=2") {
		return
	}
	failed(t, Check(), CodeABI, "")
	_, err := OptionsFromJSON("{}")
	failed(t, err, CodeABI, "")
}

func TestRecordsThatAreTooShortAreRefused(t *testing.T) {
	if !scripted(t, "short=label") {
		return
	}
	_, err := OptionsFromJSON("{}")
	failed(t, err, CodeABI, "label")
}

func TestRecordsMayBeLongerAndChunksAreCopiedOnce(t *testing.T) {
	if !scripted(t, "members=1000;labels=2;longer=16;churn") {
		return
	}
	agent := fake(t)
	first, second := newest(t, agent), newest(t, agent)
	for index, member := range first.Members() {
		label, _ := member.Labels.Get("label-01")
		number := strconv.Itoa(index % 10)
		if member.ID[15] != byte(index) || member.Role != "worker" || label != "value-"+number {
			t.Fatalf("member %d: %+v", index, member)
		}
	}
	for index := range first.chunks {
		same := &first.chunks[index].members[0] == &second.chunks[index].members[0]
		if last := index == len(first.chunks)-1; same == last {
			t.Fatalf("chunk %d is the same: %v", index, same)
		}
	}
	version := func(snapshot *Snapshot) uint64 {
		member, _ := snapshot.MemberByNodeID("node-0999")
		return member.MetadataVersion
	}
	if first.Len() != 1000 || version(first)+1 != version(second) {
		t.Fatalf("%d members, version %d, then %d", first.Len(), version(first), version(second))
	}
}

// What ./figures runs, over the fake library: all chunks are copied each time.
func BenchmarkAThousandMembers(b *testing.B) {
	for _, labels := range []string{"0", "2"} {
		must(b, os.Setenv("MESH_GOSSIP_FAKE", "members=1000;labels="+labels))
		agent := fake(b)
		b.Run(labels+"Labels", func(b *testing.B) {
			for round := 0; round < b.N; round++ {
				agent.view.drop()
				if newest(b, agent).Len() != 1000 {
					b.Fatal("this is for the fake library: run ./figures")
				}
			}
		})
	}
}
