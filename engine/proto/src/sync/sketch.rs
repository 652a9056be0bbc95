//! What two sets of members differ in, from one datagram (rule A-4).
//!
//! An invertible Bloom lookup table (Goodrich and Mitzenmacher 2011, Eppstein et al. 2011): every
//! element is added to one cell of each quarter of the table (of three parts, two of thirty
//! elements share all cells in one table of seventy; of four, in one of eight hundred). The table of another, subtracted cell by
//! cell, leaves the differences alone; a cell that holds one of them gives it away, which frees the
//! cells that it shared. The elements are the members' shares in the digest of a view (rule A-1).
//!
//! Invariants: a table has [`CELLS`] cells and no more bytes than a datagram takes, however many
//! elements it was made of; decoding ends after so many steps, whatever the bytes say.

use alloc::vec::Vec;

use crate::wire::message::SKETCH_BYTES;

/// Cells of a table, in quarters: about forty differences are found in nearly every case.
pub const CELLS: usize = 96;
/// Bytes of a cell: count, check and XOR of its elements.
const CELL_BYTES: usize = 11;
/// Bytes of a table.
pub const BYTES: usize = SKETCH_BYTES;
const _: () = assert!(BYTES == CELLS * CELL_BYTES);
const QUARTERS: usize = 4;
const QUARTER: usize = CELLS / QUARTERS;
/// Bits that choose a cell of a quarter; the other sixteen are the check.
const CHOICE: usize = 12;

/// What a cell adds up. The count may wrap around: only differences are ever looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Cell {
    count: i8,
    check: u16,
    sum: u64,
}

impl Cell {
    fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// The element, if the cell seems to hold one alone.
    fn alone(self, salt: u64) -> Option<u64> {
        let single = self.count.unsigned_abs() == 1 && self.check == check(mix(self.sum, salt));
        single.then_some(self.sum)
    }
}

/// A table of elements that are of one part of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sketch {
    salt: u64,
    cells: [Cell; CELLS],
}

/// Elements that one side alone has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Those of the table that another was subtracted from.
    pub ours: Vec<u64>,
    /// Those of the other.
    pub theirs: Vec<u64>,
}

/// Finalizer of MurmurHash3 (Appleby 2011), salted: elements that meet in every cell under one salt
/// part under the next.
fn mix(element: u64, salt: u64) -> u64 {
    let mut x = element ^ salt;
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

fn check(mixed: u64) -> u16 {
    (mixed >> (QUARTERS * CHOICE)) as u16
}

fn places(mixed: u64) -> [usize; QUARTERS] {
    core::array::from_fn(|quarter| {
        let choice = (mixed >> (quarter * CHOICE)) & ((1 << CHOICE) - 1);
        quarter * QUARTER + choice as usize % QUARTER
    })
}

/// Which of so many parts an element belongs to under this salt: what one salt leaves together in a
/// part that does not decode, the next one parts.
pub fn part_of(salt: u64, element: u64, parts: u16) -> u16 {
    // Multiply-shift (Dietzfelbinger et al. 1997). Not `mix`, whose bits choose cells and checks:
    // those of one part would share some of them.
    let mixed = element.wrapping_mul(salt | 1);
    (((mixed >> 32) * u64::from(parts)) >> 32) as u16
}

impl Sketch {
    /// An empty table; tables are comparable under one `salt`.
    pub fn new(salt: u64) -> Self {
        Self { salt, cells: [Cell::default(); CELLS] }
    }

    /// A table of `elements`, each of which must occur once.
    pub fn of(salt: u64, elements: impl Iterator<Item = u64>) -> Self {
        let mut sketch = Self::new(salt);
        elements.for_each(|element| sketch.add(element));
        sketch
    }

    /// Adds an element that is not in it.
    pub fn add(&mut self, element: u64) {
        self.toggle(element, 1);
    }

    fn toggle(&mut self, element: u64, by: i8) {
        let mixed = mix(element, self.salt);
        let check = check(mixed);
        for place in places(mixed) {
            let cell = &mut self.cells[place];
            cell.count = cell.count.wrapping_add(by);
            cell.check ^= check;
            cell.sum ^= element;
        }
    }

    /// The salt that it was made with.
    pub fn salt(&self) -> u64 {
        self.salt
    }

    /// Takes the table of another, made under the same salt, away from this one.
    pub fn subtract(&mut self, other: &Self) {
        for (cell, theirs) in self.cells.iter_mut().zip(&other.cells) {
            cell.count = cell.count.wrapping_sub(theirs.count);
            cell.check ^= theirs.check;
            cell.sum ^= theirs.sum;
        }
    }

    /// All differences, or `None` when there are too many (or the bytes were made up).
    pub fn decode(mut self) -> Option<Difference> {
        let mut found = Difference::default();
        let mut queue: Vec<usize> = (0..CELLS).collect();
        let mut left = CELLS;
        while let Some(place) = queue.pop() {
            let cell = self.cells[place];
            let Some(element) = cell.alone(self.salt) else { continue };
            // A sum of several may pass for one, which seldom belongs where it stands.
            if places(mix(element, self.salt))[place / QUARTER] != place {
                continue;
            }
            // A made-up table may give away elements for ever.
            left = left.checked_sub(1)?;
            let side = if cell.count == 1 { &mut found.ours } else { &mut found.theirs };
            side.push(element);
            self.toggle(element, -cell.count);
            queue.extend(places(mix(element, self.salt)));
        }
        if !self.cells.iter().all(|cell| cell.is_empty()) {
            return None;
        }
        // One that was never there has been put back by now: it stands on both sides.
        let Difference { ours, theirs } = &mut found;
        ours.retain(|element| match theirs.iter().position(|other| other == element) {
            Some(at) => {
                theirs.swap_remove(at);
                false
            }
            None => true,
        });
        Some(found)
    }

    /// How many differences a table holds that does not decode, to within a quarter or so: each falls
    /// into one cell of a quarter, so that the counts of its cells scatter by as much, whichever side
    /// the differences are of. From some fifty thousand on the counts scatter over all that they can
    /// tell, which reads as a hundred thousand.
    pub fn estimate(&self) -> u32 {
        let scatter = |quarter: &[Cell]| {
            // Counts wrap around; what lies between two of them does not.
            let from = quarter[0].count;
            let apart = |cell: &Cell| i64::from(cell.count.wrapping_sub(from));
            let sum: i64 = quarter.iter().map(apart).sum();
            let squares: i64 = quarter.iter().map(|cell| apart(cell) * apart(cell)).sum();
            let cells = QUARTER as i64;
            // Cells times their sample variance, times cells − 1 to stay whole.
            cells * squares - sum * sum
        };
        let sum: i64 = self.cells.chunks_exact(QUARTER).map(scatter).sum();
        (sum / (CELLS - QUARTERS) as i64) as u32
    }

    /// The cells as they travel: little-endian count, check and sum, one after another.
    pub fn to_bytes(&self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (cell, out) in self.cells.iter().zip(bytes.chunks_exact_mut(CELL_BYTES)) {
            out[0] = cell.count as u8;
            out[1..3].copy_from_slice(&cell.check.to_le_bytes());
            out[3..].copy_from_slice(&cell.sum.to_le_bytes());
        }
        bytes
    }

    /// From what came.
    pub fn from_bytes(salt: u64, bytes: &[u8; BYTES]) -> Self {
        let mut sketch = Self::new(salt);
        for (cell, bytes) in sketch.cells.iter_mut().zip(bytes.chunks_exact(CELL_BYTES)) {
            let mut sum = [0; 8];
            sum.copy_from_slice(&bytes[3..]);
            *cell = Cell {
                count: bytes[0] as i8,
                check: u16::from_le_bytes([bytes[1], bytes[2]]),
                sum: u64::from_le_bytes(sum),
            };
        }
        sketch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    fn difference(salt: u64, ours: &BTreeSet<u64>, theirs: &BTreeSet<u64>) -> Option<Difference> {
        let mut sketch = Sketch::of(salt, ours.iter().copied());
        let bytes = Sketch::of(salt, theirs.iter().copied()).to_bytes();
        sketch.subtract(&Sketch::from_bytes(salt, &bytes));
        let mut found = sketch.decode()?;
        found.ours.sort_unstable();
        found.theirs.sort_unstable();
        Some(found)
    }

    fn elements(rng: &mut fastrand::Rng, count: usize) -> BTreeSet<u64> {
        let mut set = BTreeSet::new();
        while set.len() < count {
            set.insert(rng.u64(..));
        }
        set
    }

    proptest! {
        /// Whatever is found is the truth, on both sides; few are found under one salt or the next.
        #[test]
        fn what_is_found_is_the_difference(
            seed: u64, salt: u64, common in 0usize..2_000, ours in 0usize..60, theirs in 0usize..60
        ) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut all: Vec<u64> =
                elements(&mut rng, common + ours + theirs).into_iter().collect();
            // Sorted: shuffled, or sides would differ in their high bits.
            rng.shuffle(&mut all);
            let ours: BTreeSet<u64> = all[..common + ours].iter().copied().collect();
            let skipped: BTreeSet<u64> = all[common..ours.len()].iter().copied().collect();
            let theirs: BTreeSet<u64> =
                all.iter().filter(|element| !skipped.contains(element)).copied().collect();
            if let Some(found) = difference(salt, &ours, &theirs) {
                prop_assert_eq!(found.ours, ours.difference(&theirs).copied().collect::<Vec<_>>());
                prop_assert_eq!(found.theirs, theirs.difference(&ours).copied().collect::<Vec<_>>());
            } else {
                let few = ours.symmetric_difference(&theirs).count() <= 30;
                prop_assert!(!few || difference(salt.wrapping_add(1), &ours, &theirs).is_some());
            }
        }

        /// Bytes that nobody made of elements end the search all the same.
        #[test]
        fn any_bytes_decode_or_are_refused(seed: u64, sparse: bool) {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut bytes = [0; BYTES];
            let kept = if sparse { 8 } else { 1 };
            bytes.iter_mut().for_each(|byte| if rng.usize(..kept) == 0 { *byte = rng.u8(..) });
            if let Some(found) = Sketch::from_bytes(seed, &bytes).decode() {
                prop_assert!(found.ours.len() + found.theirs.len() <= CELLS);
            }
        }
    }

    /// A cell of several elements whose check happens to be that of their sum gives away one that nobody has.
    #[test]
    fn what_was_never_there_is_not_found() {
        let (mut rng, salt) =
            (fastrand::Rng::with_seed(9_384_142_987_855_367_920), 14_058_426_311_259_994_832);
        let mut all: Vec<u64> = elements(&mut rng, 1_167 + 38 + 22).into_iter().collect();
        rng.shuffle(&mut all);
        let ours: BTreeSet<u64> = all[..1_167 + 38].iter().copied().collect();
        let theirs: BTreeSet<u64> =
            all[..1_167].iter().chain(&all[1_167 + 38..]).copied().collect();
        let found = difference(salt, &ours, &theirs).expect("it decodes");
        assert_eq!((found.ours.len(), found.theirs.len()), (38, 22));
    }

    /// As many as the protocol counts on: forty of forty, in nearly every table.
    #[test]
    fn forty_differences_are_found() {
        let mut rng = fastrand::Rng::with_seed(11);
        let found = |rng: &mut fastrand::Rng, count: usize| {
            (0..1_000)
                .filter(|salt| {
                    let theirs = elements(rng, count);
                    difference(*salt, &BTreeSet::new(), &theirs).is_some()
                })
                .count()
        };
        assert!(found(&mut rng, 30) >= 995, "thirty nearly always");
        assert!(found(&mut rng, 40) >= 990, "forty nearly always");
        assert!(found(&mut rng, 120) < 10, "a hundred and twenty never fit");
    }

    /// A cell that gives the same element away again and again ends the search.
    #[test]
    fn a_made_up_table_ends() {
        let salt = 5;
        let mut sketch = Sketch::new(salt);
        for place in 0..CELLS {
            let element = place as u64;
            let check = check(mix(element, salt));
            sketch.cells[place] = Cell { count: 1, check, sum: element };
        }
        assert_eq!(sketch.decode(), None);
    }

    /// Rule A-5: what does not decode tells how many parts it takes, whichever side has more.
    #[test]
    fn too_many_differences_are_estimated() {
        let mut rng = fastrand::Rng::with_seed(5);
        for count in [60, 100, 300, 1_000, 3_000, 10_000] {
            for share in [0.0, 0.5, 0.9] {
                let near = (0..100)
                    .filter(|salt| {
                        let (mut ours, mut theirs) = (Sketch::new(*salt), Sketch::new(*salt));
                        for _ in 0..count {
                            let side = if rng.f64() < share { &mut theirs } else { &mut ours };
                            side.add(rng.u64(..));
                        }
                        ours.subtract(&theirs);
                        let estimate = f64::from(ours.estimate());
                        (0.65..1.45).contains(&(estimate / f64::from(count)))
                    })
                    .count();
                assert!(near >= 95, "{count} differences, {share} theirs: {near} of 100 near");
            }
        }
        let crowd = Sketch::of(1, (0..200_000).map(|_| rng.u64(..)));
        assert!(crowd.estimate() > 60_000, "more than can be told is many: {}", crowd.estimate());
    }

    #[test]
    fn parts_cover_everything_once() {
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..1_000 {
            let (salt, element) = (rng.u64(..), rng.u64(..));
            assert_eq!(part_of(salt, element, 1), 0);
            assert!(part_of(salt, element, 33) < 33);
            assert_eq!(part_of(salt, element, 32) >> 1, part_of(salt, element, 16));
        }
        assert_eq!((part_of(1, 0, 500), part_of(1, u64::MAX, 500)), (0, 499));
    }

    /// Rule A-5: elements that one salt has put into one part are spread over all parts by another.
    #[test]
    fn the_next_salt_parts_what_one_left_together() {
        let mut rng = fastrand::Rng::with_seed(12);
        let (before, after) = (rng.u64(..), rng.u64(..));
        let elements = core::iter::repeat_with(|| rng.u64(..));
        let together: Vec<u64> =
            elements.filter(|element| part_of(before, *element, 40) == 7).take(120).collect();
        let of = |part: u16| together.iter().filter(|e| part_of(after, **e, 4) == part).count();
        let parts: Vec<usize> = (0..4).map(of).collect();
        assert!(parts.iter().all(|count| (15..50).contains(count)), "{parts:?}");
    }
}
