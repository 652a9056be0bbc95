//! What the demo shows and what its keys do, without a terminal and without a mesh.
//!
//! A wish becomes an act for the mesh, and each act a story: somebody did something to an agent, and
//! the others' views come to tell of it, the first one after so many milliseconds and all of them
//! after so many more.
//!
//! Invariants: a story ends once and its times never change again; an agent has one open story at
//! most; somebody is always left to watch.

use std::collections::VecDeque;
use std::time::Duration;

use super::keys::Wish;
use crate::demo::report::whole_ms;

/// Agents at a time: each view is looked at every few milliseconds.
pub(super) const MOST_AGENTS: usize = 32;
/// Stories kept in sight.
const MOST_STORIES: usize = 8;

/// What is to be done to the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Kill(String),
    Leave(String),
    /// The number of the new one.
    Add(String),
    Cut(String),
    Connect(String),
    Drain(String),
    Resume(String),
    Rotate(String),
    Quit,
}

/// What the others' views will come to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// It is no member.
    Gone,
    /// It is Alive.
    Alive,
    /// It hands its work over, or has done so.
    Draining,
    /// It takes work.
    Active,
    /// Its record is signed under another certificate than before.
    Papers,
}

/// In how many of the views that count a goal is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) views: usize,
    pub(super) of: usize,
}

/// One agent, as the keys know it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actor {
    node: String,
    cut: bool,
    drains: bool,
}

/// What became of an act.
#[derive(Clone, Debug)]
struct Story {
    node: String,
    what: &'static str,
    goal: Goal,
    began: Duration,
    first: Option<Duration>,
    all: Option<(Duration, usize)>,
    overtaken: Option<Duration>,
    reached: Reached,
}

/// The agents, who is selected, and the stories, the newest first.
#[derive(Debug)]
pub(super) struct Scene {
    cast: Vec<Actor>,
    selected: usize,
    stories: VecDeque<Story>,
    refusal: Option<String>,
    next: usize,
}

impl Scene {
    /// These agents run, named `demo-1` and so on.
    pub(super) fn new(nodes: impl IntoIterator<Item = String>) -> Self {
        let actor = |node| Actor { node, cut: false, drains: false };
        let cast: Vec<Actor> = nodes.into_iter().map(actor).collect();
        let (selected, next) = (cast.len().saturating_sub(1), cast.len() + 1);
        Self { cast, selected, stories: VecDeque::new(), refusal: None, next }
    }

    /// Whom the next key is about.
    pub(super) fn selected(&self) -> &str {
        &self.cast[self.selected].node
    }

    /// Whether views have to be looked at often.
    pub(super) fn is_waiting(&self) -> bool {
        self.stories.iter().any(Story::is_open)
    }

    /// Whether an agent is cut off: its view tells of nobody else then.
    pub(super) fn is_cut(&self, node: &str) -> bool {
        self.cast.iter().any(|actor| actor.node == node && actor.cut)
    }

    /// Takes a key; what comes back is to be done to the mesh, and then told by [`Scene::began`].
    pub(super) fn key(&mut self, wish: Wish) -> Option<Act> {
        self.refusal = None;
        let alone = self.cast.len() < 2;
        let Actor { node, cut, drains } = self.cast[self.selected].clone();
        let act = match wish {
            Wish::Quit => Act::Quit,
            Wish::Next => return self.select(1),
            Wish::Previous => return self.select(self.cast.len() - 1),
            Wish::Kill | Wish::Leave | Wish::Partition if alone => {
                return self.refuse("nobody else is left to notice: a adds an agent");
            }
            Wish::Kill => Act::Kill(node),
            Wish::Leave if cut => return self.refuse("nobody hears it: p connects it again"),
            Wish::Leave => Act::Leave(node),
            Wish::Add if self.cast.len() >= MOST_AGENTS => {
                return self.refuse("no more agents than these");
            }
            Wish::Add if self.cast.iter().any(|actor| actor.cut) => {
                return self.refuse("streams are down while somebody is cut off: p connects it");
            }
            Wish::Add => Act::Add(format!("demo-{}", self.next)),
            Wish::Partition if cut => Act::Connect(node),
            Wish::Partition => Act::Cut(node),
            Wish::Drain if drains => Act::Resume(node),
            Wish::Drain => Act::Drain(node),
            Wish::Rotate => Act::Rotate(node),
        };
        Some(act)
    }

    fn select(&mut self, steps: usize) -> Option<Act> {
        self.selected = (self.selected + steps) % self.cast.len();
        None
    }

    fn refuse(&mut self, why: &str) -> Option<Act> {
        self.refusal = Some(why.into());
        None
    }

    /// An act could not be done.
    pub(super) fn failed(&mut self, why: String) {
        self.refusal = Some(why);
    }

    /// An act was begun at this time: its story opens.
    pub(super) fn began(&mut self, now: Duration, act: &Act) {
        let (node, what, goal) = match act {
            Act::Kill(node) => (node, "was killed", Goal::Gone),
            Act::Leave(node) => (node, "said goodbye", Goal::Gone),
            Act::Add(node) => (node, "was started", Goal::Alive),
            Act::Cut(node) => (node, "was cut off", Goal::Gone),
            Act::Connect(node) => (node, "was connected again", Goal::Alive),
            Act::Drain(node) => (node, "drains", Goal::Draining),
            Act::Resume(node) => (node, "takes work again", Goal::Active),
            Act::Rotate(node) => (node, "shows another certificate", Goal::Papers),
            Act::Quit => return,
        };
        self.enter(act, node);
        for story in self.stories.iter_mut().filter(|story| story.node == *node) {
            story.overtake(now);
        }
        self.stories.push_front(Story {
            node: node.clone(),
            what,
            goal,
            began: now,
            first: None,
            all: None,
            overtaken: None,
            reached: Reached { views: 0, of: 0 },
        });
        self.stories.truncate(MOST_STORIES);
    }

    fn enter(&mut self, act: &Act, node: &str) {
        let at = self.cast.iter().position(|actor| actor.node == *node);
        match (act, at) {
            (Act::Kill(_) | Act::Leave(_), Some(at)) => {
                self.cast.remove(at);
                self.selected = self.selected.min(self.cast.len() - 1);
            }
            (Act::Add(_), _) => {
                self.cast.push(Actor { node: node.into(), cut: false, drains: false });
                self.next += 1;
            }
            (Act::Cut(_), Some(at)) => self.cast[at].cut = true,
            (Act::Connect(_), Some(at)) => self.cast[at].cut = false,
            (Act::Drain(_), Some(at)) => self.cast[at].drains = true,
            (Act::Resume(_), Some(at)) => self.cast[at].drains = false,
            (Act::Rotate(_) | Act::Quit, _) | (_, None) => {}
        }
    }

    /// Looks at the views by `reached`, which tells of a goal about an agent; says whether a story
    /// has changed.
    pub(super) fn see(
        &mut self,
        now: Duration,
        mut reached: impl FnMut(&str, Goal) -> Reached,
    ) -> bool {
        let mut changed = false;
        for story in self.stories.iter_mut().filter(|story| story.is_open()) {
            let before = story.reached;
            story.see(now, reached(&story.node, story.goal));
            changed |= before != story.reached;
        }
        changed
    }

    /// Stories as lines, `most` at most, the newest first, after what was refused.
    pub(super) fn lines(&self, now: Duration, most: usize) -> Vec<String> {
        let refusal = self.refusal.iter().cloned();
        refusal.chain(self.stories.iter().take(most).map(|story| story.line(now))).collect()
    }
}

impl Story {
    fn is_open(&self) -> bool {
        self.all.is_none() && self.overtaken.is_none()
    }

    fn overtake(&mut self, now: Duration) {
        if self.is_open() {
            self.overtaken = Some(now - self.began);
        }
    }

    fn see(&mut self, now: Duration, reached: Reached) {
        let took = now - self.began;
        self.reached = reached;
        if reached.views > 0 {
            self.first.get_or_insert(took);
        }
        if reached.views == reached.of && reached.of > 0 {
            self.all = Some((took, reached.of));
        }
    }

    fn line(&self, now: Duration) -> String {
        let (some, all) = match self.goal {
            Goal::Gone => ("first missed", "gone from"),
            Goal::Alive => ("first seen", "Alive in"),
            Goal::Draining | Goal::Active | Goal::Papers => ("first known", "known in"),
        };
        let first = self.first.map(|took| format!("{some} after {} ms", whole_ms(took)));
        let rest = match (self.all, self.overtaken) {
            (Some((took, 1)), _) => {
                format!("{all} the only other view after {} ms", whole_ms(took))
            }
            (Some((took, of)), _) => format!("{all} all {of} views after {} ms", whole_ms(took)),
            (None, Some(took)) => format!("overtaken after {} ms", whole_ms(took)),
            (None, None) => {
                let Reached { views, of } = self.reached;
                let waited = whole_ms(now - self.began) / 100 * 100;
                format!("{all} {views} of {of} views so far, {waited} ms")
            }
        };
        let told = [first, Some(rest)].into_iter().flatten().collect::<Vec<_>>().join(", ");
        format!("{} {}: {told}", self.node, self.what)
    }
}
