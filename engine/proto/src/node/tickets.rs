//! Joiners at our door, and tickets that others give us (rules J-3 to J-5).

use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};

use zerocopy::IntoBytes;

use super::door::{Answer, Guest, Host, NAMED};
use super::{Node, Peer};
use crate::event::Timer;
use crate::member::MemberId;
use crate::membership::table::MemberTable;
use crate::time::Instant;
use crate::wire::message::{Body, TicketHeader, TicketPeer, TicketPull, kind};

const _: () = assert!(TicketHeader::KIND == kind::TICKET);

impl<T: MemberTable> Node<T> {
    /// Somebody joins and asks for the state.
    pub(super) fn on_ticket_pull(&mut self, now: Instant, from: Peer, pull: &TicketPull) {
        // Two that ask each other would wait for each other; and whoever has nobody to join has
        // all the state there is.
        let waits = self.joining.is_under_way() && self.joining.has_whom_to_join();
        let host = if waits && !self.joining.asks(from.id) { Host::Joining } else { Host::Ready };
        let guest = Guest { id: from.id, address: from.address };
        self.door.ask(now, guest, pull.pointed == 1, host);
        self.open_the_door(now);
    }

    /// A joiner's or our own time has come.
    pub(super) fn tickets_due(&mut self, now: Instant) {
        self.ask_again(now);
        self.open_the_door(now);
    }

    /// Serves those whose time has come.
    fn open_the_door(&mut self, now: Instant) {
        for (guest, answer) in self.door.open(now) {
            let to = Peer { id: guest.id, address: guest.address };
            self.stats.tickets += 1;
            match answer {
                Answer::Granted => {
                    self.stats.states_granted += 1;
                    self.give_ticket(to, true, &[]);
                }
                Answer::Elsewhere(named) => {
                    self.stats.states_elsewhere += 1;
                    self.give_ticket(to, false, &named);
                }
            }
        }
        self.plan_tickets();
    }

    fn give_ticket(&mut self, to: Peer, granted: bool, named: &[Guest]) {
        // Where a member says that it listens counts for more than where it spoke from.
        let listens = |guest: &Guest| self.peer(guest.id).map_or(guest.address, |p| p.address);
        let count = named.len() as u8;
        let header = TicketHeader { granted: u8::from(granted), count, reserved: [0; 2] };
        let mut body = header.as_bytes().to_vec();
        for guest in named {
            let address = listens(guest);
            let peer = TicketPeer {
                id: guest.id.0,
                address: match address.ip() {
                    core::net::IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                    core::net::IpAddr::V6(ip) => ip.octets(),
                },
                port: address.port().into(),
            };
            body.extend_from_slice(peer.as_bytes());
        }
        self.send_raw(to, kind::TICKET, &body);
    }

    /// A ticket says where to go. It names nobody a member: whom it names has to prove its id to
    /// be asked at all.
    pub(super) fn on_ticket(
        &mut self,
        now: Instant,
        from: Peer,
        head: &TicketHeader,
        named: &[TicketPeer],
    ) {
        if head.granted == 1 {
            return self.follow_ticket(now, from, None);
        }
        let others = named.iter().take(NAMED).filter_map(|peer| {
            let ip = Ipv6Addr::from(peer.address).to_canonical();
            let address = SocketAddr::new(ip, peer.port.get());
            let id = MemberId(peer.id);
            let usable = id != self.local && id != from.id && address.port() != 0;
            usable.then_some(Peer { id, address })
        });
        let others: Vec<Peer> = others.collect();
        self.follow_ticket(now, from, Some(others));
    }

    /// Our state is complete: those who were sent to us need not wait.
    pub(super) fn joined(&mut self) {
        self.door.is_ready(self.merged);
        self.plan_tickets();
    }

    pub(super) fn plan_tickets(&mut self) {
        match Instant::earliest(self.door.due(), self.ticket_due()) {
            Some(at) => self.timers.set(Timer::Ticket, at),
            None => drop(self.timers.cancel(Timer::Ticket)),
        }
    }
}
