//! Our evidence suffices; now others must agree (rules D-6, D-8 and D-9).
//!
//! The leader of a case asks the subject's other observers to look for themselves, repeats to the
//! silent, and asks ever more members while too few answer. It ends with a quorum either way.
//! Who observes whom may look different elsewhere, so votes count by voter, never by place (rule
//! D-3): whoever is on the list has a voice.
//!
//! Those who find death have less far to go than those who find life: whoever has looked already
//! answers at once, and whoever sits behind the same cut as we do answers first. So the quorum has to be
//! one of the observers; where it is not, everybody asked is heard before it counts.
//!
//! Invariants: a voter has one ballot, its newest; only who is on the list has one; a ballot of
//! death has a seal, which was verified (rule S-13); the list only grows.

use alloc::vec::Vec;

use crate::detector::test::Ballot;
use crate::detector::vote::{Seal, SignedVote};
use crate::member::{Incarnation, MemberId};
use crate::time::{Duration, Instant};

/// A silent voter is asked again after so long, and so is a case looked at that may ask nobody,
pub const AGAIN: Duration = Duration::from_millis(500);
/// and after so many times less often.
const PATIENT_AFTER: u32 = 4;
const RARELY: Duration = Duration::from_secs(2);
/// A pending voter is reminded so often once the grace is over.
const REMIND: Duration = Duration::from_secs(1);
/// While too few answer, the circle is widened so often,
const WIDEN: Duration = Duration::from_secs(1);
/// up to so many members, ourselves included.
pub const WIDEST: usize = 64;
/// T_alone: so long without a quorum of answers, and the subject is unreachable for us.
const ALONE: Duration = Duration::from_secs(10);
/// Whoever can be reached at all has answered one of so many seconds' questions, even where four
/// of five datagrams are lost.
const LEFT_ALONE: Duration = Duration::from_secs(3);

/// What a voter said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cast {
    /// It is looking.
    Pending,
    /// It found life.
    Alive,
    /// It found death, and signed that.
    Dead(Seal),
}

impl Cast {
    fn ballot(&self) -> Ballot {
        match self {
            Self::Pending => Ballot::Pending,
            Self::Alive => Ballot::Alive,
            Self::Dead(_) => Ballot::Dead,
        }
    }
}

#[derive(Clone, Debug)]
struct Voter {
    id: MemberId,
    cast: Option<Cast>,
    asked: u32,
    last: Instant,
    /// Since when it owes us an answer.
    owes: Option<Instant>,
}

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    incarnation: Incarnation,
    opened: Instant,
    round: u64,
    /// When the first voter was asked.
    asked_since: Option<Instant>,
    /// Nobody may be asked before.
    held_back: Instant,
    /// In the order of the rings: observers first.
    voters: Vec<Voter>,
    /// How many of them stand before us; behind all where we are not among those asked.
    before_us: Option<usize>,
    /// How many members the circle should hold, ourselves included.
    circle: usize,
    widened: Instant,
}

/// Who decides, and how patiently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Court {
    /// K: members that observe one.
    pub observers: usize,
    /// H: of them must agree on a death.
    pub quorum: usize,
    /// G: a silence of so long is forgiven.
    pub grace: Duration,
}

impl Court {
    /// So many votes of life leave a quorum of the observers standing.
    fn outvoted(self) -> usize {
        self.observers.saturating_sub(self.quorum)
    }
}

/// How a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Neither way yet.
    Open,
    /// Enough votes of death, ours included.
    Condemned,
    /// Enough votes of life.
    Acquitted,
}

impl Case {
    /// Opens a case with a round of our choice.
    pub fn open(now: Instant, incarnation: Incarnation, round: u64, observers: usize) -> Self {
        Self {
            incarnation,
            opened: now,
            round,
            asked_since: None,
            held_back: now,
            voters: Vec::new(),
            before_us: None,
            circle: observers,
            widened: now,
        }
    }

    /// The incarnation in question.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The round that votes must name.
    pub fn round(&self) -> u64 {
        self.round
    }

    /// Time since it was opened.
    pub fn age(&self, now: Instant) -> Duration {
        now.since(self.opened)
    }

    /// How many members the circle should hold, ourselves included.
    pub fn circle(&self) -> usize {
        self.circle
    }

    /// Puts members on the list who do not stand there, in the order of the rings; `local` is
    /// ourselves, who are not asked.
    pub fn include(
        &mut self,
        now: Instant,
        order: impl IntoIterator<Item = MemberId>,
        local: MemberId,
    ) {
        for id in order {
            if id == local {
                self.before_us.get_or_insert(self.voters.len());
            } else if !self.voters.iter().any(|voter| voter.id == id) {
                let (last, owes) = (self.opened, Some(now));
                self.voters.push(Voter { id, cast: None, asked: 0, last, owes });
            }
        }
    }

    /// Members on the list.
    pub fn asked(&self) -> usize {
        self.voters.len()
    }

    /// Whether a vote of this member and round belongs here: a signature is worth looking at then,
    /// and not before.
    pub fn expects(&self, voter: MemberId, round: u64) -> bool {
        round == self.round && self.voters.iter().any(|known| known.id == voter)
    }

    /// A vote arrived, verified if it says death; says whether it counts.
    pub fn vote(&mut self, voter: MemberId, round: u64, cast: Cast) -> bool {
        if round != self.round {
            return false;
        }
        match self.voters.iter_mut().find(|known| known.id == voter) {
            Some(known) => {
                known.cast = Some(cast);
                known.owes = None;
                true
            }
            None => false,
        }
    }

    /// What a voter said last.
    pub fn ballot_of(&self, voter: MemberId) -> Option<Ballot> {
        let known = self.voters.iter().find(|known| known.id == voter)?;
        known.cast.as_ref().map(Cast::ballot)
    }

    /// Voters that answered at all.
    pub fn answering(&self) -> usize {
        self.voters.iter().filter(|voter| voter.cast.is_some()).count()
    }

    /// Whether everybody whom we asked has been silent for long enough to tell.
    pub fn is_unanswered(&self, now: Instant) -> bool {
        let patience = self.asked_since.is_some_and(|since| now.since(since) >= AGAIN);
        patience && self.answering() == 0
    }

    /// Nobody may be asked before `until`: whatever is overdue waits for that, and not for the next
    /// moment.
    pub fn hold_back(&mut self, until: Instant) {
        self.held_back = until;
    }

    fn count(&self, ballot: Ballot) -> usize {
        let said = self.voters.iter().filter_map(|voter| voter.cast.as_ref());
        said.filter(|cast| cast.ballot() == ballot).count()
    }

    /// Votes of death.
    pub fn condemning(&self) -> impl Iterator<Item = SignedVote> {
        self.voters.iter().filter_map(|voter| match &voter.cast {
            Some(Cast::Dead(seal)) => Some(SignedVote { voter: voter.id, seal: seal.clone() }),
            Some(Cast::Pending | Cast::Alive) | None => None,
        })
    }

    /// How the case stands with our own ballot. `present` tells whom we hold present.
    pub fn standing(
        &self,
        now: Instant,
        own: Ballot,
        court: Court,
        present: impl Fn(MemberId) -> bool,
    ) -> Standing {
        // Death needs our own finding too: a leader announces nothing that it has not seen.
        let enough = own == Ballot::Dead && self.count(Ballot::Dead) + 1 >= court.quorum;
        if enough && (self.observers_agree(court, &present) || !self.may_fail(now, court, &present))
        {
            Standing::Condemned
        } else if self.count(Ballot::Alive) > court.outvoted() {
            Standing::Acquitted
        } else {
            Standing::Open
        }
    }

    /// Whether a quorum of the observers themselves found death, ourselves included: however far
    /// the others live, they cannot outvote it.
    fn observers_agree(&self, court: Court, present: impl Fn(MemberId) -> bool) -> bool {
        let (before, behind) = self.voters.split_at(self.before_us.unwrap_or(self.voters.len()));
        let seat = |voter: &Voter| present(voter.id).then(|| voter.found(Ballot::Dead));
        let seats =
            before.iter().filter_map(seat).chain([true]).chain(behind.iter().filter_map(seat));
        seats.take(court.observers).filter(|dead| *dead).count() >= court.quorum
    }

    /// Whether those who found life, and those who may still find it, are enough to acquit: whoever
    /// says that it looks, and whoever has not had a grace's time to say anything.
    fn may_fail(&self, now: Instant, court: Court, present: impl Fn(MemberId) -> bool) -> bool {
        let objects = |voter: &&Voter| match voter.cast {
            Some(Cast::Alive) => true,
            Some(Cast::Dead(_)) => false,
            Some(Cast::Pending) | None => !voter.is_silent(now, court.grace) && present(voter.id),
        };
        self.voters.iter().filter(objects).count() > court.outvoted()
    }

    /// Whether we are alone with our finding (rule D-9).
    pub fn is_alone(&self, now: Instant, quorum: usize) -> bool {
        self.age(now) >= ALONE && self.answering() + 1 < quorum
    }

    /// Whether it looks as though it would come to that: somebody answers, and too few do.
    pub fn is_left_alone(&self, now: Instant, quorum: usize) -> bool {
        let answering = self.answering();
        self.age(now) >= LEFT_ALONE && answering > 0 && answering + 1 < quorum
    }

    /// Whether fewer than K answer. We are one of them where we are one of those asked: a stand-in does
    /// not answer for an observer that is silent.
    fn few_answer(&self, observers: usize) -> bool {
        self.answering() + usize::from(self.before_us.is_some()) < observers
    }

    /// Widens the circle when it is time and too few answer.
    pub fn widen(&mut self, now: Instant, observers: usize) {
        if self.few_answer(observers) && now.since(self.widened) >= WIDEN && self.circle < WIDEST {
            self.widened = now;
            self.circle = (self.circle * 2).min(WIDEST);
        }
    }

    /// Whom to ask now, at most `limit`; they count as asked.
    pub fn ask(&mut self, now: Instant, grace: Duration, mut limit: usize) -> Vec<MemberId> {
        let over = self.age(now) >= grace;
        let mut asked = Vec::new();
        for voter in &mut self.voters {
            if limit == 0 {
                break;
            }
            if voter.due(over).is_some_and(|due| due <= now) {
                self.asked_since.get_or_insert(now);
                if voter.asked == 0 {
                    voter.owes = Some(now);
                }
                voter.owes.get_or_insert(now);
                voter.asked += 1;
                voter.last = now;
                limit -= 1;
                asked.push(voter.id);
            }
        }
        asked
    }

    /// When to look at the case again.
    pub fn due(&self, now: Instant, court: Court) -> Instant {
        let Court { observers, quorum, grace } = court;
        let over = self.age(now) >= grace;
        let ask = self.voters.iter().filter_map(|voter| voter.due(over)).min();
        let allowed = |at: Instant| at.max(self.held_back);
        let grace_ends = (!over).then_some(self.opened + grace);
        let few = self.few_answer(observers) && self.circle < WIDEST;
        let widen = few.then_some(self.widened + WIDEN);
        let alone = (self.age(now) < ALONE).then_some(self.opened + ALONE);
        // Where the dead are many, one silence more may decide.
        let silences = self.voters.iter().filter_map(|voter| Some(voter.owes? + grace));
        let silent =
            silences.filter(|at| *at > now && self.count(Ballot::Dead) + 1 >= quorum).min();
        let next = [ask.map(allowed), grace_ends, widen.map(allowed), alone, silent];
        let next = next.into_iter().flatten().min();
        next.unwrap_or(now + REMIND).max(now)
    }
}

impl Voter {
    fn found(&self, ballot: Ballot) -> bool {
        self.cast.as_ref().is_some_and(|cast| cast.ballot() == ballot)
    }

    /// Whether it has owed an answer for as long as it takes to find death: it has had its say.
    fn is_silent(&self, now: Instant, grace: Duration) -> bool {
        self.owes.is_some_and(|since| now.since(since) >= grace)
    }

    fn due(&self, grace_is_over: bool) -> Option<Instant> {
        let wait = match self.cast {
            None if self.asked == 0 => Duration::ZERO,
            None if self.asked < PATIENT_AFTER => AGAIN,
            None => RARELY,
            Some(Cast::Pending) if grace_is_over => REMIND,
            Some(Cast::Pending | Cast::Alive | Cast::Dead(_)) => return None,
        };
        Some(self.last + wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::record::Signature;

    const GRACE: Duration = Duration::from_millis(2_050);
    const INCARNATION: Incarnation = Incarnation { generation: 1, counter: 0 };

    fn id(n: u8) -> MemberId {
        MemberId([n; 16])
    }

    fn at(ms: u64) -> Instant {
        Instant::ORIGIN + Duration::from_millis(ms)
    }

    fn dead() -> Cast {
        let signature = Signature { scheme: 0x0403, bytes: Vec::from([7; 71]) };
        Cast::Dead(Seal { signer: 1, signature })
    }

    const COURT: Court = Court { observers: 8, quorum: 5, grace: GRACE };

    /// How a case stands, all of whose voters are present.
    fn standing(case: &Case, ms: u64, own: Ballot) -> Standing {
        case.standing(at(ms), own, COURT, |_| true)
    }

    fn opened(voters: u8) -> Case {
        let mut case = Case::open(at(0), INCARNATION, 9, 8);
        case.include(at(0), (1..=voters).map(id), id(99));
        case
    }

    /// Rule D-8: five of eight, the leader included; four of life close the case.
    #[test]
    fn a_quorum_decides_either_way() {
        let mut case = opened(7);
        for n in 1..=3 {
            assert!(case.vote(id(n), 9, dead()));
        }
        assert_eq!(standing(&case, 100, Ballot::Dead), Standing::Open);
        assert!(!case.vote(id(4), 8, dead()), "another round");
        assert!(!case.expects(id(4), 8) && !case.expects(id(99), 9) && case.expects(id(4), 9));
        assert!(!case.vote(id(99), 9, dead()), "nobody asked it");
        case.vote(id(3), 9, dead());
        assert_eq!(standing(&case, 100, Ballot::Dead), Standing::Open, "a voter counts once");
        case.vote(id(4), 9, dead());
        assert_eq!(standing(&case, 100, Ballot::Pending), Standing::Open, "our own is needed");
        assert_eq!(standing(&case, 100, Ballot::Dead), Standing::Condemned);
        for n in 1..=4 {
            case.vote(id(n), 9, Cast::Alive);
        }
        assert_eq!(standing(&case, 100, Ballot::Dead), Standing::Acquitted);
        assert_eq!(case.condemning().count(), 0);
    }

    /// A case whose eight observers are all asked, and we are none of them; `against` of them found death.
    fn led_by_a_stand_in(against: u8) -> Case {
        let mut case = opened(8);
        assert_eq!(case.ask(at(0), GRACE, 99).len(), 8);
        (1..=against).for_each(|n| assert!(case.vote(id(n), 9, dead())));
        case
    }

    /// Rule D-8: whoever is no observer makes no quorum out of four observers while the other four may
    /// find life, however late they answer.
    #[test]
    fn a_stand_in_waits_for_those_who_look() {
        let mut case = led_by_a_stand_in(4);
        assert_eq!(standing(&case, 1, Ballot::Dead), Standing::Open);
        (5..=8).for_each(|n| assert!(case.vote(id(n), 9, Cast::Pending)));
        assert_eq!(standing(&case, 9_000, Ballot::Dead), Standing::Open, "four look");
        (5..=7).for_each(|n| assert!(case.vote(id(n), 9, Cast::Alive)));
        assert_eq!(standing(&case, 9_000, Ballot::Dead), Standing::Open, "the last may say so too");
        assert!(case.vote(id(8), 9, Cast::Alive));
        assert_eq!(standing(&case, 9_000, Ballot::Dead), Standing::Acquitted);
        // A quorum of observers needs nobody else.
        assert_eq!(standing(&led_by_a_stand_in(5), 1, Ballot::Dead), Standing::Condemned);
    }

    /// Rule D-8: observers that are gone do not hold up a verdict for longer than a grace.
    #[test]
    fn silence_is_no_objection_for_ever() {
        let mut case = led_by_a_stand_in(4);
        assert_eq!(case.due(at(1), COURT), at(500));
        assert_eq!(standing(&case, 2_049, Ballot::Dead), Standing::Open);
        assert_eq!(standing(&case, 2_050, Ballot::Dead), Standing::Condemned);
        // Who looked and fell silent is reminded, and owes an answer from then on.
        (5..=8).for_each(|n| assert!(case.vote(id(n), 9, Cast::Pending)));
        assert_eq!(case.ask(at(2_100), GRACE, 99), [5, 6, 7, 8].map(id));
        assert_eq!(standing(&case, 4_149, Ballot::Dead), Standing::Open);
        assert_eq!(standing(&case, 4_150, Ballot::Dead), Standing::Condemned);
    }

    /// Rule D-8: where observers are silent others speak, and four of them that find life weigh more than
    /// those who answered first.
    #[test]
    fn those_beyond_the_observers_are_heard_before_they_count() {
        let mut case = Case::open(at(0), INCARNATION, 9, 8);
        // We are the third of the observers; four of the others agree, one is silent.
        case.include(at(0), [1, 2, 99, 3, 4, 5, 6, 7].map(id), id(99));
        case.ask(at(0), GRACE, 99);
        (1..=3).for_each(|n| assert!(case.vote(id(n), 9, dead())));
        case.include(at(1_000), (1..=14).map(id), id(99));
        assert_eq!(case.ask(at(1_000), GRACE, 99).len(), 4 + 7);
        assert!(case.vote(id(8), 9, dead()), "it looks already, so it answers at once");
        assert_eq!(standing(&case, 1_001, Ballot::Dead), Standing::Open);
        (9..=12).for_each(|n| assert!(case.vote(id(n), 9, Cast::Pending)));
        assert_eq!(standing(&case, 3_900, Ballot::Dead), Standing::Open);
        let mut other = case.clone();
        (9..=12).for_each(|n| assert!(case.vote(id(n), 9, Cast::Alive)));
        assert_eq!(standing(&case, 3_900, Ballot::Dead), Standing::Acquitted);
        assert!(other.vote(id(9), 9, dead()));
        assert_eq!(standing(&other, 3_900, Ballot::Dead), Standing::Condemned, "three look");
    }

    /// Rule D-8: whom we hold departed has no seat: the next in the order of the rings has it.
    #[test]
    fn the_seat_of_a_departed_observer_is_another_ones() {
        let mut case = opened(8);
        case.ask(at(0), GRACE, 99);
        [1, 2, 3, 4, 8].into_iter().for_each(|n| assert!(case.vote(id(n), 9, dead())));
        let six = Court { observers: 7, quorum: 5, grace: GRACE };
        let of = |gone: u8| case.standing(at(1), Ballot::Dead, six, |voter| voter != id(gone));
        assert_eq!(of(99), Standing::Open);
        assert_eq!(of(5), Standing::Condemned);
    }

    /// Rule D-6: the silent every 500 ms and then every 2 s, the pending once the grace is over.
    #[test]
    fn the_silent_are_asked_again_and_the_pending_reminded() {
        let mut case = opened(2);
        assert_eq!(case.ask(at(0), GRACE, 9), [id(1), id(2)]);
        case.vote(id(2), 9, Cast::Pending);
        let mut times = Vec::new();
        for ms in (0..9_000).step_by(100) {
            for voter in case.ask(at(ms), GRACE, 9) {
                times.push((voter.0[0], ms));
            }
        }
        let of = |n| times.iter().filter(move |(voter, _)| *voter == n).map(|(_, ms)| *ms);
        assert_eq!(of(1).collect::<Vec<_>>(), [500, 1_000, 1_500, 3_500, 5_500, 7_500]);
        assert_eq!(of(2).next(), Some(2_100), "after the grace");
        assert_eq!(of(2).nth(1), Some(3_100));
    }

    /// Rule D-6: ×2, ×4, ×8 while too few answer.
    #[test]
    fn the_circle_widens_while_few_answer() {
        let mut case = opened(7);
        case.include(at(0), [id(99)], id(99));
        let mut circles = Vec::new();
        for ms in (0..6_000).step_by(500) {
            let before = case.circle();
            case.widen(at(ms), 8);
            if case.circle() != before {
                circles.push((ms, case.circle()));
            }
        }
        assert_eq!(circles, [(1_000, 16), (2_000, 32), (3_000, 64)]);
        let mut answered = opened(7);
        answered.include(at(0), [id(99)], id(99));
        assert_eq!(answered.ask(at(4_500), GRACE, 9).len(), 7);
        (1..=7).for_each(|n| assert!(answered.vote(id(n), 9, Cast::Pending)));
        answered.widen(at(5_000), 8);
        assert_eq!(answered.circle(), 8);
        assert!(answered.due(at(5_000), COURT) > at(5_000));
        // A stand-in needs eight answers beside its own.
        let mut led = led_by_a_stand_in(7);
        led.widen(at(1_000), 8);
        assert_eq!(led.circle(), 16);
        let mut led = led_by_a_stand_in(8);
        led.widen(at(1_000), 8);
        assert_eq!(led.circle(), 8);
    }

    /// Rule D-6: who may ask nobody looks again when it may, and not a thousand times a second.
    #[test]
    fn what_is_overdue_waits_until_asking_is_allowed() {
        let mut case = opened(7);
        assert_eq!(case.due(at(100), COURT), at(100));
        case.hold_back(at(600));
        assert_eq!(case.due(at(100), COURT), at(600));
        case.hold_back(at(1_700));
        assert_eq!(case.due(at(1_200), COURT), at(1_700), "nor is the circle widened");
        assert_eq!(case.due(at(1_700), COURT), at(1_700));
    }

    /// Rule D-9.
    #[test]
    fn ten_seconds_without_a_quorum_of_answers_is_alone() {
        let mut case = opened(7);
        assert!(!case.is_alone(at(9_999), 5) && !case.is_unanswered(at(9_999)), "nobody was asked");
        assert_eq!(case.ask(at(9_500), GRACE, 9).len(), 7);
        assert!(case.is_alone(at(10_000), 5) && case.is_unanswered(at(10_000)));
        (1..=4).for_each(|n| assert!(case.vote(id(n), 9, Cast::Pending)));
        assert!(!case.is_alone(at(10_000), 5), "with ours a quorum answers");
        assert!(!case.is_unanswered(at(10_000)));
    }
}
