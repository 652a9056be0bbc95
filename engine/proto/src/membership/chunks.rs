//! A vector that can be copied for the price of its spine.
//!
//! Two levels behind `Arc`: a block holds 64 chunks, a chunk 64 items. A copy shares everything;
//! a write copies the one chunk and the one block that it touches, once per copy. This is what
//! lets a view be published after every change without O(N) work (rule V-1).
//!
//! Invariant: every chunk but the last is full, and the last is not empty.

use alloc::sync::Arc;
use alloc::vec::Vec;

use arrayvec::ArrayVec;

/// Items in a chunk, chunks in a block.
pub const WIDTH: usize = 64;

type Chunk<T> = Arc<ArrayVec<T, WIDTH>>;

/// A persistent vector; `clone` is O(len / 4,096).
#[derive(Clone, Debug)]
pub struct Chunks<T> {
    blocks: Vec<Arc<ArrayVec<Chunk<T>, WIDTH>>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// Number of items.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The item at `index`.
    pub fn get(&self, index: usize) -> Option<&T> {
        let block = self.blocks.get(index / (WIDTH * WIDTH))?;
        block.get(index / WIDTH % WIDTH)?.get(index % WIDTH)
    }

    /// The chunks in order, for readers that cache by chunk.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk<T>> {
        self.blocks.iter().flat_map(|block| block.iter())
    }

    /// The items in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks().flat_map(|chunk| chunk.iter())
    }

    /// How many chunks are one and the same in both.
    pub fn shared_with(&self, other: &Self) -> usize {
        self.chunks().zip(other.chunks()).filter(|(a, b)| Arc::ptr_eq(a, b)).count()
    }
}

impl<T: Clone> Chunks<T> {
    /// Appends an item.
    pub fn push(&mut self, item: T) {
        if self.len.is_multiple_of(WIDTH * WIDTH) {
            self.blocks.push(Arc::default());
        }
        let last = self.blocks.len() - 1;
        let block = Arc::make_mut(&mut self.blocks[last]);
        if self.len.is_multiple_of(WIDTH) {
            block.push(Arc::default());
        }
        let last = block.len() - 1;
        Arc::make_mut(&mut block[last]).push(item);
        self.len += 1;
    }

    /// Takes the last item away.
    pub fn pop(&mut self) -> Option<T> {
        let block = Arc::make_mut(self.blocks.last_mut()?);
        let chunk = Arc::make_mut(block.last_mut()?);
        let item = chunk.pop()?;
        if chunk.is_empty() {
            block.pop();
        }
        if block.is_empty() {
            self.blocks.pop();
        }
        self.len -= 1;
        Some(item)
    }

    /// Write access to the item at `index`.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let block = Arc::make_mut(self.blocks.get_mut(index / (WIDTH * WIDTH))?);
        Arc::make_mut(block.get_mut(index / WIDTH % WIDTH)?).get_mut(index % WIDTH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    /// Rule V-1: one change to 10,000 items leaves all chunks but one shared.
    #[test]
    fn a_write_copies_one_chunk_and_old_copies_keep_their_content() {
        let mut chunks = Chunks::default();
        for item in 0..10_000 {
            chunks.push(item);
        }
        let old = chunks.clone();
        *chunks.get_mut(5_000).unwrap() = 0;
        assert_eq!(old.get(5_000), Some(&5_000));
        assert_eq!(chunks.get(5_000), Some(&0));
        assert_eq!(chunks.shared_with(&old), 10_000usize.div_ceil(WIDTH) - 1);
        assert!(old.iter().copied().eq(0..10_000));
        assert_eq!(chunks.get(10_000), None);
    }

    #[test]
    fn growing_a_copy_does_not_grow_the_original() {
        let mut chunks: Chunks<usize> = Chunks::default();
        let copies: Vec<_> = (0..200)
            .map(|item| {
                chunks.push(item);
                chunks.clone()
            })
            .collect();
        for (length, copy) in copies.iter().enumerate() {
            assert!(copy.iter().copied().eq(0..=length));
        }
    }

    #[test]
    fn shrinking_a_copy_does_not_shrink_the_original() {
        let mut chunks: Chunks<usize> = Chunks::default();
        let full = WIDTH * WIDTH + WIDTH + 1;
        (0..full).for_each(|item| chunks.push(item));
        let old = chunks.clone();
        for left in (0..full).rev() {
            assert_eq!(chunks.pop(), Some(left));
            assert_eq!((chunks.len(), chunks.get(left)), (left, None));
        }
        assert_eq!(chunks.pop(), None);
        chunks.push(7);
        assert!(chunks.iter().copied().eq([7]));
        assert!(old.iter().copied().eq(0..full));
    }
}
