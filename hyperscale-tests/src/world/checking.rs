//! The world asks its checkers.

use mesh_gossip_proto::membership::roster::List;

use super::World;
use crate::checkers::{Checkers, Look, Sizes, Violation};
use crate::table::SimTable;

impl<T: SimTable> World<T> {
    /// Has every event from here on checked.
    #[must_use]
    pub fn checked(self) -> Self {
        let checkers = Checkers::new(self.seed, self.notary.clone());
        self.watched(checkers)
    }

    /// The first rule that was broken so far, in the events or in what nodes hold at present.
    ///
    /// # Errors
    /// The violation.
    ///
    /// # Panics
    /// When the world is not [checked](World::checked).
    pub fn check(&self) -> Result<(), Violation> {
        let checkers = self.checkers();
        if let Some(first) = checkers.first() {
            return Err(first.clone());
        }
        for by in self.running() {
            let node = self.node(by);
            let look = Look {
                at: self.now,
                by,
                id: node.id(),
                leaving: self.roll.standing(by).leaving,
                config: &self.config,
                stats: &node.stats(),
            };
            let sizes = Sizes {
                members: node.table().len(),
                contacts: node.contacts().count(),
                observers: node.observed_by().len(),
            };
            checkers.look_at_queues(&look, &sizes, self.books.most_at_once)?;
            for list in [List::Present, List::Departed] {
                for member in node.table().members(list) {
                    checkers.look_at(&look, member)?;
                }
            }
        }
        Ok(())
    }

    /// As [`World::check`], and all live views have to agree: the last fault is long past.
    ///
    /// # Errors
    /// The violation.
    pub fn check_settled(&self) -> Result<(), Violation> {
        self.check()?;
        let live = self.live();
        if self.agree(&live) {
            return Ok(());
        }
        let short = |by: &usize| format!("{by}: {:?}", self.node(*by).table().counts());
        let odd: Vec<String> =
            live.iter().filter(|by| !self.agrees_with(**by, &live)).map(short).collect();
        let what = format!("{} of {} views differ: {}", odd.len(), live.len(), odd.join(", "));
        Err(self.checkers().differs(self.now, what))
    }

    /// A violation of a rule that whoever tells lies looks at itself.
    pub(crate) fn violated(&self, checker: &'static str, what: String) -> Violation {
        self.checkers().broken(checker, self.now, what)
    }

    /// Nodes that run, are not paused and have not been told to leave.
    pub fn live(&self) -> Vec<usize> {
        let lives = |index: &usize| {
            let standing = self.roll.standing(*index);
            standing.up && !standing.paused && !standing.leaving
        };
        (0..self.hosts.len()).filter(lives).collect()
    }

    fn checkers(&self) -> &Checkers {
        match self.watch() {
            Some(checkers) => checkers,
            None => panic!("{}: this world is not checked", self.replay()),
        }
    }
}
