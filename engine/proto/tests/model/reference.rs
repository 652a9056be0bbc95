//! The model: what a node must believe, rule by rule. A map from name to the best claim, nothing
//! cached, nothing clever. Times are exact except where a logarithm enters: there a microsecond is
//! granted, and within it the node decides.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use mesh_gossip_proto::membership::digest;
use mesh_gossip_proto::membership::table::Counts;
use mesh_gossip_proto::{
    Duration, Incarnation, Instant, Lifecycle, RecordHash, SignedRecord, State,
};

use crate::stage::id;

pub(crate) type Name = &'static str;

/// Whose doubts and deaths count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdicts {
    /// Anybody's (rules F-5 and A-3): doubts are gossiped and mature, a death counts as told.
    Gossiped,
    /// A quorum's (rules D-8, D-12 and D-15): no doubt is gossiped, and a death counts with a
    /// valid proof and while it is young.
    Proven,
}

/// What distinguishes the detectors, and what the model needs of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) verdicts: Verdicts,
    /// Independent accusers shorten a suspicion.
    pub(crate) dynamic: bool,
    /// Rule F-6.
    pub(crate) promise: bool,
    /// Rule H-3.
    pub(crate) returned_bury_nobody: bool,
    pub(crate) interval: Duration,
    pub(crate) suspicion_interval: Duration,
    pub(crate) retention: Duration,
}

/// A death older than that evicts nobody on arrival (rule D-15).
const OLD: Duration = Duration::from_secs(15);
/// A word about our death counts for so long (rule D-13).
const HALF_A_MINUTE: Duration = Duration::from_secs(30);
/// Logarithms are computed twice, once here.
const TOLERANCE: Duration = Duration::from_micros(1);
/// Departed members are looked through so often (rule L-2).
const REAPED_EVERY: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    started: Instant,
    accusers: Vec<Name>,
    confirmations: usize,
    least: Duration,
    most: Duration,
    after_contact: Option<Duration>,
    spared: Instant,
}

impl Doubt {
    fn due(&self, last_contact: Option<Instant>) -> Instant {
        let wait = if self.confirmations == 0 {
            self.least
        } else {
            let beyond = (self.accusers.len() - 1).min(self.confirmations) as f64;
            let fraction = (beyond + 1.0).ln() / (self.confirmations as f64 + 1.0).ln();
            let (least, most) = (self.least.as_secs_f64(), self.most.as_secs_f64());
            Duration::from_secs_f64(least.max(most - (most - least) * fraction))
        };
        let due = (self.started + wait).max(self.spared);
        match (self.after_contact, last_contact) {
            (Some(budget), Some(last)) if last > self.started => due.max(last + budget),
            _ => due,
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) incarnation: Incarnation,
    pub(crate) hash: RecordHash,
    pub(crate) state: State,
    leaving: bool,
    since: Instant,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Staying,
    Leaving,
    Stopped,
}

/// A transition that a host must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Told {
    Joined,
    Updated,
    Recovered,
    Suspected,
    Left,
    Failed,
    Conflict,
    Refuted,
    Forgotten,
}

impl Told {
    pub(crate) const ALL: [Self; 9] = [
        Self::Joined,
        Self::Updated,
        Self::Recovered,
        Self::Suspected,
        Self::Left,
        Self::Failed,
        Self::Conflict,
        Self::Refuted,
        Self::Forgotten,
    ];
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) rules: Rules,
    started: Instant,
    pub(crate) now: Instant,
    pub(crate) own: Incarnation,
    pub(crate) phase: Phase,
    /// Lives that are over, by the last one.
    over: BTreeMap<Name, Incarnation>,
    pub(crate) members: BTreeMap<Name, Known>,
    pub(crate) told: Vec<(Told, Name)>,
    last_contact: BTreeMap<Name, Instant>,
    superseded: bool,
    corrected: Option<Instant>,
    /// With proven deaths: who holds us dead by its own word, and since when (rule D-13).
    accusers: BTreeMap<Name, Instant>,
    /// As many of them as can be a quorum have said so.
    pub(crate) exiled: bool,
    /// Another detector's doubt may be refuted.
    doubted: bool,
    /// A command was taken in exile: what it changed is told with the next record.
    pub(crate) held: bool,
}

/// Which of two records is the member's: the newer; at one incarnation a leave, then the lower hash
/// (rules M-3 and R-3).
pub(crate) fn rank(record: &SignedRecord) -> (Incarnation, bool, Reverse<RecordHash>) {
    let content = record.record();
    (content.incarnation, content.lifecycle == Lifecycle::Leaving, Reverse(record.hash()))
}

impl Model {
    pub(crate) fn new(rules: Rules, now: Instant, own: Incarnation) -> Self {
        Self {
            rules,
            started: now,
            now,
            own,
            phase: Phase::Staying,
            over: BTreeMap::new(),
            members: BTreeMap::new(),
            told: Vec::new(),
            last_contact: BTreeMap::new(),
            superseded: false,
            corrected: None,
            accusers: BTreeMap::new(),
            exiled: false,
            doubted: false,
            held: false,
        }
    }

    /// A restart that remembers the members: doubts are forgotten, they were not ours to keep.
    pub(crate) fn remembering(mut self, before: &Self) -> Self {
        self.members = before.members.clone();
        for known in self.members.values_mut().filter(|known| known.state == State::Suspect) {
            (known.state, known.doubt, known.since) = (State::Alive, None, self.now);
        }
        self
    }

    fn present(&self, name: Name) -> bool {
        match self.members.get(name) {
            Some(known) => known.state.is_present(),
            None => name == "a" && self.phase == Phase::Staying,
        }
    }

    fn departed(&self, name: Name) -> bool {
        self.rules.returned_bury_nobody
            && self.members.get(name).is_some_and(|known| !known.state.is_present())
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let own = if self.phase == Phase::Staying { State::Alive } else { State::Left };
        for state in self.members.values().map(|known| known.state).chain([own]) {
            match state {
                State::Alive => counts.alive += 1,
                State::Suspect => counts.suspect += 1,
                State::Dead => counts.dead += 1,
                State::Left => counts.left += 1,
            }
        }
        counts
    }

    pub(crate) fn digest(&self, own: RecordHash) -> u64 {
        let own = if self.phase == Phase::Staying { digest::share(id("a"), own) } else { 0 };
        let present = self.members.iter().filter(|(_, known)| known.state.is_present());
        present.fold(own, |all, (name, known)| all ^ digest::share(id(name), known.hash))
    }

    pub(crate) fn heard(&mut self, from: Name) {
        self.last_contact.insert(from, self.now);
    }

    /// Time has come to `now`; within the tolerance the node says whether it has buried.
    pub(crate) fn pass(&mut self, now: Instant, buried: impl Fn(Name) -> bool) {
        self.now = now;
        for (name, known) in &mut self.members {
            let Some(doubt) = &known.doubt else { continue };
            let due = doubt.due(self.last_contact.get(name).copied());
            if due + TOLERANCE <= now || (due <= now + TOLERANCE && buried(name)) {
                (known.state, known.doubt, known.since) = (State::Dead, None, now);
                self.told.push((Told::Failed, *name));
            }
        }
    }

    /// Rule L-2: the node forgot `name`; was it time?
    pub(crate) fn forget(&mut self, name: Name) -> bool {
        self.told.push((Told::Forgotten, name));
        self.members.remove(name).is_some_and(|known| {
            self.over.insert(name, known.incarnation);
            !known.state.is_present() && self.now.since(known.since) >= self.rules.retention
        })
    }

    /// Rule L-2: somebody whom the node should have forgotten by now.
    pub(crate) fn overdue(&self) -> Option<Name> {
        let over = |known: &Known| {
            let due = (known.since + self.rules.retention).max(self.started);
            !known.state.is_present() && self.now > due + REAPED_EVERY
        };
        self.members.iter().find(|(_, known)| over(known)).map(|(name, _)| *name)
    }

    /// Rules M-3, R-2 and R-3: a record with a valid signature.
    pub(crate) fn record(&mut self, name: Name, record: &SignedRecord) {
        let (incarnation, leaving, Reverse(hash)) = rank(record);
        let state = if leaving { State::Left } else { State::Alive };
        // Rule S-11: that life is over.
        if self.over.get(name).is_some_and(|over| incarnation <= *over) {
            return;
        }
        let Some(known) = self.members.get_mut(name) else {
            let since = self.now;
            let new = Known { incarnation, hash, state, leaving, since, doubt: None };
            self.members.insert(name, new);
            if !leaving {
                self.told.push((Told::Joined, name));
            }
            return;
        };
        if incarnation < known.incarnation || (incarnation, hash) == (known.incarnation, known.hash)
        {
            return;
        }
        let was = known.state;
        if incarnation == known.incarnation {
            self.told.push((Told::Conflict, name));
            if (leaving, Reverse(hash)) < (known.leaving, Reverse(known.hash)) {
                return;
            }
            (known.hash, known.leaving) = (hash, leaving);
            if !leaving || was == State::Left {
                return;
            }
        }
        let since = self.now;
        *known = Known { incarnation, hash, state, leaving, since, doubt: None };
        match (was, state) {
            (State::Alive, State::Alive) => self.told.push((Told::Updated, name)),
            (_, State::Alive) => self.told.push((Told::Recovered, name)),
            (State::Alive | State::Suspect, _) => self.told.push((Told::Left, name)),
            (State::Dead | State::Left, _) => {}
        }
    }

    /// Rule M-2: a record in our own name.
    pub(crate) fn own_record(&mut self, incarnation: Incarnation, is_our_present_one: bool) {
        if incarnation < self.own || is_our_present_one {
            return;
        }
        if incarnation == self.own || self.superseded {
            self.told.push((Told::Conflict, "a"));
        }
        self.superseded |= incarnation > self.own;
        if self.phase == Phase::Staying {
            self.renew(Incarnation { generation: incarnation.generation + 1, counter: 0 });
        }
    }

    /// A doubt was passed on by `from`.
    pub(crate) fn suspicion(&mut self, from: Name, of: Name, at: Incarnation, accuser: Name) {
        match (of, self.rules.verdicts) {
            ("a", Verdicts::Gossiped) => self.refute(at),
            // Another detector's doubt is refuted, unless that were a return: the node knows.
            ("a", Verdicts::Proven) => self.doubted |= at == self.own,
            (_, Verdicts::Gossiped) if !self.departed(from) && self.present(accuser) => {
                self.doubt(of, at, accuser);
            }
            (_, Verdicts::Gossiped | Verdicts::Proven) => {}
        }
    }

    /// Rules F-5, F-6 and M-4.
    pub(crate) fn doubt(&mut self, of: Name, at: Incarnation, accuser: Name) {
        let counts = self.counts();
        let last = self.last_contact.get(of).copied();
        let (now, rules) = (self.now, self.rules);
        let Some(known) = self.members.get_mut(of) else { return };
        if at != known.incarnation {
            return;
        }
        match known.state {
            State::Dead | State::Left => {}
            State::Suspect => {
                let Some(doubt) = &mut known.doubt else { return };
                let full = doubt.accusers.len() > doubt.confirmations;
                if !full && !doubt.accusers.contains(&accuser) {
                    doubt.accusers.push(accuser);
                }
            }
            State::Alive => {
                let doubt = begin(now, rules, counts.present(), last, accuser);
                (known.state, known.since, known.doubt) = (State::Suspect, now, Some(doubt));
                self.told.push((Told::Suspected, of));
            }
        }
    }

    /// A death was told by `from`. `proven` says whether a quorum signed it.
    pub(crate) fn death(
        &mut self,
        from: Name,
        of: Name,
        at: Incarnation,
        age: Duration,
        proven: bool,
    ) {
        if of == "a" {
            match self.rules.verdicts {
                Verdicts::Gossiped => self.notice(at),
                Verdicts::Proven => self.accused(from, at),
            }
            return;
        }
        let counts = match self.rules.verdicts {
            Verdicts::Gossiped => !self.departed(from),
            Verdicts::Proven => proven && age < OLD,
        };
        let Some(known) = self.members.get_mut(of) else { return };
        if counts && at == known.incarnation && known.state < State::Dead {
            (known.state, known.doubt, known.since) = (State::Dead, None, self.now);
            self.told.push((Told::Failed, of));
        }
    }

    /// Rules H-1 and H-3; with proven deaths a question, and nothing else (rule D-12).
    pub(crate) fn notice(&mut self, at: Incarnation) {
        match self.rules.verdicts {
            Verdicts::Gossiped => {
                self.stand_corrected(at);
                self.refute(at);
            }
            Verdicts::Proven => {}
        }
    }

    /// Rule D-13: `from` holds us dead; a quorum of such members within half a minute is believed.
    fn accused(&mut self, from: Name, at: Incarnation) {
        if at != self.own {
            return;
        }
        let now = self.now;
        self.accusers.insert(from, now);
        self.accusers.retain(|_, told| now.since(*told) < HALF_A_MINUTE);
        let known = self.accusers.keys().filter(|name| self.members.contains_key(**name)).count();
        let observers = self.counts().present().saturating_sub(1).min(8);
        // Whom the node lost lately is its affair: of those two may suffice, and never one.
        self.exiled |= known > observers / 2 || known > 1;
    }

    /// We have a new incarnation: what was said of the one before is over.
    fn renew(&mut self, own: Incarnation) {
        self.own = own;
        self.accusers.clear();
        (self.exiled, self.doubted) = (false, false);
    }

    /// Rule A-3: an entry of another's state.
    pub(crate) fn entry(
        &mut self,
        from: Name,
        of: Name,
        state: State,
        record: &SignedRecord,
        ours: bool,
    ) {
        let (known, at) = (self.members.contains_key(of), rank(record).0);
        match (of, state) {
            ("a", State::Alive | State::Left) => self.own_record(at, ours),
            ("a", State::Suspect | State::Dead) => {
                self.own_record(at, ours);
                match self.rules.verdicts {
                    Verdicts::Gossiped => self.refute(at),
                    Verdicts::Proven if state == State::Dead => self.accused(from, at),
                    Verdicts::Proven => {}
                }
            }
            (_, State::Left | State::Dead) if !known => {}
            (_, State::Alive | State::Left) => self.record(of, record),
            (_, State::Suspect | State::Dead) => {
                self.record(of, record);
                self.suspicion(from, of, at, from);
            }
        }
    }

    /// Rules F-7 and M-4: only a claim at our present incarnation moves us.
    fn refute(&mut self, at: Incarnation) {
        if at == self.own && self.phase == Phase::Staying {
            self.renew(self.own.next());
            self.told.push((Told::Refuted, "a"));
        }
    }

    /// Rule H-3: whoever was away gives those it doubts time, once in a suspicion interval.
    fn stand_corrected(&mut self, at: Incarnation) {
        let pause = self.rules.suspicion_interval;
        let lately = self.corrected.is_some_and(|last| self.now.since(last) < pause);
        if at != self.own || !self.rules.returned_bury_nobody || lately {
            return;
        }
        self.corrected = Some(self.now);
        for doubt in self.members.values_mut().filter_map(|known| known.doubt.as_mut()) {
            doubt.spared = doubt.spared.max(self.now + pause / 4);
        }
    }

    /// What the node's own tests found (rules D-5 and D-8) and when it returns (rule D-13): a doubt of its own begins or ends,
    /// a case of its own evicts, or the time of its own return has come. Nothing else is believed.
    pub(crate) fn own_test(&mut self, told: Told, name: Name, own: Incarnation) {
        let now = self.now;
        // The time of a return is the detector's affair; its reason is not.
        let reason = self.exiled || self.doubted;
        let returned = told == Told::Refuted && own == self.own.next() && reason;
        if name == "a" {
            if returned && self.phase == Phase::Staying {
                self.renew(own);
                self.told.push((told, name));
            }
            if told == Told::Updated && self.held {
                self.held = false;
                self.told.push((told, name));
            }
            return;
        }
        let Some(known) = self.members.get_mut(name) else { return };
        let steps = [
            (Told::Suspected, State::Alive, State::Suspect),
            (Told::Recovered, State::Suspect, State::Alive),
            (Told::Failed, State::Suspect, State::Dead),
        ];
        let step = steps.into_iter().find(|step| (step.0, step.1) == (told, known.state));
        let Some((_, _, state)) = step else { return };
        (known.state, known.since) = (state, now);
        self.told.push((told, name));
    }

    /// Our own word: metadata, lifecycle or leave.
    pub(crate) fn republish(&mut self) {
        self.renew(self.own.next());
    }
}

fn begin(
    now: Instant,
    rules: Rules,
    members: usize,
    last: Option<Instant>,
    accuser: Name,
) -> Doubt {
    let budget = rules.suspicion_interval - rules.interval;
    let promised = rules.dynamic && rules.promise && rules.suspicion_interval >= rules.interval * 5;
    let (least, confirmations, after_contact) = if promised {
        let left = last.map_or(Duration::ZERO, |last| (last + budget).since(now));
        (left.max(rules.suspicion_interval / 4), 0, Some(budget))
    } else {
        let scale = (members as f64).log10().max(1.0);
        let k = if rules.dynamic && members >= 4 { 2 } else { 0 };
        ((rules.interval * 4).mul_f64(scale), k, None)
    };
    let (started, spared, most) = (now, now, least * 6);
    Doubt { started, accusers: vec![accuser], confirmations, least, most, after_contact, spared }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beside::{observers, swim};
    use crate::stage::{at, incarnation, record, signed};

    fn knowing(rules: Rules) -> Model {
        let mut model = Model::new(rules, at(0), incarnation(0));
        for name in ["b", "c"] {
            model.record(name, &record(name, 0));
        }
        model
    }

    /// Rules M-3 and M-4, as the model has them.
    #[test]
    fn the_model_knows_precedence() {
        let mut model = knowing(swim());
        model.death("c", "b", incarnation(1), Duration::ZERO, false);
        assert_eq!(model.members["b"].state, State::Alive, "above the signature");
        model.suspicion("c", "b", incarnation(0), "c");
        assert_eq!(model.members["b"].state, State::Suspect);
        model.record("b", &record("b", 1));
        assert_eq!(model.members["b"].state, State::Alive);
        model.record("b", &signed("b", incarnation(1), Lifecycle::Leaving, "r"));
        assert_eq!(model.members["b"].state, State::Left);
    }

    /// Rules D-8 and D-15, as the model has them: no doubt is gossiped; only a proof evicts, and
    /// only while the death is young.
    #[test]
    fn the_model_of_observers_believes_proofs_alone() {
        let mut model = knowing(observers());
        model.suspicion("c", "b", incarnation(0), "c");
        model.entry("c", "b", State::Dead, &record("b", 0), false);
        model.death("c", "b", incarnation(0), Duration::ZERO, false);
        model.death("c", "b", incarnation(0), Duration::from_secs(15), true);
        assert_eq!(model.members["b"].state, State::Alive);
        model.death("c", "b", incarnation(0), Duration::from_secs(14), true);
        assert_eq!(model.members["b"].state, State::Dead);
    }

    /// Rule D-13, as the model has it: one member's word is no exile, two of three are.
    #[test]
    fn the_model_of_observers_goes_into_exile_by_a_quorum() {
        let mut model = knowing(observers());
        model.notice(incarnation(0));
        model.death("c", "a", incarnation(0), Duration::ZERO, false);
        model.entry("c", "a", State::Dead, &record("a", 0), true);
        model.death("b", "a", incarnation(1), Duration::ZERO, false);
        assert!(!model.exiled);
        model.own_test(Told::Refuted, "a", incarnation(1));
        assert_eq!(model.own, incarnation(0), "nothing to return from");
        model.death("b", "a", incarnation(0), Duration::ZERO, false);
        assert!(model.exiled);
        model.own_test(Told::Refuted, "a", incarnation(1));
        assert_eq!((model.own, model.exiled), (incarnation(1), false));
    }
}
