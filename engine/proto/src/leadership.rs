//! Who leads what, as far as everybody can tell from the same view (rules E-1 to E-7).
//!
//! Think of a village with a fixed order of succession for each of its offices. Everybody can work
//! out the order from the register of members, so nobody has to vote: whoever comes first and has
//! done so for a while takes the office and writes the number of his term beside his name in the
//! register; whoever reads a higher number than his own steps down. This is advice and no lock: in a
//! village cut in two both halves have a head, and only the numbers tell the later one.
//!
//! Pure over members: [`order`] is the order of succession, [`office`] one scope at one node.

pub mod fence;
pub mod office;
pub mod order;

pub use order::{SUCCESSORS, leader, succession};
