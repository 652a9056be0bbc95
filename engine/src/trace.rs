//! One log line a transition.
