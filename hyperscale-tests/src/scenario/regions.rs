//! Regions and how far apart they are, in virtual time and on sockets alike.

use std::time::Duration;

use crate::network::Latency;

/// One-way latency between two regions lies between these, by pair ...
const NEAREST_MS: u64 = 80;
const FARTHEST_MS: u64 = 200;
/// ... and varies by so much.
const JITTER: Duration = Duration::from_millis(20);

/// Regions take turns.
pub(crate) fn of(node: usize, regions: u8) -> u8 {
    (node % usize::from(regions)) as u8
}

/// Regions stand in a circle; the farther round, the longer the way.
pub(crate) fn latencies(regions: u8) -> Vec<Vec<Latency>> {
    let regions = u64::from(regions);
    let farthest = (regions / 2).max(1);
    let between = |a: u64, b: u64| {
        let apart = a.abs_diff(b);
        match apart.min(regions - apart) {
            0 => (Duration::from_micros(300), Duration::from_millis(1)),
            steps => {
                let span = (FARTHEST_MS - NEAREST_MS) * (steps - 1) / (farthest - 1).max(1);
                let mean = Duration::from_millis(NEAREST_MS + span);
                (mean - JITTER, mean + JITTER)
            }
        }
    };
    (0..regions).map(|a| (0..regions).map(|b| between(a, b)).collect()).collect()
}

/// The side of each node when the way between two regions is cut; zero reaches both.
pub(crate) fn cut(nodes: usize, regions: u8, (a, b): (u8, u8)) -> Vec<u8> {
    let side = |node| match of(node, regions) {
        there if there == a => 1,
        there if there == b => 2,
        _ => 0,
    };
    (0..nodes).map(side).collect()
}

/// The side of each node when the first ones, so many, are parted from all others.
pub(crate) fn parted(nodes: usize, first: usize) -> Vec<u8> {
    (0..nodes).map(|node| if node < first { 1 } else { 2 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_80_to_200_ms_apart() {
        let all = latencies(8);
        let ms = |a: usize, b: usize| all[a][b].0.as_millis() + 20;
        assert_eq!((ms(0, 1), ms(0, 4), ms(7, 0)), (80, 200, 80));
        assert!(all[3][3].1 <= Duration::from_millis(1));
    }

    #[test]
    fn a_cut_has_two_sides_and_those_who_reach_both() {
        assert_eq!(cut(6, 3, (0, 1)), [1, 2, 0, 1, 2, 0]);
        assert_eq!(parted(4, 3), [1, 1, 1, 2]);
    }
}
