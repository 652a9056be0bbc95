//! Members that reconcile with whatever they like: made-up tables, answers that nobody asked for,
//! shares that nobody has, at any time (rules ).
//!
//! One honest reconciler among them is driven as a node drives it. What a table gives away must make
//! up that table again, and every bound must hold, whatever the bytes say.

use std::collections::BTreeSet;

use mesh_gossip_proto::sync::reconciler::{
    Answered, Lookup, Question, Reconciler, Walk, Why, cost,
};
use mesh_gossip_proto::sync::sketch::{CELLS, Difference, Sketch, part_of};
use mesh_gossip_proto::wire::message::{
    DifferenceHeader, MOST_PARTS, Message, Messages, Packet, SKETCH_BYTES, SketchHeader, kind,
};
use mesh_gossip_proto::{Duration, Instant, MemberId};
use zerocopy::IntoBytes;

use super::input::Input;

/// Least time between two walks.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest that a round keeps others waiting.
const LONGEST: Duration = Duration::from_secs(16);
/// Sketches that one walk sends, shares that wait for one.
const WINDOW: usize = 32;
const MOST_LOOKUPS: usize = 8_192;
const ROOM: usize = 2_000;

/// A script: how many members there are, then what happens.
pub fn sketches(data: &[u8]) {
    let mut input = Input::new(data);
    let members = u64::from(input.word() % 512);
    let mut scene = Scene {
        reconciler: Reconciler::default(),
        shares: (0..members).map(share).collect(),
        now: Instant::ORIGIN + Duration::from_secs(1),
        walked: None,
        salt: 0,
        divided: Instant::ORIGIN,
        waiting: 0,
    };
    while !input.is_empty() {
        scene.step(&mut input);
    }
}

/// The share of a member: well mixed, as hashes are.
fn share(member: u64) -> u64 {
    let mixed = (member + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ (mixed >> 32)
}

struct Scene {
    reconciler: Reconciler,
    shares: Vec<u64>,
    now: Instant,
    walked: Option<Instant>,
    /// The salt of our last round, and when it went on in parts.
    salt: u64,
    divided: Instant,
    /// Shares that wait for a walk.
    waiting: usize,
}

impl Scene {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => self.begin(input),
            1 => self.walk(),
            2 => self.altered(input),
            3 => self.made_up(input),
            4 => self.answer(input),
            5 => self.look_up(input),
            6 => self.want(input),
            _ => self.now += Duration::from_millis(input.word().into()),
        }
        let round = self.now.since(self.divided);
        assert!(!self.reconciler.is_busy(self.now) || round < LONGEST, "Rule A-5: others wait");
        let due = self.reconciler.due(self.now);
        let next = self.walked.map_or(Instant::ORIGIN, |walked| walked + PAUSE);
        assert!(due.is_none_or(|due| due >= next), "Rule A-6: a walk has its pause");
    }

    fn begin(&mut self, input: &mut Input<'_>) {
        if self.reconciler.is_busy(self.now) {
            return;
        }
        if self.reconciler.is_unheard() {
            self.reconciler.forget_silence();
        }
        self.salt = input.word().into();
        self.reconciler.begin(self.now, id(input.byte()), self.salt, self.now);
    }

    /// Some share: one of ours, or one that nobody here has.
    fn some_share(&self, input: &mut Input<'_>) -> u64 {
        let number = u64::from(input.word());
        share(number % (2 * self.shares.len() as u64 + 1))
    }

    fn walk(&mut self) {
        let Some(due) = self.reconciler.due(self.now) else { return };
        self.now = self.now.max(due);
        let mut walk = self.reconciler.begin_walk(self.now);
        self.walked = Some(self.now);
        self.waiting = 0;
        for (n, share) in self.shares.iter().enumerate() {
            walk.see(*share, n % 7 == 0);
        }
        walk.close();
        assert!(walk.sends.len() <= WINDOW, "{} at once", walk.sends.len());
        let sent: u32 = walk.sends.iter().map(|(_, header)| cost(header.parts.get())).sum();
        let asked = walk.questions.iter().map(|question| cost(question.header.parts.get()));
        let asked: u32 = asked.sum();
        // A window of parts may cost more than a walk has; the questions of others wait then.
        assert!(asked == 0 || sent + asked <= 2 * cost(1), "Rule A-6: two tables of all members");
        for (_, header) in &walk.sends {
            assert!(walk.table(header).is_some(), "what is sent was made");
        }
        for question in &walk.questions {
            if let Ok(found) = walk.answer(question) {
                self.explains(&walk, question, &found);
                let theirs = found.theirs.iter();
                theirs.for_each(|share| _ = self.reconciler.wants(self.now, *share));
            }
        }
    }

    /// What was found makes up what the two tables differ in.
    fn explains(&self, walk: &Walk, question: &Question, found: &Difference) {
        assert!(found.ours.len() + found.theirs.len() <= CELLS, "Rule A-4: decoding ends");
        let header = &question.header;
        let mut differs = walk.table(header).expect("it was made for the answer").clone();
        differs.subtract(&question.table);
        let salt = header.salt.get();
        let mut again = Sketch::of(salt, found.ours.iter().copied());
        again.subtract(&Sketch::of(salt, found.theirs.iter().copied()));
        assert_eq!(again, differs);
        let ours: BTreeSet<_> = found.ours.iter().collect();
        assert!(found.theirs.iter().all(|share| !ours.contains(share)), "on one side each");
    }

    /// A table as an honest member would make it, and then some of its bytes changed.
    fn altered(&mut self, input: &mut Input<'_>) {
        let (from, salt) = (input.byte(), u64::from(input.word()));
        let (parts, part) = (input.word(), input.word());
        let (lacks, has) = (usize::from(input.byte()), u64::from(input.byte()));
        let more = (0..has).map(|n| share(self.shares.len() as u64 + n));
        let theirs = self.shares.iter().skip(lacks).copied().chain(more);
        let of_part = theirs.filter(|share| part_of(salt, *share, parts) == part);
        let mut bytes = Sketch::of(salt, of_part).to_bytes();
        for _ in 0..input.below(8) {
            bytes[usize::from(input.word()) % SKETCH_BYTES] ^= input.byte();
        }
        self.ask(from, salt, (parts, part), &bytes);
    }

    /// A table that nobody made.
    fn made_up(&mut self, input: &mut Input<'_>) {
        let (from, salt) = (input.byte(), u64::from(input.word()));
        let (parts, part) = (input.word(), input.word());
        let length = usize::from(input.word()) % (SKETCH_BYTES + 1);
        let mut bytes = [0; SKETCH_BYTES];
        let given = input.take(length);
        bytes[..given.len()].copy_from_slice(given);
        self.ask(from, salt, (parts, part), &bytes);
    }

    /// A question comes as it does to a node: what no datagram can say is not asked.
    fn ask(&mut self, from: u8, salt: u64, (parts, part): (u16, u16), bytes: &[u8; SKETCH_BYTES]) {
        let header = SketchHeader { salt: salt.into(), part: part.into(), parts: parts.into() };
        let mut packet = Packet::default();
        let body = [header.as_bytes(), bytes].concat();
        assert!(packet.push_raw(ROOM, kind::SKETCH, &body), "a datagram has room");
        let Some(Ok(Message::Sketch(header, cells))) = Messages::new(packet.as_bytes()).next()
        else {
            assert!(part >= parts || parts > MOST_PARTS, "it is well-formed");
            return;
        };
        let table = Box::new(Sketch::from_bytes(header.salt.get(), cells));
        assert_eq!(&table.to_bytes(), bytes);
        self.reconciler.ask(Question { from: id(from), header: *header, table });
    }

    /// An answer, to what we asked or to nothing.
    fn answer(&mut self, input: &mut Input<'_>) {
        let (from, own) = (id(input.byte()), !input.byte().is_multiple_of(4));
        let salt = if own { self.salt } else { input.word().into() };
        let (parts, part) = (input.word(), input.word());
        let size = u32::from(input.word());
        let header = DifferenceHeader {
            salt: salt.into(),
            part: part.into(),
            parts: parts.into(),
            size: size.into(),
            offered: 0.into(),
            outcome: 1,
            reserved: 0,
        };
        let answered = self.reconciler.answered(self.now, from, &header);
        assert!(salt == self.salt || answered == Answered::Unasked, "nobody asked for that");
        let many = size <= Reconciler::worthwhile(self.shares.len());
        if answered != Answered::Unasked && parts == 1 && many {
            self.reconciler.divide(self.now, from, salt, size);
            self.divided = self.now;
        }
        self.reconciler.lost(self.now);
    }

    fn look_up(&mut self, input: &mut Input<'_>) {
        let (from, why) = (id(input.byte()), input.byte());
        let why = if why % 2 == 0 { Why::Wanted } else { Why::Offered };
        for _ in 0..=input.byte() {
            let lookup = Lookup { share: self.some_share(input), from, why };
            let room = self.reconciler.look_up(lookup);
            assert_eq!(room, self.waiting < MOST_LOOKUPS, "Rule A-6: so many wait");
            self.waiting += usize::from(room);
        }
    }

    fn want(&mut self, input: &mut Input<'_>) {
        let share = self.some_share(input);
        if self.reconciler.wants(self.now, share) && input.byte().is_multiple_of(2) {
            self.reconciler.came(share);
            assert!(self.reconciler.wants(self.now, share), "what came may be asked for anew");
        }
    }
}

fn id(n: u8) -> MemberId {
    MemberId([n % 16; 16])
}
