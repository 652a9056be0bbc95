//! Families of metrics, made and registered in one step.
//!
//! Invariant: names are constants of this crate, so a name that Prometheus refuses or that exists
//! already is a mistake of ours and stops the first test that runs.

use std::collections::BTreeMap;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

const WELL_FORMED: &str = "metric names are well formed and distinct";

pub(super) fn register<C: Collector + Clone + 'static>(registry: &Registry, family: C) -> C {
    registry.register(Box::new(family.clone())).expect(WELL_FORMED);
    family
}

pub(super) fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    register(registry, IntGauge::new(name, help).expect(WELL_FORMED))
}

pub(super) fn real_gauge(registry: &Registry, name: &str, help: &str) -> Gauge {
    register(registry, Gauge::new(name, help).expect(WELL_FORMED))
}

pub(super) fn real_gauges(registry: &Registry, name: &str, help: &str, label: &str) -> GaugeVec {
    register(registry, GaugeVec::new(Opts::new(name, help), &[label]).expect(WELL_FORMED))
}

pub(super) fn gauges(registry: &Registry, name: &str, help: &str, label: &str) -> IntGaugeVec {
    register(registry, IntGaugeVec::new(Opts::new(name, help), &[label]).expect(WELL_FORMED))
}

pub(super) fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    register(registry, IntCounter::new(name, help).expect(WELL_FORMED))
}

pub(super) fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
) -> IntCounterVec {
    register(registry, IntCounterVec::new(Opts::new(name, help), labels).expect(WELL_FORMED))
}

/// The family with these series at zero: a rule that watches for a rise misses the first one of a
/// series that appears with it.
pub(super) fn from_zero(family: IntCounterVec, values: &[&str]) -> IntCounterVec {
    for value in values {
        let _at_zero = family.with_label_values(&[*value]);
    }
    family
}

/// A family by one label, with series of these values at zero.
pub(super) fn zeroed(
    registry: &Registry,
    name: &str,
    help: &str,
    (label, values): (&str, &[&str]),
) -> IntCounterVec {
    from_zero(counters(registry, name, help, &[label]), values)
}

/// Brings a counter up to a total that is kept elsewhere.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The same for totals by reason.
pub(super) fn raise_by(counters: &IntCounterVec, totals: &BTreeMap<&'static str, u64>) {
    for (reason, total) in totals {
        raise(&counters.with_label_values(&[*reason]), *total);
    }
}
