// Does with the Go package what the lines of its input say; bindings/conformance describes them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"mesh-gossip.local/meshgossip"
)

var (
	options   = map[string]*meshgossip.Options{}
	agents    = map[string]*meshgossip.Agent{}
	streams   = map[string]<-chan meshgossip.Event{}
	snapshots = map[string]*meshgossip.Snapshot{}
)

type words []string

var errTimeout = &meshgossip.Error{Code: meshgossip.CodeTimeout}

var codes = map[meshgossip.Code]string{
	meshgossip.CodeABI: "ABI", meshgossip.CodeArgument: "ARGUMENT", meshgossip.CodeUTF8: "UTF8",
	meshgossip.CodeTooLarge: "TOO_LARGE", meshgossip.CodeConfig: "CONFIG",
	meshgossip.CodeCredentials: "CREDENTIALS", meshgossip.CodeIO: "IO", meshgossip.CodeStopped: "STOPPED",
	meshgossip.CodeTimeout: "TIMEOUT", meshgossip.CodeBusy: "BUSY", meshgossip.CodeNotFound: "NOT_FOUND",
	meshgossip.CodeRefused: "REFUSED", meshgossip.CodeReentrant: "REENTRANT", meshgossip.CodeForked: "FORKED",
	meshgossip.CodePanic: "PANIC", meshgossip.CodePoisoned: "POISONED",
	meshgossip.CodeStructSize: "STRUCT_SIZE", meshgossip.CodeDisabled: "DISABLED",
}

func dashed(text fmt.Stringer) string {
	return strings.ReplaceAll(text.String(), " ", "-")
}

func eventWords(event meshgossip.Event) words {
	told := words{dashed(event.Kind)}
	switch event.Kind {
	case meshgossip.EventBroadcast, meshgossip.EventMessage:
		return append(told, strconv.Itoa(int(event.Topic)), string(event.Payload))
	case meshgossip.EventOverflow, meshgossip.EventMissed:
		return append(told, strconv.FormatUint(event.Count, 10))
	case meshgossip.EventLeft:
		return append(told, event.Member.NodeID, event.Reason.String())
	}
	if event.Member != nil {
		told = append(told, event.Member.NodeID)
	}
	return told
}

func view(snapshot *meshgossip.Snapshot, status string) words {
	var told words
	snapshot.Each(func(member meshgossip.Member) bool {
		if status == "" || member.Status.String() == status {
			text := member.NodeID + ":" + member.Status.String() + ":" + member.Lifecycle.String()
			for index := 0; index < member.Labels.Len(); index++ {
				text += ":" + member.Labels.At(index).Key + "=" + member.Labels.At(index).Value
			}
			told = append(told, text)
		}
		return true
	})
	sort.Strings(told)
	return told
}

// Hands events of an agent to a function until it has had enough, or none came in time.
func take(name, ms string, enough func(event meshgossip.Event) bool) error {
	if streams[name] == nil {
		stream, err := agents[name].Events(context.Background())
		if err != nil {
			return err
		}
		streams[name] = stream
	}
	wait, _ := strconv.Atoi(ms)
	over := time.After(time.Duration(wait) * time.Millisecond)
	for {
		select {
		case event, open := <-streams[name]:
			if !open {
				return errTimeout
			}
			if enough(event) {
				return nil
			}
		case <-over:
			return errTimeout
		}
	}
}

func awaited(name, kind, ms string) (told words, err error) {
	err = take(name, ms, func(event meshgossip.Event) bool {
		told = eventWords(event)
		return dashed(event.Kind) == kind
	})
	return told, err
}

func tally(name, count, ms string) (words, error) {
	wanted, _ := strconv.ParseUint(count, 10, 64)
	var taken, missed uint64
	err := take(name, ms, func(event meshgossip.Event) bool {
		switch event.Kind {
		case meshgossip.EventBroadcast:
			taken++
		case meshgossip.EventMissed:
			missed += event.Count
		}
		return taken+missed >= wanted
	})
	if errors.Is(err, meshgossip.CodeTimeout) {
		err = nil
	}
	mark := "whole"
	if missed > 0 {
		mark = "marked"
	}
	return words{strconv.FormatUint(taken+missed, 10), mark}, err
}

func lifecycle(name string) meshgossip.Lifecycle {
	number := meshgossip.LifecycleActive
	for number.String() != name {
		number++
	}
	return number
}

func either(holds bool, name string) string {
	if holds {
		return name
	}
	return "not " + name
}

func made(with []string) (err error) {
	if with[2] == "file" {
		options[with[1]], err = meshgossip.OptionsFromFile(with[3])
	} else {
		options[with[1]], err = meshgossip.OptionsFromJSON(with[3])
	}
	return err
}

func started(with []string) (err error) {
	capacity, _ := strconv.ParseUint(with[3], 10, 32)
	agents[with[1]], err = meshgossip.Start(options[with[2]], meshgossip.EventsCapacity(uint(capacity)))
	return err
}

func document(agent *meshgossip.Agent, with []string) (words, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	switch with[0] {
	case "peers":
		var document struct{ LocalNodeID string }
		text, err := agent.PeersJSON(ctx)
		if err == nil {
			err = json.Unmarshal(text, &document)
		}
		return words{document.LocalNodeID}, err
	case "leaders":
		_, err := agent.LeadersJSON(ctx, with[2])
		return nil, err
	case "contacts":
		contacts, err := agent.Contacts(ctx)
		return words{strconv.Itoa(len(contacts))}, err
	case "leave":
		return nil, agent.Leave(ctx)
	}
	health, err := agent.Health(ctx)
	return words{either(health.Ready, "ready"), either(health.Draining, "draining")}, err
}

func look(agent *meshgossip.Agent, with []string) (words, error) {
	snapshot, err := agent.Snapshot()
	if err != nil {
		return nil, err
	}
	if with[0] == "snapshot" {
		snapshots[with[2]] = snapshot
		return nil, nil
	}
	if len(with) > 2 {
		return view(snapshot, with[2]), nil
	}
	return view(snapshot, ""), nil
}

func say(agent *meshgossip.Agent, with []string) error {
	topic, _ := strconv.ParseUint(with[2], 10, 16)
	if with[0] == "send" {
		return agent.SendTo(meshgossip.MemberID{}, uint16(topic), []byte(with[3]))
	}
	return agent.Broadcast(uint16(topic), []byte(with[3]))
}

func certificates(agent *meshgossip.Agent, paths []string) error {
	var contents [3][]byte
	for index, path := range paths {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		contents[index] = content
	}
	return agent.ReloadCertificates(meshgossip.Certificates{Certificate: contents[0], Key: contents[1], CA: contents[2]})
}

func act(with []string) (words, error) {
	switch with[0] {
	case "load":
		return nil, meshgossip.Check()
	case "options":
		return nil, made(with)
	case "set":
		if len(with) < 4 {
			return nil, options[with[1]].Unset(with[2])
		}
		return nil, options[with[1]].Set(with[2], with[3])
	case "start":
		return nil, started(with)
	case "members":
		return view(snapshots[with[1]], ""), nil
	case "await":
		return awaited(with[1], with[2], with[3])
	case "tally":
		return tally(with[1], with[2], with[3])
	}
	agent := agents[with[1]]
	switch with[0] {
	case "address":
		return words{agent.Address()}, nil
	case "node":
		return words{agent.NodeID()}, nil
	case "label":
		if len(with) < 4 {
			return nil, agent.RemoveLabel(with[2])
		}
		return nil, agent.SetLabel(with[2], with[3])
	case "lifecycle":
		return nil, agent.SetLifecycle(lifecycle(with[2]))
	case "reload":
		return nil, agent.Reload()
	case "metadata":
		labels := map[string]string{with[3]: with[4]}
		return nil, agent.SetMetadata(meshgossip.Metadata{Region: &with[2], Labels: &labels})
	case "certificates":
		return nil, certificates(agent, with[2:])
	case "latest":
		topic, _ := strconv.ParseUint(with[2], 10, 16)
		key, _ := strconv.ParseUint(with[3], 10, 64)
		return nil, agent.BroadcastLatest(uint16(topic), key, []byte(with[4]))
	case "stop":
		return nil, agent.Stop()
	case "close":
		return nil, agent.Close()
	case "snapshot", "view":
		return look(agent, with)
	case "broadcast", "send":
		return nil, say(agent, with)
	}
	return document(agent, with)
}

// What the marks of bad text stand for: half of a surrogate pair, as three bytes that are no UTF-8,
// and a zero.
var marks = strings.NewReplacer("<half>", "\xed\xa0\x80", "<zero>", "\x00")

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		told, err := act(strings.Split(marks.Replace(lines.Text()), "\t"))
		var failed *meshgossip.Error
		switch {
		case err == nil:
			told = append(words{"ok"}, told...)
		case errors.As(err, &failed) && failed.Field != "":
			told = words{"error", codes[failed.Code], failed.Field}
		case errors.As(err, &failed):
			told = words{"error", codes[failed.Code], "-"}
		default:
			told = words{"error", err.Error(), "-"}
		}
		fmt.Println(strings.Join(told, "\t"))
	}
}
