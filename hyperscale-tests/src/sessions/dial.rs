//! A handshake under way: what its two ends know of each other, and when the client acts.
//!
//! A flight has two parts, and each is a datagram that may be lost alone. Who has the first part
//! says so and is sent the other one alone from then on; the second part of the client's last flight
//! carries what confirms the session (rules S-5 and S-6).
//!
//! Invariant: all of it stands at the client, which owns the timer; the server's side of it counts
//! for one life of the server.

use mesh_gossip_proto::wire::message::{FRAME, kind};
use mesh_gossip_proto::{Duration, Instant};

use crate::pool::Buffer;

/// First wait for an answer.
const FIRST_WAIT: Duration = Duration::from_millis(300);
/// After a part of the server's flight the rest is asked for soon.
pub(crate) const PART_WAIT: Duration = Duration::from_millis(40);
/// First wait for the confirmation.
const CONFIRM_WAIT: Duration = Duration::from_millis(250);
/// Longest wait between two flights.
const MOST_WAIT: Duration = Duration::from_secs(1);
/// Datagrams sent to a path that nobody has verified (rule S-10).
const MOST_INITS: u32 = 3;
/// An unanswered dial ends.
const PATIENCE: Duration = Duration::from_secs(2);
/// One that makes progress may last longer.
const MOST_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes that may go with the last flight, and what their seal takes of them.
const TRAILER_LIMIT: usize = 512;
const TRAILER_OVERHEAD: usize = 32;

/// The parts of a flight, a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts(u8);

impl Parts {
    pub(crate) const FIRST: Self = Self(1);
    pub(crate) const SECOND: Self = Self(2);

    /// Adds these; says whether any was missing.
    pub(crate) fn add(&mut self, others: Self) -> bool {
        let before = self.0;
        self.0 |= others.0;
        self.0 != before
    }

    pub(crate) fn has(self, part: Self) -> bool {
        self.0 & part.0 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_whole(self) -> bool {
        self.0 == 3
    }

    /// For a trace.
    pub(crate) fn code(self) -> u8 {
        self.0
    }
}

/// How far a handshake has come at its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The server's flight is awaited; what has come of it.
    Hello { came: Parts },
    /// The last flight is repeated until the server confirms; whether it said that it has the first
    /// part.
    Finishing { acknowledged: bool },
}

/// What the server knows of a handshake.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Server {
    /// The client has said that it has so many parts of the server's flight.
    pub(crate) acknowledged: usize,
    /// What has come of the client's last flight.
    pub(crate) came: Parts,
    /// The client's first sealed bytes were opened: there is a session.
    pub(crate) confirmed: bool,
}

/// A handshake under way, at its client.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) serial: u32,
    pub(crate) begun: Instant,
    /// The server's life, once it has answered, the certificate that it showed, and when.
    pub(crate) life: Option<u32>,
    pub(crate) server_edition: u32,
    pub(crate) answered: Instant,
    /// The certificate that the client shows.
    pub(crate) edition: u32,
    /// It is to succeed a session under an earlier certificate.
    pub(crate) succeeds: bool,
    pub(crate) phase: Phase,
    pub(crate) server: Server,
    sent: u32,
    wait: Duration,
    /// When it acts next, unless something comes before.
    pub(crate) next: Instant,
    progressed: bool,
    pub(crate) pending: Vec<Buffer>,
    /// Pings that go with the last flight.
    pub(crate) greeting: Vec<u8>,
}

/// What a dial does when its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Sends what its phase sends.
    Send,
    /// Waits for its end.
    Wait,
    /// Is given up.
    End,
}

impl Dial {
    pub(super) fn begin(now: Instant, serial: u32, edition: u32) -> Self {
        Self {
            serial,
            begun: now,
            life: None,
            server_edition: 0,
            answered: now,
            edition,
            succeeds: false,
            phase: Phase::Hello { came: Parts::default() },
            server: Server::default(),
            sent: 0,
            wait: FIRST_WAIT,
            next: now,
            progressed: false,
            pending: Vec::new(),
            greeting: Vec::new(),
        }
    }

    fn deadline(&self) -> Instant {
        self.begun + if self.progressed { MOST_PATIENCE } else { PATIENCE }
    }

    /// What is to be done now; sets when to look again.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        if now >= self.deadline() {
            return Due::End;
        }
        if self.sent >= MOST_INITS && !self.progressed {
            self.next = self.deadline();
            return Due::Wait;
        }
        self.sent += 1;
        self.next = (now + self.wait).min(self.deadline());
        self.wait = (self.wait * 2).min(MOST_WAIT);
        Due::Send
    }

    /// Parts of the server's flight came; says whether any was news, which is acted upon soon.
    pub(crate) fn came(&mut self, now: Instant, parts: Parts) -> bool {
        let Phase::Hello { came } = &mut self.phase else { return false };
        let news = came.add(parts);
        if news {
            self.progressed = true;
            self.next = now + PART_WAIT;
        }
        news
    }

    /// The server is proven: the last flight is due.
    pub(crate) fn finish(&mut self, now: Instant) {
        self.phase = Phase::Finishing { acknowledged: false };
        (self.wait, self.next) = (CONFIRM_WAIT, now);
    }

    /// Moves the pings of a payload that waits behind the last flight, as far as it has room; returns
    /// what is left of it.
    pub(crate) fn greet(&mut self, payload: &[u8]) -> Vec<u8> {
        let (mut rest, mut unread) = (Vec::new(), payload);
        while let [kind, low, high, ..] = *unread {
            let length = FRAME + usize::from(u16::from_le_bytes([low, high]));
            let Some((message, tail)) = unread.split_at_checked(length) else { break };
            unread = tail;
            let taken = FRAME + self.greeting.len() + length + TRAILER_OVERHEAD;
            let with = kind == kind::PING && taken <= TRAILER_LIMIT;
            if with { &mut self.greeting } else { &mut rest }.extend_from_slice(message);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ORIGIN + Duration::from_secs(seconds)
    }

    /// Rule S-10: three datagrams to an unverified path, then silence until two seconds are over.
    #[test]
    fn an_unanswered_dial_sends_three_times_and_ends() {
        let mut dial = Dial::begin(at(1), 1, 0);
        let mut sent = Vec::new();
        let mut now = at(1);
        loop {
            match dial.due(now) {
                Due::Send => sent.push(now.since(at(1)).as_millis()),
                Due::Wait => {}
                Due::End => break,
            }
            now = dial.next;
        }
        assert_eq!((sent, now), (vec![0, 300, 900], at(3)));
    }

    #[test]
    fn a_part_hurries_the_next_flight_once() {
        let mut dial = Dial::begin(at(1), 1, 0);
        assert_eq!(dial.due(at(1)), Due::Send);
        assert!(dial.came(at(1), Parts::SECOND));
        assert_eq!(dial.next, at(1) + PART_WAIT);
        assert!(!dial.came(at(2), Parts::SECOND), "it is known");
        assert_eq!(dial.next, at(1) + PART_WAIT);
    }

    /// Rule S-5: nothing but pings leaves before the server has confirmed.
    #[test]
    fn pings_go_with_the_last_flight() {
        let mut dial = Dial::begin(at(1), 1, 0);
        let ping = [kind::PING, 2, 0, 7, 7];
        let other = [kind::ACK, 1, 0, 9];
        let rest = dial.greet(&[&ping[..], &other, &ping].concat());
        assert_eq!((rest.as_slice(), &dial.greeting), (&other[..], &[ping, ping].concat()));
        for _ in 0..200 {
            dial.greet(&ping);
        }
        assert!(dial.greeting.len() <= TRAILER_LIMIT - TRAILER_OVERHEAD - FRAME);
    }
}
