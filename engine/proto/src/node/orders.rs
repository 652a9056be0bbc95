//! Operators' orders: obeyed once, passed on once (rule S-14).
//!
//! An order reaches a few members from each one that hears it first, like a rumour; whoever missed
//! it is told when it shows that it did.
//!
//! Invariants: an order is kept as long as it holds, so that nothing is obeyed twice; their number is
//! bounded; what one member makes us verify of them has a budget (rule S-7).

use alloc::collections::BTreeMap;

use super::{Node, Peer};
use crate::error::{CommandError, PeerError};
use crate::event::{Alarm, Event, LeftReason};
use crate::member::{Incarnation, MemberId, State};
use crate::membership::order::Order;
use crate::membership::record::RecordHash;
use crate::membership::table::{Member, MemberTable};
use crate::sync::clocks::TOLERANCE;
use crate::time::{Instant, WallTime};
use crate::wire::message::kind;

/// Orders in force.
const MOST: usize = 1_024;

/// Orders in force, by subject: of two about one member the later life.
#[derive(Clone, Debug, Default)]
pub(super) struct Orders {
    held: BTreeMap<MemberId, Order>,
}

impl Orders {
    /// Keeps an order; says whether it is news. At the limit the one that ends first goes.
    fn keep(&mut self, order: Order) -> bool {
        let known = self.held.get(&order.subject);
        if known.is_some_and(|known| known.incarnation >= order.incarnation) {
            return false;
        }
        self.held.insert(order.subject, order);
        if self.held.len() > MOST
            && let Some(first) = self.held.values().min_by_key(|o| (o.expires, o.subject))
        {
            let first = first.subject;
            self.held.remove(&first);
        }
        true
    }

    /// Whether this very order is in force here: nothing of it need be proven again.
    fn knows(&self, bytes: &[u8]) -> bool {
        let known = Order::peek(bytes).and_then(|subject| self.held.get(&subject));
        known.is_some_and(|known| *known.bytes == *bytes)
    }

    fn about(&self, id: MemberId, incarnation: Incarnation) -> Option<&Order> {
        self.held.get(&id).filter(|order| order.incarnation == incarnation)
    }

    /// What has ended is forgotten.
    pub(super) fn forget(&mut self, wall: WallTime) {
        self.held.retain(|_, order| order.expires >= wall);
    }
}

impl<T: MemberTable> Node<T> {
    /// Our host hands in an order.
    pub(super) fn force_leave(&mut self, now: Instant, bytes: &[u8]) -> Result<(), CommandError> {
        if self.departure.is_leaving() {
            return Err(CommandError::Stopped);
        }
        let order = self.verified_order(now, bytes).map_err(|error| match error {
            PeerError::Decode(error) => CommandError::NoOrder(error),
            PeerError::Signature(why) => CommandError::Order(why),
            other => CommandError::Order(other.reason()),
        })?;
        let known = self.table.get(order.subject).map(Member::incarnation);
        match known {
            None => return Err(CommandError::Order("no such member is known")),
            Some(known) if known != order.incarnation => {
                return Err(CommandError::Order("the member lives under another incarnation"));
            }
            Some(_) => {}
        }
        self.obey(now, None, order);
        Ok(())
    }

    /// A member passes an order on.
    pub(super) fn on_force_leave(&mut self, now: Instant, from: Peer, bytes: &[u8]) {
        if self.orders.knows(bytes) {
            return;
        }
        if !self.flooding.orders.take(now, from.id) {
            self.stats.reject("order-budget");
            return;
        }
        match self.verified_order(now, bytes) {
            Ok(order) => self.obey(now, Some(from), order),
            Err(error) => self.stats.reject(match error {
                PeerError::Signature(_) | PeerError::UnknownSigner => "order-signature",
                PeerError::Incarnation => "order-time",
                other => other.reason(),
            }),
        }
    }

    /// An order that an operator of our cluster signed and that holds at this time. The clocks of
    /// operators may be off as those of members may.
    fn verified_order(&self, now: Instant, bytes: &[u8]) -> Result<Order, PeerError> {
        let order = Order::verify(bytes, &self.config.cluster_id, self.authority.as_ref())?;
        let wall = self.clocks.wall(now).0;
        let early = order.issued.0 > wall.saturating_add(TOLERANCE.as_millis() as u64);
        let late = order.expires.0 < wall;
        let future = self.clocks.is_ahead(now, order.incarnation.generation);
        if early || late || future {
            return Err(PeerError::Incarnation);
        }
        Ok(order)
    }

    fn obey(&mut self, now: Instant, from: Option<Peer>, order: Order) {
        let (subject, incarnation) = (order.subject, order.incarnation);
        let known = self.table.get(subject).map(Member::incarnation);
        if known.is_some_and(|known| known > incarnation) {
            self.stats.reject("stale-order");
            return;
        }
        let bytes = order.bytes.clone();
        if !self.orders.keep(order) {
            return;
        }
        if known.is_none_or(|known| known < incarnation)
            && let Some(from) = from
        {
            // It is about a life that we have not heard of: that one will not begin here.
            self.pull(now, from, subject, RecordHash(0));
        }
        self.pass_on(from, &bytes);
        self.obey_an_order_about(now, subject);
    }

    /// To as many as a gossip tick reaches.
    fn pass_on(&mut self, from: Option<Peer>, bytes: &[u8]) {
        let told = from.map(|from| from.id);
        for id in self.draw_present(self.fanout()) {
            if Some(id) != told
                && let Some(peer) = self.peer(id)
            {
                self.send_whole(peer, kind::FORCE_LEAVE, bytes);
            }
        }
    }

    /// If an order is in force about the present life of `id`, that is over.
    pub(super) fn obey_an_order_about(&mut self, now: Instant, id: MemberId) {
        let Some(member) = self.table.get(id).cloned() else { return };
        if self.orders.about(id, member.incarnation()).is_none() || member.state == State::Left {
            return;
        }
        if id == self.local {
            if !self.departure.is_leaving() {
                self.alarm(Alarm::OrderedOut(id));
                // Nothing of it can fail but what has failed before: that we are leaving already.
                let left = self.leave(now);
                debug_assert!(left.is_ok(), "we are not leaving yet");
            }
            return;
        }
        self.end_suspicion(id);
        self.settle_observed(id);
        self.set_a_stone(id);
        let (record, present) = (member.record.clone(), member.state.is_present());
        self.put(now, Member { state: State::Left, since: now, ..member });
        self.alarm(Alarm::OrderedOut(id));
        if present {
            self.emit(Event::Left { record, reason: LeftReason::Left });
        }
    }

    /// `to` takes a life for present that is over by an order: it gets that. Says whether it did.
    pub(super) fn tell_the_order(
        &mut self,
        to: Peer,
        id: MemberId,
        incarnation: Incarnation,
    ) -> bool {
        let Some(order) = self.orders.about(id, incarnation) else { return false };
        let bytes = order.bytes.clone();
        self.send_whole(to, kind::FORCE_LEAVE, &bytes);
        true
    }
}
