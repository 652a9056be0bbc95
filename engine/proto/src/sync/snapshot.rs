//! A whole state as bytes, for a stream (rule A-3).
//!
//! Entries follow each other to the end: header, then the record's envelope. A reader may take
//! them in pieces, so that a large state never occupies the protocol for long.

use alloc::vec::Vec;

use zerocopy::byteorder::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::DecodeError;
use crate::member::{MemberId, State};
use crate::membership::record::MAX_ENVELOPE;
use crate::membership::table::Member;
use crate::membership::view::View;
use crate::time::Instant;

/// Precedes each envelope.
#[derive(FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned, Clone, Copy)]
#[repr(C)]
struct EntryHeader {
    state: u8,
    reserved: [u8; 3],
    age_ms: U32,
    envelope: U32,
}
const _: () = assert!(size_of::<EntryHeader>() == 12);

/// One member of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What the sender believes.
    pub state: State,
    /// For how long, milliseconds.
    pub age_ms: u32,
    /// The record, unverified.
    pub envelope: &'a [u8],
}

/// Encodes the members of `view`, or only `wanted` ones when that list is not empty.
pub fn encode(view: &View, now: Instant, wanted: &[MemberId]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in view.members() {
        if wanted.is_empty() || wanted.contains(&member.id()) {
            push(&mut bytes, now, member);
        }
    }
    bytes
}

/// A piece of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whole entries.
    pub bytes: Vec<u8>,
    /// Whether they are of present members: no state is whole without those.
    pub present: bool,
}

/// Encodes like [`encode`], a piece at a time: whole entries, at most `limit` bytes a piece unless
/// one entry alone is larger; the present first, so that departed ones never crowd them out.
pub fn pieces<'a>(
    view: &'a View,
    now: Instant,
    wanted: &[MemberId],
    limit: usize,
) -> impl Iterator<Item = Piece> + use<'a> {
    let mut wanted = wanted.to_vec();
    wanted.sort_unstable();
    let of = |present| view.members().filter(move |member| member.state.is_present() == present);
    let mut members = of(true)
        .chain(of(false))
        .filter(move |member| wanted.is_empty() || wanted.binary_search(&member.id()).is_ok())
        .peekable();
    core::iter::from_fn(move || {
        let mut bytes = Vec::new();
        let present = members.peek().is_some_and(|member| member.state.is_present());
        while let Some(member) = members.peek() {
            let full = bytes.len() + entry_bytes(member) > limit;
            if !bytes.is_empty() && (full || member.state.is_present() != present) {
                break;
            }
            push(&mut bytes, now, member);
            members.next();
        }
        (!bytes.is_empty()).then_some(Piece { bytes, present })
    })
}

/// What a member takes in a state.
pub fn entry_bytes(member: &Member) -> usize {
    size_of::<EntryHeader>() + member.record.envelope().len()
}

fn push(bytes: &mut Vec<u8>, now: Instant, member: &Member) {
    let envelope = member.record.envelope();
    let header = EntryHeader {
        state: member.state as u8,
        reserved: [0; 3],
        age_ms: U32::new(u32::try_from(now.since(member.since).as_millis()).unwrap_or(u32::MAX)),
        envelope: U32::new(envelope.len() as u32),
    };
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(envelope);
}

/// Reads entries in order; after an error it ends.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
}

impl<'a> Entries<'a> {
    /// Over a whole state.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn read(&mut self) -> Result<Entry<'a>, DecodeError> {
        let (header, rest) =
            EntryHeader::read_from_prefix(self.rest).map_err(|_| DecodeError::Truncated)?;
        if header.reserved != [0; 3] {
            return Err(DecodeError::Reserved);
        }
        let length = header.envelope.get() as usize;
        if length > MAX_ENVELOPE {
            return Err(DecodeError::Oversized("record envelope"));
        }
        let (envelope, rest) = rest.split_at_checked(length).ok_or(DecodeError::Truncated)?;
        let state = State::from_wire(header.state).ok_or(DecodeError::Field("state"))?;
        self.rest = rest;
        Ok(Entry { state, age_ms: header.age_ms.get(), envelope })
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Incarnation;
    use crate::membership::record::{SignedRecord, first_record};
    use crate::membership::record_tests::HashAuthority;
    use crate::membership::table::{DenseTable, MemberTable};
    use crate::metadata::Metadata;
    use alloc::sync::Arc;
    use proptest::prelude::*;
    use std::format;

    fn view_of(members: usize) -> View {
        view_where(members, |_| State::Alive)
    }

    fn view_where(members: usize, state: impl Fn(usize) -> State) -> View {
        let mut table = DenseTable::for_cluster("c", 1);
        for number in 0..members {
            let metadata = Metadata {
                node_id: format!("n{number}"),
                role: "worker".into(),
                region: "r".repeat(number % 40 + 1),
                mesh_version: "1".into(),
                ..Metadata::default()
            };
            let record = first_record("c", Incarnation::default(), Vec::new(), metadata);
            let record = Arc::new(SignedRecord::author(record, &HashAuthority).unwrap());
            table.put(Member { record, state: state(number), since: Instant::ORIGIN });
        }
        table.view(MemberId::derive("c", "n0"), 1, Instant::from_nanos(1))
    }

    /// Rule A-3: a reader of pieces sees what a reader of the whole sees.
    #[test]
    fn pieces_hold_whole_entries_and_together_the_state() {
        let view = view_of(50);
        let whole = encode(&view, view.taken(), &[]);
        for limit in [1, 300, 1_000, usize::MAX] {
            let pieces = pieces(&view, view.taken(), &[], limit).map(|piece| piece.bytes);
            let pieces: Vec<_> = pieces.collect();
            assert_eq!(pieces.concat(), whole, "limit {limit}");
            for bytes in pieces {
                let entries = Entries::new(&bytes).map(Result::unwrap).count();
                assert!(bytes.len() <= limit || entries == 1, "{} bytes", bytes.len());
            }
        }
    }

    /// Rule A-3: where a state is cut for its size, departed members are what is left out.
    #[test]
    fn the_present_stand_before_the_departed() {
        let view =
            view_where(30, |number| if number % 3 == 0 { State::Dead } else { State::Alive });
        let pieces: Vec<_> = pieces(&view, view.taken(), &[], 1).collect();
        let (present, departed) = pieces.split_at(20);
        assert!(present.iter().all(|piece| piece.present));
        assert!(departed.len() == 10 && departed.iter().all(|piece| !piece.present));
    }

    #[test]
    fn only_wanted_members_are_in_pieces() {
        let view = view_of(9);
        let wanted = [MemberId::derive("c", "n7"), MemberId::derive("c", "n2")];
        let found: Vec<_> = pieces(&view, view.taken(), &wanted, usize::MAX).collect();
        let bytes = encode(&view, view.taken(), &wanted);
        assert_eq!(found, [Piece { bytes, present: true }]);
        assert_eq!(pieces(&view, view.taken(), &[MemberId([0; 16])], 9).count(), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Entries::new(&bytes).count() <= bytes.len() / 12 + 1);
        }
    }
}
