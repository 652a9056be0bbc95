//! Buffers that are used again, so that a datagram in flight costs no allocation.

/// A number that stands for a buffer of the pool.
pub(crate) type Buffer = u32;

/// All buffers, in use or free.
#[derive(Default)]
pub(crate) struct Pool {
    buffers: Vec<Vec<u8>>,
    free: Vec<Buffer>,
}

impl Pool {
    /// A buffer that holds a copy of `bytes`.
    pub(crate) fn hold(&mut self, bytes: &[u8]) -> Buffer {
        let buffer = self.free.pop().unwrap_or_else(|| {
            self.buffers.push(Vec::new());
            self.buffers.len() as Buffer - 1
        });
        self.buffers[buffer as usize].extend_from_slice(bytes);
        buffer
    }

    /// Where the buffer is kept.
    pub(crate) fn place(&self, buffer: Buffer) -> *const u8 {
        (&raw const self.buffers[buffer as usize]).cast()
    }

    /// Where its bytes are.
    pub(crate) fn bytes(&self, buffer: Buffer) -> *const u8 {
        self.buffers[buffer as usize].as_ptr()
    }

    /// What the buffer holds. It has to be [given back](Pool::give_back).
    pub(crate) fn take(&mut self, buffer: Buffer) -> Vec<u8> {
        std::mem::take(&mut self.buffers[buffer as usize])
    }

    /// Makes the buffer free for others.
    pub(crate) fn give_back(&mut self, buffer: Buffer, mut bytes: Vec<u8>) {
        bytes.clear();
        self.buffers[buffer as usize] = bytes;
        self.free.push(buffer);
    }

    /// Frees a buffer unread.
    pub(crate) fn free(&mut self, buffer: Buffer) {
        let bytes = self.take(buffer);
        self.give_back(buffer, bytes);
    }
}
