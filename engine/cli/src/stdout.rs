//! Whether somebody still takes what goes to stdout.
//!
//! A command that waits for news writes nothing meanwhile, and would learn from the next news alone that
//! `head` has gone long ago: a shell waits for it all the same.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// An error once nobody will ever read what is written.
pub(crate) fn still_read() -> io::Result<()> {
    let stdout = io::stdout();
    // Nothing is waited for: an end that is gone is told in any case.
    let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let told = poll(&mut ends, Some(&at_once))?;
    if told > 0 && ends[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    Ok(())
}
