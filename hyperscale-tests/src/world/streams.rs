//! Bulk exchanges over streams.

use mesh_gossip_proto::membership::roster::List;
use mesh_gossip_proto::membership::view::View;
use mesh_gossip_proto::sync::snapshot;
use mesh_gossip_proto::{Duration, Extent, Instant, Member, MemberId, MemberTable, Node};

use super::{What, World};
use crate::sessions::STREAM_SETUP_BYTES;
use crate::table::SimTable;
use crate::trace::Kind;

/// A stream with a paused node stalls, and is tried again after so long.
const STALL: Duration = Duration::from_millis(250);
/// How often.
const MOST_STALLS: u32 = 20;

impl<T: SimTable> World<T> {
    /// A node wishes for an exchange with `to`.
    pub(super) fn wish(&mut self, from: usize, to: usize, members: Vec<MemberId>) {
        let wish = match self.spare_wishes.pop() {
            Some(wish) => {
                self.wishes[wish as usize] = members;
                wish
            }
            None => {
                self.wishes.push(members);
                self.wishes.len() as u32 - 1
            }
        };
        self.books.node(from).streams += 1;
        let at = self.now + self.stream_delay(from, to);
        self.exchange_at(at, from, to, self.hosts[from].life, wish, 0);
    }

    fn exchange_at(
        &mut self,
        at: Instant,
        from: usize,
        to: usize,
        life: u32,
        wish: u32,
        stalls: u32,
    ) {
        let (from, to) = (from as u32, to as u32);
        self.wheel.push(at, What::Exchange { from, to, life, wish, stalls });
    }

    /// A stream carries whole states both ways, or one way where single members were asked for.
    pub(super) fn exchange(&mut self, from: usize, to: usize, life: u32, wish: u32, stalls: u32) {
        let now = self.now;
        let is_paused = |index: usize| self.hosts[index].paused.is_some();
        if self.hosts[from].life == life
            && (is_paused(from) || is_paused(to))
            && stalls < MOST_STALLS
        {
            return self.exchange_at(now + STALL, from, to, life, wish, stalls + 1);
        }
        let members = std::mem::take(&mut self.wishes[wish as usize]);
        self.spare_wishes.push(wish);
        if self.hosts[from].life != life {
            return;
        }
        let cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
        let failed = cut || is_paused(from) || is_paused(to);
        self.fired.withheld += u64::from(cut);
        let ids = (self.ids[from], self.ids[to]);
        let state = |index: usize, wanted: &[MemberId]| {
            let node = self.hosts[index].node.as_deref()?;
            Some(snapshot::encode(&ordered_view(node, now), now, wanted))
        };
        let theirs = if failed { None } else { state(to, &members) };
        let ours = if members.is_empty() { state(from, &[]) } else { None };
        self.trace.add(now.as_nanos(), Kind::Stream, from, theirs.as_deref().unwrap_or(b"failed"));
        let complete = theirs.is_some();
        if complete && let (Some(ours), Some(node)) = (ours, &mut self.hosts[to].node) {
            self.books.node(from).stream_bytes += ours.len() as u64 + STREAM_SETUP_BYTES / 2;
            node.handle_sync(now, ids.0, &ours);
        }
        if let Some(node) = &mut self.hosts[from].node {
            if let Some(theirs) = theirs {
                self.books.node(to).stream_bytes += theirs.len() as u64 + STREAM_SETUP_BYTES / 2;
                node.handle_sync(now, ids.1, &theirs);
            }
            node.handle_stream_closed(ids.1, Extent::of(&members), complete);
        }
        self.drain(to);
        self.drain(from);
    }
}

/// A node's members in the order of their ids: tables that hold the same then send the same.
fn ordered_view<T: MemberTable>(node: &Node<T>, now: Instant) -> View {
    let table = node.table();
    let lists = [List::Present, List::Departed];
    let mut members: Vec<_> = lists.into_iter().flat_map(|list| table.members(list)).collect();
    members.sort_unstable_by_key(|member| member.id());
    let own = members.into_iter().map(|m| Member { since: table.since(m), ..m.clone() });
    View::of(own, node.id(), node.version(), now)
}
