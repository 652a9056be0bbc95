//! Many seeds of one mix of faults, on every core.
