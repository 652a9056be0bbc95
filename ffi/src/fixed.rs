//! Elements that C has pointers to.
//!
//! A box says that it is the only way to what it holds: moving it ends every pointer that was taken
//! before, by the rules that the compiler optimizes by, although no byte has moved. What is handed to C
//! is moved about all the time, into a chunk, a batch, an `Arc`. So the elements are held by a raw
//! pointer, of which those for C are copies.
//!
//! Invariant: nobody writes to the elements, and a pointer to one of them is one to all of them: a
//! reader goes from the first to the next by the stride.

use std::ops::Deref;
use std::ptr::{self, NonNull};

pub(crate) struct Fixed<T>(NonNull<[T]>);

impl<T> Fixed<T> {
    pub(crate) fn of(elements: Vec<T>) -> Self {
        let all = Box::into_raw(elements.into_boxed_slice());
        // SAFETY: a box is never null.
        Self(unsafe { NonNull::new_unchecked(all) })
    }

    /// The first one, and from there all others.
    pub(crate) const fn start(&self) -> *const T {
        self.0.as_ptr().cast_const().cast()
    }

    /// The one at a place, and from there all others; null where there is none.
    pub(crate) const fn at(&self, place: usize) -> *const T {
        if place < self.0.len() {
            // SAFETY: within the elements.
            unsafe { self.start().add(place) }
        } else {
            ptr::null()
        }
    }
}

impl<T> Deref for Fixed<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: they live as long as this, and nobody writes to them.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Fixed<T> {
    fn drop(&mut self) {
        // SAFETY: it came from a box, and is freed once.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

// SAFETY: it owns its elements, as a box does.
unsafe impl<T: Send> Send for Fixed<T> {}
// SAFETY: likewise; only shared references are given out.
unsafe impl<T: Sync> Sync for Fixed<T> {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    #[test]
    fn pointers_outlive_moves_of_the_owner_and_reach_all_elements() {
        let fixed = Fixed::of(vec![7_u64, 8, 9]);
        let (first, last) = (fixed.start(), fixed.at(2));
        // Into a box, as an owner that is handed to C is.
        let moved = Box::new((fixed, "beside"));
        // SAFETY: within the elements, which live.
        let second = unsafe { first.add(1) };
        // SAFETY: all lie within the elements, which live.
        let read = [first, second, last].map(|element| unsafe { *element });
        assert_eq!(read, [7, 8, 9]);
        assert!(moved.0.at(3).is_null() && ptr::eq(moved.0.start(), first));
        assert_eq!(*moved.0, [7, 8, 9]);
        assert!(Fixed::<u8>::of(Vec::new()).at(0).is_null());
    }

    #[test]
    fn elements_are_dropped_once() {
        let element = Rc::new(());
        let fixed = Fixed::of(vec![Rc::clone(&element), Rc::clone(&element)]);
        assert_eq!(Rc::strong_count(&element), 3);
        drop(fixed);
        assert_eq!(Rc::strong_count(&element), 1);
    }
}
