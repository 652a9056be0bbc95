// Joins a mesh and tells what happens there: join FILE, with the settings of a node as
// `omnirelay mesh bootstrap issue` prints them. Ctrl-C says goodbye.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"mesh-gossip.local/meshgossip"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: join FILE")
	}
	if err := join(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func join(file string) error {
	options, err := meshgossip.OptionsFromFile(file)
	if err != nil {
		return err
	}
	defer options.Close()
	agent, err := meshgossip.Start(options)
	if err != nil {
		return err
	}
	defer agent.Close()
	interrupted, done := signal.NotifyContext(context.Background(), os.Interrupt)
	defer done()
	events, err := agent.Events(interrupted)
	if err != nil {
		return err
	}
	for event := range events {
		fmt.Println(event.Kind, event.ID)
	}
	return agent.Leave(context.Background())
}
