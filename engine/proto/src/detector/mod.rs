//! Failure detection. The machines here keep no members and send nothing: they say what a probe,
//! an ack or a silence means, and the node acts on it.

pub mod acquittals;
pub mod audit;
pub mod awareness;
pub mod baseline;
pub mod budget;
pub mod case;
pub mod contacts;
pub mod evidence;
pub mod exile;
pub mod heard;
pub mod order;
pub mod phase;
pub mod pings;
pub mod probe;
pub mod proof;
pub mod relay;
pub mod suspicion;
pub mod test;
pub mod testimony;
pub mod vote;
pub mod watch;
