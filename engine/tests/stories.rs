//! Real agents on real sockets, told as stories: what a host and its operator see of a mesh that
//! forms, changes, is cut, heals, loses members and is attacked.

mod mesh;

#[path = "stories/certified.rs"]
mod certified;
#[path = "stories/crowd.rs"]
mod crowd;
#[path = "stories/departure.rs"]
mod departure;
#[path = "stories/discovery.rs"]
mod discovery;
#[path = "stories/floods.rs"]
mod floods;
#[path = "stories/gate.rs"]
mod gate;
#[path = "stories/hostile.rs"]
mod hostile;
#[path = "stories/leaders.rs"]
mod leaders;
#[path = "stories/lists.rs"]
mod lists;
#[path = "stories/metadata.rs"]
mod metadata;
#[path = "stories/names.rs"]
mod names;
#[path = "stories/neighbours.rs"]
mod neighbours;
#[path = "stories/papers.rs"]
mod papers;
#[path = "stories/partition.rs"]
mod partition;
#[path = "stories/promises.rs"]
mod promises;
#[path = "stories/reconfigured.rs"]
mod reconfigured;
#[path = "stories/renewal.rs"]
mod renewal;
#[path = "stories/restart.rs"]
mod restart;
#[path = "stories/secrecy.rs"]
mod secrecy;
#[path = "stories/secrets.rs"]
mod secrets;
#[path = "stories/speaking.rs"]
mod speaking;
#[path = "stories/start_errors.rs"]
mod start_errors;
#[path = "stories/strangers.rs"]
mod strangers;
