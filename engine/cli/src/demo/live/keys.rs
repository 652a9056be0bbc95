//! What a key asks for.
//!
//! Invariant: bytes that are no key of ours ask for nothing, and an escape that never ends swallows
//! no more than the two bytes after it.

/// What somebody at the keyboard wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The selected agent ends without a goodbye.
    Kill,
    /// It says goodbye.
    Leave,
    /// One more agent.
    Add,
    /// It is cut off from the others, or connected again.
    Partition,
    /// It hands its work over, or takes work again.
    Drain,
    /// It shows another certificate.
    Rotate,
    /// The next agent is selected.
    Next,
    /// The one before.
    Previous,
    /// The end.
    Quit,
}

/// What the keys do, for the last line of the screen.
pub(super) const HELP: &str =
    "k kill  l leave  a add  p partition  d drain  r rotate  Tab or arrows select  q quit";

/// Reads bytes of a terminal.
#[derive(Debug, Default)]
pub(super) struct Keys {
    escape: usize,
}

impl Keys {
    /// Takes the next byte.
    pub(super) fn push(&mut self, byte: u8) -> Option<Wish> {
        match (self.escape, byte) {
            (_, 0x1b) => {
                self.escape = 1;
                None
            }
            (1, b'[' | b'O') => {
                self.escape = 2;
                None
            }
            (2, _) => {
                self.escape = 0;
                match byte {
                    b'A' | b'D' | b'Z' => Some(Wish::Previous),
                    b'B' | b'C' => Some(Wish::Next),
                    _ => None,
                }
            }
            _ => {
                self.escape = 0;
                letter(byte)
            }
        }
    }
}

fn letter(byte: u8) -> Option<Wish> {
    match byte.to_ascii_lowercase() {
        b'k' => Some(Wish::Kill),
        b'l' => Some(Wish::Leave),
        b'a' => Some(Wish::Add),
        b'p' => Some(Wish::Partition),
        b'd' => Some(Wish::Drain),
        b'r' => Some(Wish::Rotate),
        b'\t' => Some(Wish::Next),
        b'q' | 0x04 => Some(Wish::Quit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_arrows_are_keys_and_the_rest_is_not() {
        let wishes = |bytes: &[u8]| -> Vec<Wish> {
            let mut keys = Keys::default();
            bytes.iter().filter_map(|byte| keys.push(*byte)).collect()
        };
        use Wish::{Add, Drain, Kill, Leave, Next, Partition, Previous, Quit, Rotate};
        assert_eq!(wishes(b"klapdrq"), [Kill, Leave, Add, Partition, Drain, Rotate, Quit]);
        assert_eq!(wishes(b"K\t"), [Kill, Next]);
        assert_eq!(wishes(b"\x1b[A\x1b[B\x1bOC\x1b[Z"), [Previous, Next, Next, Previous]);
        assert_eq!(wishes(b"\x1b\x1b[Bx?\x1bk"), [Next, Kill], "an escape alone is forgotten");
        assert_eq!(wishes("ü€".as_bytes()), []);
        assert_eq!(wishes(&[0x04]), [Quit], "the end of input");
    }
}
