//! Differences between views, settled by sketches (rules ).
//!
//! A share stands for a record. Whoever lacks a record is sent it, and it counts by its signature; of
//! a member that one side holds departed and the other present the former tells the latter what it
//! knows, which counts as what others say of the dead counts: no death is adopted from here.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use zerocopy::IntoBytes;
use zerocopy::byteorder::little_endian::U64;

use super::{Node, Peer};
use crate::event::Timer;
use crate::member::{MemberId, State};
use crate::membership::roster::List;
use crate::membership::table::MemberTable;
use crate::sync::reconciler::{Answered, Lookup, Question, Reconciler, Walk, Why, YOUNG};
use crate::sync::sketch::{Difference, Sketch};
use crate::time::{Duration, Instant};
use crate::wire::message::{
    DifferenceHeader, FRAME, RecordByStream, SKETCH_BYTES, SketchHeader, Suspicion, kind,
};

/// Outcomes of a difference.
const TOO_MANY: u8 = 1;
const FOUND_YOUNG: u8 = 2;
const FOUND: u8 = 3;

/// Both sides of a difference may find it at once: who is to ask is decided within this time.
const TOGETHER: Duration = Duration::from_millis(100);

/// Whom a walk found, and why it was looked for.
struct Found {
    lookup: Lookup,
    id: MemberId,
    young: bool,
}

/// Departed members whose shares were named, in order of their shares.
#[derive(Default)]
struct Gone(Vec<(u64, MemberId)>);

impl Gone {
    fn of(&self, share: u64) -> Option<MemberId> {
        let at = self.0.binary_search_by_key(&share, |(share, _)| *share).ok()?;
        self.0.get(at).map(|(_, id)| *id)
    }
}

impl<T: MemberTable> Node<T> {
    /// A difference to `peer` lasts: a sketch tells it, or the state of all where no sketch can.
    pub(super) fn reconcile(&mut self, now: Instant, peer: Peer) {
        // The state of a giver that a joiner waits for no longer is on its way still.
        if self.reconciler.is_busy(now) || self.joining.takes_from(now, peer.id) {
            return;
        }
        self.stats.rounds += 1;
        self.partners.asked(peer.id);
        let room = FRAME + size_of::<SketchHeader>() + SKETCH_BYTES;
        let speaks = self.config.max_payload >= room
            && self.joining.is_done()
            && self.table.get(peer.id).is_some();
        if !speaks || self.reconciler.is_unheard() {
            if self.agreement.streams(now, self.members()) {
                self.reconciler.forget_silence();
                self.wish_stream(peer, Vec::new());
                return;
            }
            if !speaks {
                return;
            }
        }
        let salt = self.rng.u64(..);
        let starts = now + TOGETHER.mul_f64(self.rng.f64());
        self.reconciler.begin(now, peer.id, salt, starts);
        self.plan_walk(now);
    }

    fn plan_walk(&mut self, now: Instant) {
        self.reconciler.count(self.members());
        match self.reconciler.due(now) {
            Some(due) => self.timers.set(Timer::Walk, due),
            None => drop(self.timers.cancel(Timer::Walk)),
        }
    }

    pub(super) fn on_sketch(
        &mut self,
        now: Instant,
        from: Peer,
        header: &SketchHeader,
        cells: &[u8; SKETCH_BYTES],
    ) {
        let table = Box::new(Sketch::from_bytes(header.salt.get(), cells));
        let question = Question { from: from.id, header: *header, table };
        if !self.reconciler.ask(question) {
            self.stats.reject("sketch-queue");
        }
        self.plan_walk(now);
    }

    pub(super) fn on_difference(
        &mut self,
        now: Instant,
        from: Peer,
        header: &DifferenceHeader,
        shares: &[U64],
    ) {
        let answered = self.reconciler.answered(now, from.id, header);
        if answered == Answered::Unasked {
            return self.stats.reject("difference");
        }
        let (salt, parts) = (header.salt.get(), header.parts.get());
        match header.outcome {
            TOO_MANY if parts == 1 => {
                if header.size.get() <= Reconciler::worthwhile(self.members()) {
                    self.reconciler.divide(now, from.id, salt, header.size.get());
                } else if self.agreement.streams(now, self.members()) {
                    self.wish_stream(from, Vec::new());
                }
            }
            // What one part hides is found in the next round.
            TOO_MANY => {}
            FOUND_YOUNG => self.agreement.was_young(),
            FOUND => self.agreement.was_due(),
            _ => return self.stats.reject("difference"),
        }
        if header.outcome != TOO_MANY {
            let (offered, wanted) = shares.split_at(header.offered.get().into());
            self.look_up(from.id, offered, Why::Offered);
            self.look_up(from.id, wanted, Why::Wanted);
        }
        if answered == Answered::Ends && (parts > 1 || header.outcome != TOO_MANY) {
            self.stats.syncs_avoided += 1;
        }
        self.plan_walk(now);
    }

    pub(super) fn on_want(&mut self, now: Instant, from: Peer, shares: &[U64]) {
        self.look_up(from.id, shares, Why::Wanted);
        self.plan_walk(now);
    }

    fn look_up(&mut self, from: MemberId, shares: &[U64], why: Why) {
        for share in shares {
            if !self.reconciler.look_up(Lookup { share: share.get(), from, why }) {
                return self.stats.reject("share-queue");
            }
        }
    }

    /// Looks at every member, for all who wait for that.
    pub(super) fn walk(&mut self, now: Instant) {
        let mut walk = self.reconciler.begin_walk(now);
        let mut found = Vec::new();
        for member in self.table.members(List::Present) {
            let (share, id) = (member.share(), member.id());
            let young = now.since(self.table.since(member)) < YOUNG;
            walk.see(share, young);
            let looked_for = walk.looked_for(share).iter();
            found.extend(looked_for.map(|lookup| Found { lookup: *lookup, id, young }));
        }
        walk.close();
        let questions = core::mem::take(&mut walk.questions);
        let answers: Vec<_> = questions.iter().map(|question| walk.answer(question)).collect();
        let gone = self.departed_among(&walk, &answers);
        self.send_sketches(&walk);
        for (question, answer) in questions.iter().zip(answers) {
            self.answer(now, question, answer, &walk, &gone);
        }
        self.act_on(now, &walk, &found, &gone);
        self.plan_walk(now);
    }

    /// Departed members whose shares others hold or look for.
    fn departed_among(&self, walk: &Walk, answers: &[Result<Difference, u32>]) -> Gone {
        let differences = answers.iter().flatten();
        let mut theirs: Vec<u64> = differences.flat_map(|d| d.theirs.iter().copied()).collect();
        theirs.sort_unstable();
        if theirs.is_empty() && walk.lookups().is_empty() {
            return Gone::default();
        }
        let departed = self.table.members(List::Departed).map(|m| (m.share(), m.id()));
        let named =
            |share: u64| theirs.binary_search(&share).is_ok() || !walk.looked_for(share).is_empty();
        let mut gone: Vec<_> = departed.filter(|(share, _)| named(*share)).collect();
        gone.sort_unstable();
        Gone(gone)
    }

    fn send_sketches(&mut self, walk: &Walk) {
        for (peer, header) in &walk.sends {
            let (Some(peer), Some(table)) = (self.peer(*peer), walk.table(header)) else {
                continue;
            };
            let body = [header.as_bytes(), &table.to_bytes()].concat();
            if self.send_raw(peer, kind::SKETCH, &body) {
                self.stats.sketches += 1;
            }
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        question: &Question,
        answer: Result<Difference, u32>,
        walk: &Walk,
        gone: &Gone,
    ) {
        let Some(peer) = self.peer(question.from) else { return self.stats.reject("stranger") };
        let SketchHeader { salt, part, parts } = question.header;
        let (size, reserved) = (0.into(), 0);
        let empty =
            DifferenceHeader { salt, part, parts, size, offered: 0.into(), outcome: 0, reserved };
        let difference = match answer {
            Ok(difference) => difference,
            Err(seem) => {
                self.stats.sketches_failed += 1;
                let header = DifferenceHeader { size: seem.into(), outcome: TOO_MANY, ..empty };
                self.send_raw(peer, kind::DIFFERENCE, header.as_bytes());
                return;
            }
        };
        self.stats.sketches_decoded += 1;
        let size = difference.ours.len() + difference.theirs.len();
        let mut offered = difference.ours;
        let mut due = offered.iter().any(|share| !walk.is_young(*share));
        let mut wanted = Vec::new();
        for share in difference.theirs {
            match gone.of(share) {
                Some(id) => {
                    due = true;
                    self.tell_who_departed(now, peer.id, id);
                }
                None if self.reconciler.wants(now, share) => wanted.push(share),
                None => {}
            }
        }
        let head = FRAME + size_of::<DifferenceHeader>();
        let room = (self.config.max_payload - head) / size_of::<U64>();
        offered.truncate(room);
        wanted.truncate(room - offered.len());
        let header = DifferenceHeader {
            size: (size as u32).into(),
            offered: (offered.len() as u16).into(),
            outcome: if due { FOUND } else { FOUND_YOUNG },
            ..empty
        };
        let mut body = header.as_bytes().to_vec();
        let shares = offered.into_iter().chain(wanted);
        body.extend(shares.flat_map(u64::to_le_bytes));
        self.send_raw(peer, kind::DIFFERENCE, &body);
    }

    /// Sends what is wanted, asks for what is offered, and tells of the departed.
    fn act_on(&mut self, now: Instant, walk: &Walk, found: &[Found], gone: &Gone) {
        for Found { lookup, id, young } in found {
            let (Why::Wanted, Some(peer)) = (lookup.why, self.peer(lookup.from)) else { continue };
            if !young {
                self.agreement.was_due();
            }
            if self.flooding.bodies.take(now, peer.id) {
                self.send_record(peer, *id);
            } else {
                self.send(peer, &RecordByStream { id: id.0 });
            }
        }
        let mut known: Vec<Lookup> = found.iter().map(|found| found.lookup).collect();
        known.sort_unstable();
        let mut wanted: BTreeMap<MemberId, Vec<u8>> = BTreeMap::new();
        for lookup in walk.lookups() {
            if let Some(id) = gone.of(lookup.share) {
                self.tell_who_departed(now, lookup.from, id);
            } else if lookup.why == Why::Offered
                && known.binary_search(lookup).is_err()
                && self.reconciler.wants(now, lookup.share)
            {
                wanted.entry(lookup.from).or_default().extend(lookup.share.to_le_bytes());
            }
        }
        let room = (self.config.max_payload - FRAME) / size_of::<U64>() * size_of::<U64>();
        for (peer, shares) in wanted {
            let Some(peer) = self.peer(peer) else { continue };
            for shares in shares.chunks(room) {
                self.send_raw(peer, kind::WANT, shares);
            }
        }
    }

    /// `to` holds a member present that we hold departed, or brought an older record of it: it is told
    /// what we know, and believes no more of it than it may (rules A-3 and D-15).
    pub(super) fn tell_who_departed(&mut self, now: Instant, to: MemberId, id: MemberId) {
        let Some(member) = self.table.get(id) else { return };
        let (state, incarnation) = (member.state, member.incarnation());
        if state.is_present() || !self.config.parts().extras || self.is_exiled() {
            return;
        }
        let Some(peer) = self.peer(to) else { return };
        if !self.flooding.tellings.take(now, to) || self.tell_the_order(peer, id, incarnation) {
            return;
        }
        match state {
            State::Dead if self.observes() => {
                self.tell_what_is_known(now, peer, id);
                self.remind(now, id, incarnation);
            }
            State::Dead => {
                let accuser = self.local.0;
                let incarnation = incarnation.into();
                self.send(peer, &Suspicion { id: id.0, incarnation, accuser });
            }
            State::Left => self.send_record(peer, id),
            State::Alive | State::Suspect => {}
        }
    }
}
