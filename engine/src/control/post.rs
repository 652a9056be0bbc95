//! Events on their way from the control thread to the host, in batches (rule D-16).
//!
//! A letter box with two ends: the control thread drops events in, and what belongs together
//! reaches the host together. When the box is full the newest events are dropped and counted, and
//! whoever makes room finds a note of how many, whether or not anything else happens. What other
//! hosts say goes at once, each by itself, and has a box of its own of the same size, so that it
//! takes no room from what is told of members.
//!
//! Invariants: no more than the agreed number of events waits, gathered or ready; a note takes no
//! room, and there is at most one for each time that room was made; the order of events of members
//! is kept; what is gone is told before anything that came after it; nobody here waits for the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use mesh_gossip_proto::batch::{Batches, Delivery};
use mesh_gossip_proto::{Event, WallTime};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::HostEvent;
use crate::clock::Clock;

/// The host's end; of several copies each event reaches one.
#[derive(Clone)]
pub(crate) struct Mailbox {
    batches: Receiver<Vec<HostEvent>>,
    boxes: Arc<Boxes>,
    /// To ask for a note; it keeps nothing alive.
    letters: mpsc::WeakUnboundedSender<Letter>,
}

/// On its way to whoever gathers.
enum Letter {
    Event(HostEvent),
    /// Tell what is gone of this box.
    Gone(Kind),
}

/// Which box.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Members,
    Hosts,
}

/// Both boxes, of one size.
struct Boxes {
    most: usize,
    members: Fill,
    hosts: Fill,
}

/// How full a box is, and what did not fit.
#[derive(Default)]
struct Fill {
    waiting: AtomicUsize,
    /// Events that there was no room for since the host was last told,
    gone: AtomicU64,
    /// and when the last of them happened.
    gone_at: AtomicU64,
}

impl Boxes {
    fn of(&self, kind: Kind) -> &Fill {
        match kind {
            Kind::Members => &self.members,
            Kind::Hosts => &self.hosts,
        }
    }

    // The three below are in one order for all threads: whoever makes room sees what is gone, or
    // whoever loses an event sees the room.
    fn has_room(&self, kind: Kind) -> bool {
        self.of(kind).waiting.load(Ordering::SeqCst) < self.most
    }

    fn make_room(&self, kind: Kind) {
        self.of(kind).waiting.fetch_sub(1, Ordering::SeqCst);
    }

    fn has_lost(&self, kind: Kind) -> bool {
        self.of(kind).gone.load(Ordering::SeqCst) > 0
    }

    fn lose(&self, kind: Kind, count: u64, at: WallTime) {
        self.of(kind).gone_at.store(at.0, Ordering::SeqCst);
        self.of(kind).gone.fetch_add(count, Ordering::SeqCst);
    }

    /// A note of what is gone, where something is.
    fn note(&self, kind: Kind) -> Option<HostEvent> {
        let gone = self.of(kind).gone.swap(0, Ordering::SeqCst);
        let at = WallTime(self.of(kind).gone_at.load(Ordering::SeqCst));
        let event = match kind {
            Kind::Members => Event::Overflow(gone),
            Kind::Hosts => Event::Missed(gone),
        };
        (gone > 0).then_some(HostEvent { at, event })
    }
}

impl Mailbox {
    /// The next batch, waiting up to `patience` for one.
    pub(crate) fn next(&self, patience: Duration) -> Option<Vec<HostEvent>> {
        let batch = if patience.is_zero() {
            // A wait spins before it gives up, which a host that only looks would pay for each time.
            self.batches.try_recv().ok()
        } else {
            self.batches.recv_timeout(patience).ok()
        };
        batch.map(|batch| self.taken(batch))
    }

    /// The next batch, however long that takes; `None` once no more can come.
    pub(crate) fn wait(&self) -> Option<Vec<HostEvent>> {
        Some(self.taken(self.batches.recv().ok()?))
    }

    fn taken(&self, batch: Vec<HostEvent>) -> Vec<HostEvent> {
        for taken in &batch {
            if let Some(kind) = takes_room(&taken.event) {
                self.boxes.make_room(kind);
            }
        }
        for kind in [Kind::Members, Kind::Hosts] {
            let untold = self.boxes.has_lost(kind) && self.boxes.has_room(kind);
            if untold && let Some(letters) = self.letters.upgrade() {
                // Whoever gathers tells what is left when it ends.
                let _ = letters.send(Letter::Gone(kind));
            }
        }
        batch
    }
}

/// The control thread's end, on its way there.
pub(crate) struct Outbox {
    post: Post,
    sorting: Sorting,
}

/// A letter box for `most` events.
pub(crate) fn letter_box(most: usize, delivery: Delivery) -> (Outbox, Mailbox) {
    // Bounded by what the boxes admit: a bounded channel would reserve all places at once.
    let (sender, batches) = channel::unbounded();
    let (letters, arriving) = mpsc::unbounded_channel();
    let boxes = Boxes { most, members: Fill::default(), hosts: Fill::default() };
    let boxes = Arc::new(boxes);
    let mailbox = Mailbox { batches, boxes: Arc::clone(&boxes), letters: letters.downgrade() };
    let gathered = Batches::new(delivery);
    let sorting = Sorting { arriving, gathered, sender, boxes: Arc::clone(&boxes) };
    (Outbox { post: Post { letters, boxes }, sorting }, mailbox)
}

/// Takes events and hands them to the task that gathers them.
pub(super) struct Post {
    letters: mpsc::UnboundedSender<Letter>,
    boxes: Arc<Boxes>,
}

impl Outbox {
    /// The post, and the task that has to run for it.
    pub(super) fn open(self) -> (Post, impl Future<Output = ()> + 'static) {
        (self.post, self.sorting.deliver())
    }
}

impl Post {
    /// Posts an event; says how many were lost by it, none or one.
    pub(super) fn post(&mut self, event: HostEvent) -> u64 {
        let kind = if is_of_hosts(&event.event) { Kind::Hosts } else { Kind::Members };
        if let Event::Overflow(count) | Event::Missed(count) = event.event {
            // Lost on the way here, and told with what is lost here.
            self.lose(kind, count, event.at);
            return 0;
        }
        // Nobody else posts, so the box only gets emptier in between.
        if !self.boxes.has_room(kind) {
            self.lose(kind, 1, event.at);
            return 1;
        }
        if self.boxes.has_lost(kind) {
            self.send(Letter::Gone(kind));
        }
        self.boxes.of(kind).waiting.fetch_add(1, Ordering::SeqCst);
        self.send(Letter::Event(event));
        0
    }

    fn lose(&self, kind: Kind, count: u64, at: WallTime) {
        self.boxes.lose(kind, count, at);
        // Room may have been made meanwhile by somebody who found nothing gone.
        if self.boxes.has_room(kind) {
            self.send(Letter::Gone(kind));
        }
    }

    fn send(&self, letter: Letter) {
        // The task ends with the agent, and then nobody is left to be told.
        let _ = self.letters.send(letter);
    }
}

/// Gathers what arrives, and hands over what is left when it is dropped, as it is at a stop.
struct Sorting {
    arriving: mpsc::UnboundedReceiver<Letter>,
    gathered: Batches<HostEvent>,
    sender: Sender<Vec<HostEvent>>,
    boxes: Arc<Boxes>,
}

impl Sorting {
    /// Gathers what arrives until nothing more can.
    async fn deliver(mut self) {
        let clock = Clock::start();
        loop {
            let letter = match self.gathered.due() {
                None => Ok(self.arriving.recv().await),
                Some(due) => timeout(due.since(clock.now()), self.arriving.recv()).await,
            };
            match letter {
                Ok(Some(letter)) => self.sort(&clock, letter),
                Ok(None) => return,
                Err(_due) => {}
            }
            while let Some(batch) = self.gathered.take_due(clock.now()) {
                self.hand_over(batch);
            }
        }
    }

    fn sort(&mut self, clock: &Clock, letter: Letter) {
        let event = match letter {
            Letter::Event(event) => event,
            Letter::Gone(kind) => match self.boxes.note(kind) {
                Some(note) => note,
                // It was told already.
                None => return,
            },
        };
        if is_of_hosts(&event.event) {
            self.hand_over(vec![event]);
            return;
        }
        let urgent = ends_a_batch(&event.event);
        self.gathered.add(clock.now(), event);
        if urgent && let Some(batch) = self.gathered.take() {
            self.hand_over(batch);
        }
    }

    fn hand_over(&self, batch: Vec<HostEvent>) {
        // The host's end is gone: it does not listen, which is its right.
        let _ = self.sender.send(batch);
    }
}

impl Drop for Sorting {
    fn drop(&mut self) {
        let clock = Clock::start();
        while let Ok(letter) = self.arriving.try_recv() {
            self.sort(&clock, letter);
        }
        if let Some(batch) = self.gathered.take() {
            self.hand_over(batch);
        }
        for kind in [Kind::Members, Kind::Hosts] {
            if let Some(note) = self.boxes.note(kind) {
                self.hand_over(vec![note]);
            }
        }
    }
}

/// Which box an event takes room in; a note takes none.
fn takes_room(event: &Event) -> Option<Kind> {
    match event {
        Event::Overflow(_) | Event::Missed(_) => None,
        event if is_of_hosts(event) => Some(Kind::Hosts),
        _members => Some(Kind::Members),
    }
}

/// Whether another host said it, or it is about what was said.
fn is_of_hosts(event: &Event) -> bool {
    matches!(event, Event::Broadcast { .. } | Event::Message { .. } | Event::Missed(_))
}

/// What a host may be waiting for: it goes at once, and takes along what came before it.
fn ends_a_batch(event: &Event) -> bool {
    match event {
        Event::JoinComplete | Event::LeaveComplete { .. } | Event::Overflow(_) => true,
        Event::Joined(_)
        | Event::Recovered { .. }
        | Event::Suspected { .. }
        | Event::Unreachable(_)
        | Event::LeaderChanged { .. }
        | Event::Left { .. }
        | Event::Updated(_)
        | Event::Forgotten(_)
        | Event::Refuted(_)
        | Event::Conflict(_)
        | Event::Alarm(_)
        | Event::RecordRejected { .. }
        | Event::RoundTrip { .. }
        | Event::Broadcast { .. }
        | Event::Message { .. }
        | Event::Missed(_)
        | Event::ProbeFailed(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mesh_gossip_proto::{MemberId, WallTime};
    use tokio::task::{JoinHandle, LocalSet};

    fn forgotten(number: u8) -> HostEvent {
        HostEvent { at: WallTime(1), event: Event::Forgotten(MemberId([number; 16])) }
    }

    fn numbers(batch: &[HostEvent]) -> Vec<u8> {
        let number = |event: &HostEvent| match event.event {
            Event::Forgotten(id) => id.0[0],
            Event::JoinComplete => 100,
            Event::Overflow(lost) => 200 + u8::try_from(lost).unwrap(),
            Event::Message { topic, .. } => 100 + u8::try_from(topic).unwrap(),
            Event::Missed(lost) => 220 + u8::try_from(lost).unwrap(),
            _ => panic!("{event:?}"),
        };
        batch.iter().map(number).collect()
    }

    fn on_a_thread_of_its_own<T>(act: impl AsyncFnOnce() -> T) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, act())
    }

    fn opened(most: usize, delivery: Delivery) -> (Post, Mailbox, JoinHandle<()>) {
        let (outbox, mailbox) = letter_box(most, delivery);
        let (post, task) = outbox.open();
        (post, mailbox, tokio::task::spawn_local(task))
    }

    /// Rule D-16: what comes at about the same time comes together, about a second later.
    #[test]
    fn changes_are_delivered_together() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, task) = opened(10, Delivery::Batched);
            let clock = Clock::start();
            let begun = clock.now();
            for number in 0..3 {
                assert_eq!(post.post(forgotten(number)), 0);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert_eq!(mailbox.next(Duration::ZERO), None, "it is not quiet yet");
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let batch = mailbox.next(Duration::ZERO).expect("one batch");
            assert_eq!(numbers(&batch), [0, 1, 2]);
            assert!(clock.now().since(begun) >= Duration::from_millis(1_200));
            drop(post);
            task.await.unwrap();
        });
    }

    /// Rule D-16: a host that waits for the join is not kept waiting.
    #[test]
    fn a_milestone_takes_along_what_came_before() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(10, Delivery::Batched);
            post.post(forgotten(1));
            post.post(HostEvent { at: WallTime(1), event: Event::JoinComplete });
            post.post(forgotten(2));
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(mailbox.next(Duration::ZERO).as_deref().map(numbers), Some(vec![1, 100]));
            assert_eq!(mailbox.next(Duration::ZERO), None);
        });
    }

    /// Rule D-16: on request each change is delivered at once, by itself.
    #[test]
    fn immediate_changes_are_delivered_one_by_one() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(10, Delivery::Immediate);
            let lost: u64 = (0..3).map(|number| post.post(forgotten(number))).sum();
            assert_eq!(lost, 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
            for number in 0..3 {
                let batch = mailbox.next(Duration::ZERO).expect("one each");
                assert_eq!(numbers(&batch), [number]);
            }
        });
    }

    /// Rule U-7: what other hosts say is not gathered, gathers nothing, and takes no room from what
    /// is told of members.
    #[test]
    fn what_hosts_say_goes_at_once_and_has_room_of_its_own() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(2, Delivery::Batched);
            let said = |topic| {
                let (from, bytes) = (MemberId([1; 16]), [][..].into());
                HostEvent { at: WallTime(1), event: Event::Message { from, topic, bytes } }
            };
            assert_eq!(post.post(forgotten(1)), 0);
            let lost: u64 = (1..=5).map(|topic| post.post(said(topic))).sum();
            assert_eq!(lost, 3, "two wait");
            assert_eq!(post.post(forgotten(2)), 0, "there is room for members");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let at_once = || mailbox.next(Duration::ZERO).as_deref().map(numbers);
            assert_eq!([at_once(), at_once(), at_once()], [Some(vec![101]), Some(vec![102]), None]);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(
                [at_once(), at_once()],
                [Some(vec![223]), None],
                "told without another word"
            );
            assert_eq!(post.post(said(6)), 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!([at_once(), at_once()], [Some(vec![106]), None]);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(at_once(), Some(vec![1, 2]), "and is told as ever");
        });
    }

    /// The next batch, however busy this machine is.
    async fn come(mailbox: &Mailbox) -> Vec<HostEvent> {
        for _ in 0..10_000 {
            if let Some(batch) = mailbox.next(Duration::ZERO) {
                return batch;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("nothing came");
    }

    /// Rules B-1 and D-16: gathered or ready, no more than agreed waits; whoever makes room is told
    /// what is gone, although nothing else happens.
    #[test]
    fn a_full_box_takes_no_more_and_says_so() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(2, Delivery::Batched);
            let lost: u64 = (0..5).map(|number| post.post(forgotten(number))).sum();
            assert_eq!(lost, 3);
            assert_eq!(numbers(&come(&mailbox).await), [0, 1]);
            let note = come(&mailbox).await;
            assert_eq!((numbers(&note), note[0].at), (vec![203], WallTime(1)));
            assert_eq!(post.post(forgotten(9)), 0);
            assert_eq!(numbers(&come(&mailbox).await), [9]);
            // Lost on the way here, while there is room.
            let before = HostEvent { at: WallTime(2), event: Event::Overflow(7) };
            assert_eq!(post.post(before), 0);
            assert_eq!(numbers(&come(&mailbox).await), [207]);
        });
    }

    /// Rule D-16: a note takes no room, or a box for one event would hold nothing but notes.
    #[test]
    fn the_smallest_box_tells_both_events_and_losses() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(1, Delivery::Immediate);
            let lost: u64 = (0..3).map(|number| post.post(forgotten(number))).sum();
            assert_eq!(lost, 2);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let next = || mailbox.next(Duration::ZERO).as_deref().map(numbers);
            assert_eq!(next(), Some(vec![0]));
            // Room was made, and the next event comes before the note is written.
            assert_eq!(post.post(forgotten(3)), 0);
            assert_eq!(post.post(forgotten(4)), 1);
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (note, then) = (next().expect("a note"), next().expect("the event"));
            assert!(note == [202] || note == [203], "{note:?}");
            assert_eq!(then, [3], "what is gone is told before what came after it");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let rest: Vec<u8> = std::iter::from_fn(&next).flatten().collect();
            assert_eq!(rest.is_empty(), note == [203], "and each loss once: {rest:?}");
        });
    }

    /// Rule D-16: at the end a host gets what was gathered, and is told what is gone.
    #[test]
    fn what_is_left_at_the_end_is_handed_over() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, task) = opened(1, Delivery::Batched);
            let lost: u64 = (1..=3).map(|number| post.post(forgotten(number))).sum();
            assert_eq!(lost, 2);
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
            assert_eq!(mailbox.wait().as_deref().map(numbers), Some(vec![1]));
            assert_eq!(mailbox.wait().as_deref().map(numbers), Some(vec![202]));
            assert_eq!(mailbox.wait(), None);
            drop(post);
        });
    }
}
