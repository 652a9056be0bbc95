//! Requests that send what is queued.
//!
//! Sends never wait (`MSG_DONTWAIT`): the kernel copies the datagrams or refuses them while it
//! takes the request, so that the queue is free as soon as the submission queue is empty.

use io_uring::types::Fd;
use io_uring::{opcode, squeue};

use super::sends::{Run, SendQueue};

/// How a single datagram with an address is sent; a run always takes `SENDMSG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SendCall {
    /// `SEND` with the address in the SQE.
    Send,
    /// `SENDMSG`, for kernels whose `SEND` takes no address.
    SendMsg,
}

/// The request that sends a run. It points into the queue, which must not change until the kernel
/// has taken it.
pub(crate) fn request(queue: &mut SendQueue, run: Run, call: SendCall) -> squeue::Entry {
    #[cfg(test)]
    if let Some(errno) = queue.faults.pop_front() {
        return tests::failing(errno);
    }
    let (fd, to, bytes) = queue.datagram(run.start);
    if run.len == 1 && call == SendCall::Send {
        return opcode::Send::new(Fd(fd), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(to.as_ptr().cast())
            .dest_addr_len(to.len())
            .build();
    }
    opcode::SendMsg::new(Fd(fd), queue.point(run.start, run))
        .flags(libc::MSG_DONTWAIT as u32)
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `IORING_NOP_INJECT_RESULT`, since 6.10.
    const INJECT_RESULT: u32 = 1;
    /// Words of an SQE.
    const LEN: usize = 6;
    const FLAGS: usize = 7;

    /// A request that fails with `errno`, by the kernel's own fault injection.
    pub(super) fn failing(errno: i32) -> squeue::Entry {
        let entry = opcode::Nop::new().build();
        // SAFETY: an SQE is 64 bytes of plain integers.
        let mut words: [u32; 16] = unsafe { std::mem::transmute(entry) };
        words[LEN] = (-errno) as u32;
        words[FLAGS] = INJECT_RESULT;
        // SAFETY: as above.
        unsafe { std::mem::transmute::<[u32; 16], squeue::Entry>(words) }
    }
}
