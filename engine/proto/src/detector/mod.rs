//! Failure detection. The machines here keep no members and send nothing: they say what a probe,
//! an ack or a silence means, and the node acts on it.

pub mod awareness;
pub mod contacts;
pub mod order;
pub mod probe;
pub mod relay;
pub mod suspicion;
