//! The terminal: keys one by one, without an echo.
//!
//! Invariant: the terminal is as it was when this value goes, whatever ended the demo.

use std::io::{self, IsTerminal, Read};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// A terminal whose keys come as they are pressed.
#[derive(Debug)]
pub(super) struct Terminal {
    before: Termios,
    keys: Receiver<u8>,
}

impl Terminal {
    /// Whether somebody sits there: keys can come in and a picture go out.
    pub(super) fn is_there() -> bool {
        io::stdin().is_terminal() && io::stdout().is_terminal()
    }

    /// Takes the keyboard over. Signals still come from it: Ctrl-C ends the demo.
    pub(super) fn take() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut own = before.clone();
        own.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(io::stdin(), OptionalActions::Now, &own)?;
        let (press, keys) = mpsc::sync_channel(64);
        // It waits for keys until the process ends; nobody joins it.
        thread::Builder::new().name("keys".into()).spawn(move || {
            for byte in io::stdin().lock().bytes() {
                let Ok(byte) = byte else { return };
                if press.send(byte).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { before, keys })
    }

    /// The next byte that was typed, if any.
    pub(super) fn key(&self) -> Option<u8> {
        self.keys.try_recv().ok()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
