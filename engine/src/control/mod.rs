//! The control thread: bulk sync, HTTP, logs.

pub(crate) mod peers;
#[cfg(test)]
pub(crate) mod testing;
