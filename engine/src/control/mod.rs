//! The control thread: bulk sync, HTTP, logs.
