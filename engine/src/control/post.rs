//! Events on their way from the control thread to the host, in batches (rule D-16).
//!
//! A letter box with two ends: the control thread drops events in, and what belongs together
//! reaches the host together. When the box is full the newest events are dropped, counted, and the
//! host is told how many as soon as there is room. What other hosts say goes at once, each by itself,
//! and has a box of its own of the same size, so that it takes no room from what is told of members.
//!
//! Invariants: no more than the agreed number of events waits, gathered or ready; the order of events
//! of members is kept; nobody here waits for the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam::channel::{self, Receiver, Sender};
use mesh_gossip_proto::Event;
use mesh_gossip_proto::batch::{Batches, Delivery};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::HostEvent;
use crate::clock::Clock;

/// The host's end; of several copies each event reaches one.
#[derive(Clone)]
pub(crate) struct Mailbox {
    batches: Receiver<Vec<HostEvent>>,
    waiting: Arc<Boxes>,
}

/// How many events wait: of members, and of what hosts say.
#[derive(Default)]
struct Boxes {
    members: AtomicUsize,
    hosts: AtomicUsize,
}

impl Boxes {
    fn of(&self, event: &Event) -> &AtomicUsize {
        if is_of_hosts(event) { &self.hosts } else { &self.members }
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
            self.waiting.of(&taken.event).fetch_sub(1, Ordering::AcqRel);
        }
        batch
    }
}

/// The control thread's end, on its way there.
pub(crate) struct Outbox {
    batches: Sender<Vec<HostEvent>>,
    waiting: Arc<Boxes>,
    most: usize,
    delivery: Delivery,
}

/// A letter box for `most` events.
pub(crate) fn letter_box(most: usize, delivery: Delivery) -> (Outbox, Mailbox) {
    // Bounded by what `waiting` admits: a bounded channel would reserve all places at once.
    let (sender, batches) = channel::unbounded();
    let waiting = Arc::new(Boxes::default());
    let outbox = Outbox { batches: sender, waiting: Arc::clone(&waiting), most, delivery };
    (outbox, Mailbox { batches, waiting })
}

/// Takes events and hands them to the task that gathers them.
pub(super) struct Post {
    letters: mpsc::UnboundedSender<HostEvent>,
    waiting: Arc<Boxes>,
    most: usize,
    /// Events that the box had no room for since the host was last told,
    lost: u64,
    /// and of what other hosts said.
    missed: u64,
}

impl Outbox {
    /// The post, and the task that has to run for it.
    pub(super) fn open(self) -> (Post, impl Future<Output = ()> + 'static) {
        let (letters, arriving) = mpsc::unbounded_channel();
        let post = Post {
            letters,
            waiting: Arc::clone(&self.waiting),
            most: self.most,
            lost: 0,
            missed: 0,
        };
        (post, self.deliver(arriving))
    }

    /// Gathers what arrives until nothing more can.
    async fn deliver(self, mut arriving: mpsc::UnboundedReceiver<HostEvent>) {
        let clock = Clock::start();
        let mut batches = Batches::new(self.delivery);
        loop {
            let letter = match batches.due() {
                None => Ok(arriving.recv().await),
                Some(due) => timeout(due.since(clock.now()), arriving.recv()).await,
            };
            match letter {
                Ok(Some(letter)) if is_of_hosts(&letter.event) => self.hand_over(vec![letter]),
                Ok(Some(letter)) => {
                    let urgent = ends_a_batch(&letter.event);
                    batches.add(clock.now(), letter);
                    if urgent && let Some(batch) = batches.take() {
                        self.hand_over(batch);
                    }
                }
                Ok(None) => return,
                Err(_due) => {}
            }
            while let Some(batch) = batches.take_due(clock.now()) {
                self.hand_over(batch);
            }
        }
    }

    fn hand_over(&self, batch: Vec<HostEvent>) {
        // The host's end is gone: it does not listen, which is its right.
        let _ = self.batches.send(batch);
    }
}

impl Post {
    /// Posts an event; says how many were lost by it, none or one.
    pub(super) fn post(&mut self, event: HostEvent) -> u64 {
        let of_hosts = is_of_hosts(&event.event);
        let gone = if of_hosts { self.missed } else { self.lost };
        let word = if of_hosts { Event::Missed(gone) } else { Event::Overflow(gone) };
        let told = gone > 0 && self.offer(HostEvent { at: event.at, event: word });
        let lost = u64::from(!self.offer(event));
        let gone = if told { lost } else { gone + lost };
        *(if of_hosts { &mut self.missed } else { &mut self.lost }) = gone;
        lost
    }

    fn offer(&self, event: HostEvent) -> bool {
        let waiting = self.waiting.of(&event.event);
        // Nobody else posts, so the box only gets emptier in between.
        let room = waiting.load(Ordering::Acquire) < self.most;
        if room {
            waiting.fetch_add(1, Ordering::AcqRel);
            // The task ends with the agent, and then nobody is left to be told.
            let _ = self.letters.send(event);
        }
        room
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
            assert_eq!(post.post(said(6)), 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!([at_once(), at_once()], [Some(vec![223]), Some(vec![106])]);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(at_once(), Some(vec![1, 2]), "and is told as ever");
        });
    }

    /// Rules B-1 and D-16: gathered or ready, no more than agreed waits; what is lost is told.
    #[test]
    fn a_full_box_takes_no_more_and_says_so() {
        on_a_thread_of_its_own(async || {
            let (mut post, mailbox, _task) = opened(2, Delivery::Batched);
            let lost: u64 = (0..5).map(|number| post.post(forgotten(number))).sum();
            assert_eq!(lost, 3);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(mailbox.next(Duration::ZERO).as_deref().map(numbers), Some(vec![0, 1]));
            assert_eq!(post.post(forgotten(9)), 0);
            tokio::time::sleep(Duration::from_millis(1_100)).await;
            assert_eq!(mailbox.next(Duration::ZERO).as_deref().map(numbers), Some(vec![203]));
            assert_eq!(mailbox.next(Duration::ZERO).as_deref().map(numbers), Some(vec![9]));
        });
    }
}
