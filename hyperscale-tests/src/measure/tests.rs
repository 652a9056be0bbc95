use std::sync::Arc;

use mesh_gossip_proto::membership::record::first_record;
use mesh_gossip_proto::{
    Authority, Event, Incarnation, Instant, LeftReason, Metadata, PeerError, Signature,
    SignedRecord, State,
};

use super::*;
use mesh_gossip_proto::membership::record::Claim;

struct Unsigned;

impl Authority for Unsigned {
    fn sign(&self, _message: &[u8]) -> Option<Signature> {
        Some(Signature { scheme: 0, bytes: vec![0] })
    }

    fn leaf(&self) -> &[u8] {
        b"leaf"
    }

    fn intermediates(&self) -> &[[u8; 32]] {
        &[]
    }

    fn verify(&self, _claim: &Claim<'_>) -> Result<(), PeerError> {
        Ok(())
    }
}

fn records(count: usize) -> Vec<Arc<SignedRecord>> {
    let record = |node: usize| {
        let metadata = Metadata { node_id: format!("n{node}"), ..Metadata::default() };
        let record = first_record("c", Incarnation::default(), Vec::new(), metadata);
        Arc::new(SignedRecord::author(record, &Unsigned).unwrap())
    };
    (0..count).map(record).collect()
}

fn at(ms: u64) -> Instant {
    Instant::from_nanos(ms * 1_000_000)
}

fn span(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn left(record: &Arc<SignedRecord>) -> Event {
    Event::Left { record: record.clone(), reason: LeftReason::Failed }
}

fn back(record: &Arc<SignedRecord>) -> Event {
    Event::Recovered { record: record.clone(), previous: State::Dead }
}

fn measured(count: usize) -> (Vec<Arc<SignedRecord>>, Measure) {
    let records = records(count);
    let ids = records.iter().map(|record| record.record().id);
    let measure = Measure::new(at(0), ids);
    (records, measure)
}

#[test]
fn a_crash_is_detected_when_the_last_live_member_knows() {
    let (records, mut measure) = measured(4);
    measure.killed(at(1_000), &[3]);
    measure.told(at(3_000), 0, &left(&records[3]), false);
    measure.told(at(3_500), 2, &left(&records[3]), false);
    assert_eq!(measure.findings(at(4_000)).missed, 1);
    measure.told(at(5_000), 1, &left(&records[3]), false);
    let found = measure.findings(at(6_000));
    assert_eq!((found.first, found.full), (vec![span(2_000)], vec![span(4_000)]));
    assert_eq!((found.detected, found.missed, found.false_deaths), (1, 0, 0));
}

#[test]
fn who_is_killed_itself_is_waited_for_no_longer() {
    let (records, mut measure) = measured(4);
    measure.killed(at(0), &[2, 3]);
    measure.told(at(10), 0, &left(&records[3]), false);
    measure.told(at(20), 0, &left(&records[2]), false);
    measure.killed(at(30), &[1]);
    measure.told(at(40), 0, &left(&records[1]), false);
    let found = measure.findings(at(100));
    assert_eq!((found.detected, found.missed), (3, 0));
}

#[test]
fn burying_the_living_is_counted_and_by_whom() {
    let (records, mut measure) = measured(4);
    measure.impaired(at(0), &[1]);
    measure.told(at(10), 1, &left(&records[2]), true);
    measure.told(at(20), 0, &left(&records[2]), false);
    measure.told(at(30), 0, &left(&records[1]), false);
    let found = measure.findings(at(100));
    assert_eq!((found.false_deaths, found.false_deaths_healthy, found.falsely_dead), (2, 1, 1));
    let own = (found.false_verdicts, found.false_verdicts_healthy);
    assert_eq!(own, (1, 0), "the healthy one learnt of it");
    assert_eq!((found.impaired_deaths, found.impaired_dead), (1, 1));
}

#[test]
fn across_a_partition_a_verdict_is_right_until_it_has_healed() {
    let (records, mut measure) = measured(4);
    measure.parted(2);
    measure.told(at(10), 0, &left(&records[3]), false);
    measure.told(at(20), 0, &left(&records[1]), false);
    measure.healed(at(30));
    measure.told(at(40), 3, &left(&records[0]), false);
    measure.told(at(30 + 5_000), 3, &left(&records[1]), false);
    assert_eq!(measure.findings(at(9_000)).false_deaths, 2, "beside a neighbour, and too late");
}

#[test]
fn a_restart_is_back_when_the_last_has_taken_its_verdict_back() {
    let (records, mut measure) = measured(3);
    measure.killed(at(0), &[2]);
    measure.told(at(1_000), 0, &left(&records[2]), false);
    measure.restarted(at(5_000), 2);
    measure.told(at(5_100), 1, &left(&records[2]), false);
    measure.told(at(5_200), 0, &back(&records[2]), false);
    assert_eq!(measure.findings(at(5_300)).not_rejoined, 1);
    measure.told(at(5_400), 1, &back(&records[2]), false);
    let found = measure.findings(at(6_000));
    assert_eq!((found.rejoin, found.not_rejoined), (vec![span(400)], 0));
    assert_eq!((found.false_deaths, found.missed), (0, 0));
    assert_eq!(found.unresolved, 1, "one had not heard of the death when it was over");
    measure.told(at(9_000), 1, &left(&records[2]), false);
    assert_eq!(measure.findings(at(9_000)).false_deaths, 1, "it has been back for long");
}

#[test]
fn an_outcast_that_comes_back_once_changed_twice() {
    let (records, mut measure) = measured(3);
    measure.count_pairs();
    measure.outcast(at(0), &[2]);
    for by in [0, 1] {
        measure.told(at(1_000), by, &left(&records[2]), false);
    }
    measure.told(at(30_000), 0, &back(&records[2]), false);
    let found = measure.findings(at(60_000));
    assert_eq!((found.detected, found.missed, found.returned), (1, 0, 1));
    assert_eq!((found.full, found.changes_of_one_max), (vec![span(1_000)], 2));
    measure.told(at(61_000), 0, &left(&records[2]), false);
    let found = measure.findings(at(62_000));
    assert_eq!((found.returned, found.changes_of_one_max), (0, 3), "out again: it has flapped");
}

/// Rule D-16: a second of quiet ends a batch, and five seconds end it in any case.
#[test]
fn batches_end_with_quiet_or_with_age() {
    let (records, mut measure) = measured(3);
    for ms in [0, 900, 1_800, 2_700, 3_600, 4_500, 5_400] {
        measure.told(at(ms), 0, &left(&records[1]), false);
    }
    measure.told(at(10_000), 0, &back(&records[1]), false);
    let found = measure.findings(at(20_000));
    assert_eq!(found.batches, [3, 0, 0], "up to 4.5 s, 5.4 s, 10 s");
}
