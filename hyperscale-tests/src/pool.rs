//! Buffers that are used again, so that a datagram in flight costs no allocation.
//!
//! Most datagrams are a ping or an ack: those fit in a cache line, which is all that they touch.

use std::ops::Deref;

/// A number that stands for a buffer of the pool.
pub(crate) type Buffer = u32;

/// This bit of a number tells the long ones.
const LONG: Buffer = 1 << 31;
/// Bytes of a short one.
const SHORT: usize = 63;

/// A short datagram: a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Short {
    length: u8,
    bytes: [u8; SHORT],
}

/// What a buffer holds, while it is out of the pool.
pub(crate) struct Taken(Held);

enum Held {
    Short(Short),
    Long(Vec<u8>),
}

impl Deref for Taken {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Held::Short(short) => &short.bytes[..usize::from(short.length)],
            Held::Long(bytes) => bytes,
        }
    }
}

/// All buffers, in use or free.
#[derive(Default)]
pub(crate) struct Pool {
    short: Vec<Short>,
    long: Vec<Vec<u8>>,
    free_short: Vec<Buffer>,
    free_long: Vec<Buffer>,
}

impl Pool {
    /// A buffer that holds a copy of `bytes`.
    pub(crate) fn hold(&mut self, bytes: &[u8]) -> Buffer {
        if bytes.len() > SHORT {
            return self.hold_long(bytes);
        }
        let buffer = self.free_short.pop().unwrap_or_else(|| {
            self.short.push(Short { length: 0, bytes: [0; SHORT] });
            self.short.len() as Buffer - 1
        });
        let short = &mut self.short[buffer as usize];
        short.length = bytes.len() as u8;
        short.bytes[..bytes.len()].copy_from_slice(bytes);
        buffer
    }

    fn hold_long(&mut self, bytes: &[u8]) -> Buffer {
        let buffer = self.free_long.pop().unwrap_or_else(|| {
            self.long.push(Vec::new());
            self.long.len() as Buffer - 1
        });
        self.long[buffer as usize].extend_from_slice(bytes);
        buffer | LONG
    }

    /// Where the buffer is kept: of a short one, its bytes.
    pub(crate) fn place(&self, buffer: Buffer) -> *const u8 {
        if buffer & LONG == 0 {
            (&raw const self.short[buffer as usize]).cast()
        } else {
            (&raw const self.long[(buffer & !LONG) as usize]).cast()
        }
    }

    /// Where the bytes of a long one are.
    pub(crate) fn bytes(&self, buffer: Buffer) -> *const u8 {
        if buffer & LONG == 0 {
            self.place(buffer)
        } else {
            self.long[(buffer & !LONG) as usize].as_ptr()
        }
    }

    /// The first byte of the buffer; 0 where there is none.
    pub(crate) fn first(&self, buffer: Buffer) -> u8 {
        if buffer & LONG == 0 {
            self.short[buffer as usize].bytes[0]
        } else {
            self.long[(buffer & !LONG) as usize].first().copied().unwrap_or(0)
        }
    }

    /// What the buffer holds. It has to be [given back](Pool::give_back).
    pub(crate) fn take(&mut self, buffer: Buffer) -> Taken {
        if buffer & LONG == 0 {
            return Taken(Held::Short(self.short[buffer as usize]));
        }
        Taken(Held::Long(std::mem::take(&mut self.long[(buffer & !LONG) as usize])))
    }

    /// Makes the buffer free for others.
    pub(crate) fn give_back(&mut self, buffer: Buffer, bytes: Taken) {
        match bytes.0 {
            Held::Short(_) => self.free_short.push(buffer),
            Held::Long(mut bytes) => {
                bytes.clear();
                self.long[(buffer & !LONG) as usize] = bytes;
                self.free_long.push(buffer & !LONG);
            }
        }
    }

    /// Frees a buffer unread.
    pub(crate) fn free(&mut self, buffer: Buffer) {
        let bytes = self.take(buffer);
        self.give_back(buffer, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Short and long ones are told apart, and free ones are used again.
    #[test]
    fn what_is_held_comes_back() {
        let mut pool = Pool::default();
        for turn in 0..3u8 {
            let lengths = [0, 1, SHORT, SHORT + 1, 1_200];
            let held = lengths.map(|length| (pool.hold(&vec![turn; length]), length));
            for (buffer, length) in held {
                let bytes = pool.take(buffer);
                assert_eq!(*bytes, vec![turn; length]);
                pool.give_back(buffer, bytes);
            }
            assert_eq!((pool.short.len(), pool.long.len()), (3, 2));
        }
    }
}
