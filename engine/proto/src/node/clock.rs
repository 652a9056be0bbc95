//! Clocks, ours and others' (rule S-12).

use alloc::sync::Arc;

use zerocopy::byteorder::little_endian::U64;

use super::{Node, Peer};
use crate::event::{Alarm, Timer};
use crate::member::MemberId;
use crate::membership::record::{RecordHash, SignedRecord};
use crate::membership::table::MemberTable;
use crate::time::{Duration, Instant, WallTime};
use crate::wire::message::{Clock, ClockPull, Message, Messages, kind};

/// Seeds are asked for the time while a node is this young; a clock that goes wrong later has done
/// its work at the next start.
const YOUNG: Duration = Duration::from_secs(60);

/// Whether a datagram holds questions and answers about the time, and nothing else.
pub(super) fn is_about_time(payload: &[u8]) -> bool {
    Messages::new(payload).all(|message| match message {
        Ok(Message::Clock(_) | Message::ClockPull(_) | Message::Unknown(kind::CONFIRM)) => true,
        Ok(_) | Err(_) => false,
    })
}

impl<T: MemberTable> Node<T> {
    /// Whether our clock is so far off that we say nothing.
    pub(super) fn is_silent(&self) -> bool {
        self.silent
    }

    /// A young node that hears a seed asks it for the time, and for what it holds of us: an earlier
    /// life of ours may have had a higher generation.
    pub(super) fn ask_the_time_at_first(&mut self, now: Instant, from: Peer) {
        if now.since(self.started()) < YOUNG && self.joining.is_seed(from.id) {
            self.ask_the_time(now, from, false);
        }
    }

    fn started(&self) -> Instant {
        self.clocks.began()
    }

    fn ask_the_time(&mut self, now: Instant, seed: Peer, again: bool) {
        // It tells one question from the next; only the seed itself can answer.
        let token = now.as_nanos();
        if self.clocks.ask(now, seed.id, token, again) {
            self.send(seed, &ClockPull { token: U64::new(token) });
            if !again {
                self.pull(now, seed, self.local, RecordHash(0));
            }
        }
    }

    pub(super) fn on_clock_pull(&mut self, now: Instant, from: Peer, pull: &ClockPull) {
        let wall_ms = U64::new(self.clocks.wall(now).0);
        self.send(from, &Clock { token: pull.token, wall_ms });
    }

    pub(super) fn on_clock(&mut self, now: Instant, from: Peer, clock: &Clock) {
        let wall = WallTime(clock.wall_ms.get());
        if !self.clocks.answered(now, from.id, clock.token.get(), wall) {
            self.stats.reject("clock");
            return;
        }
        match self.clocks.off_by() {
            Some(ahead_ms) if !self.silent => {
                self.silent = true;
                self.alarm(Alarm::ClockOff { ahead_ms });
            }
            Some(_) => {}
            None => self.silent = false,
        }
    }

    /// While we are silent only the time is of interest.
    pub(super) fn hear_clocks_only(&mut self, now: Instant, from: Peer, payload: &[u8]) {
        for message in Messages::new(payload) {
            match message {
                Ok(Message::Clock(clock)) => self.on_clock(now, from, clock),
                Ok(Message::ClockPull(pull)) => self.on_clock_pull(now, from, pull),
                Ok(_) => self.stats.reject("silent"),
                Err(_) => self.stats.reject("decode"),
            }
        }
    }

    /// While we are silent every deadline waits, and once an interval the seeds are asked again.
    pub(super) fn wait_for_the_clock(&mut self, now: Instant, timer: Timer) {
        let again = now + self.config.interval;
        self.timers.set(timer, again);
        if timer == Timer::ProbeRound {
            // Its record may not have come before we fell silent, and is not heard since.
            for seed in self.joining.known_seeds() {
                let peer = self.peer(seed.id).unwrap_or(seed);
                self.ask_the_time(now, peer, true);
            }
        }
    }

    /// A true record of a life that has not begun: held, neither applied nor passed on.
    pub(super) fn hold_until_its_time(&mut self, from: MemberId, record: &Arc<SignedRecord>) {
        let content = record.record();
        let (member, generation) = (content.id, content.incarnation.generation);
        self.stats.reject("future-life");
        if self.early.hold(member, generation, from, record.envelope()) {
            self.alarm(Alarm::FutureLife { member, generation });
        }
    }

    /// The time of what was held may have come.
    pub(super) fn apply_what_is_ripe(&mut self, now: Instant) {
        let clocks = &self.clocks;
        let ripe = self.early.ripe(|generation| !clocks.is_ahead(now, generation));
        for (from, envelope) in ripe {
            self.take_record(now, from, &envelope);
        }
    }
}
