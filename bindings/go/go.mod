module mesh-gossip.local/meshgossip

go 1.19
