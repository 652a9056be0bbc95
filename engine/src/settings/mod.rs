//! Layered configuration: files, environment, origin per value.
