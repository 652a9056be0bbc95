//! A set of small numbers, one bit each.
//!
//! Invariant: `count` is the number of bits set.

/// The set.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: Vec<u64>,
    count: usize,
}

impl Bits {
    pub(super) fn empty(size: usize) -> Self {
        Self { words: vec![0; size.div_ceil(64)], count: 0 }
    }

    /// All numbers below `size`.
    pub(super) fn full(size: usize) -> Self {
        let mut words = vec![u64::MAX; size.div_ceil(64)];
        if let Some(last) = words.last_mut()
            && !size.is_multiple_of(64)
        {
            *last = (1 << (size % 64)) - 1;
        }
        Self { words, count: size }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        self.words[number / 64] >> (number % 64) & 1 == 1
    }

    /// Returns whether it was absent.
    pub(super) fn set(&mut self, number: usize) -> bool {
        let absent = !self.contains(number);
        self.words[number / 64] |= 1 << (number % 64);
        self.count += usize::from(absent);
        absent
    }

    /// Returns whether it was present.
    pub(super) fn clear(&mut self, number: usize) -> bool {
        let present = self.contains(number);
        self.words[number / 64] &= !(1 << (number % 64));
        self.count -= usize::from(present);
        present
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }
}
