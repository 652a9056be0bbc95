//! What a member says of the scopes of leadership that it knows: fields 11 and 12 of the metadata
//! document (rule E-3).
//!
//! They stand in the document, so that its signature covers them and a member of an older build
//! ignores them; they stand beside [`Metadata`](super::Metadata), because the node writes them and
//! its host does not.
//!
//! Invariant: a standing that was read holds at most [`MAX_SCOPES`] entries of each kind, and no
//! term outside 1 to [`MAX_TERM`].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use prost::Message;

use crate::error::{DecodeError, PeerError};
use crate::time::WallTime;

/// Scopes of one member.
pub const MAX_SCOPES: usize = 16;
/// Bytes of a scope's name.
pub const MAX_SCOPE_NAME: usize = 64;
/// The last term: four thousand million hand-overs. Claims above it count for nothing.
pub const MAX_TERM: u64 = u32::MAX as u64;

/// A term of a scope, as one member tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// The scope's name.
    pub scope: String,
    /// Its definition.
    pub definition: u64,
    /// Which term, from 1.
    pub number: u64,
    /// When the member began to tell of it.
    pub since: WallTime,
    /// Whether the member claims it for itself; else it has only seen it, and keeps it on record.
    pub held: bool,
}

/// What a member says of scopes.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// Definitions of the scopes that it is ready to lead.
    pub stands: Vec<u64>,
    /// The terms that it tells of, one a scope.
    pub terms: Vec<Term>,
}

#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(fixed64, repeated, tag = "11")]
    stands: Vec<u64>,
    #[prost(message, repeated, tag = "12")]
    terms: Vec<TermDocument>,
}

#[derive(Clone, PartialEq, Message)]
struct TermDocument {
    #[prost(string, tag = "1")]
    scope: String,
    #[prost(fixed64, tag = "2")]
    definition: u64,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(uint64, tag = "4")]
    since_ms: u64,
    #[prost(bool, tag = "5")]
    held: bool,
}

impl Standing {
    /// The bytes that follow those of the metadata: Protobuf documents concatenate.
    pub fn encode(&self) -> Vec<u8> {
        let term = |term: &Term| TermDocument {
            scope: term.scope.clone(),
            definition: term.definition,
            number: term.number,
            since_ms: term.since.0,
            held: term.held,
        };
        let terms = self.terms.iter().map(term).collect();
        Document { stands: self.stands.clone(), terms }.encode_to_vec()
    }

    /// Reads the two fields of a metadata document; `None` where neither is there.
    ///
    /// # Errors
    /// [`PeerError::Decode`] when they are no Protobuf.
    pub fn decode(bytes: &[u8]) -> Result<Option<Box<Self>>, PeerError> {
        let document = Document::decode(bytes)
            .map_err(|_| PeerError::Decode(DecodeError::Field("leadership")))?;
        let mut stands = document.stands;
        stands.truncate(MAX_SCOPES);
        let sound = |term: &TermDocument| {
            (1..=MAX_SCOPE_NAME).contains(&term.scope.len())
                && (1..=MAX_TERM).contains(&term.number)
        };
        let read = |term: TermDocument| Term {
            scope: term.scope,
            definition: term.definition,
            number: term.number,
            since: WallTime(term.since_ms),
            held: term.held,
        };
        let terms = document.terms.into_iter().filter(sound).take(MAX_SCOPES).map(read).collect();
        let standing = Self { stands, terms };
        Ok((standing != Self::default()).then(|| Box::new(standing)))
    }

    /// The term of the scope with this name.
    pub fn term(&self, scope: &str) -> Option<&Term> {
        self.terms.iter().find(|term| term.scope == scope)
    }

    /// Tells of `term`, or of none, where it told of another of that scope.
    pub fn set(&mut self, scope: &str, term: Option<Term>) {
        self.terms.retain(|known| known.scope != scope);
        self.terms.extend(term);
    }

    /// Claims nothing any more; what it held stays on record as seen (rule E-6).
    pub fn lay_down(&mut self) {
        for term in &mut self.terms {
            term.held = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Metadata;

    fn sample() -> Standing {
        let term = Term {
            scope: "control".into(),
            definition: 0x0102_0304_0506_0708,
            number: 300,
            since: WallTime(1_000),
            held: true,
        };
        Standing { stands: [1, 2].into(), terms: [term].into() }
    }

    fn metadata() -> Metadata {
        Metadata {
            node_id: "a".into(),
            role: "worker".into(),
            cluster_id: "c".into(),
            region: "r".into(),
            mesh_version: "1".into(),
            ..Metadata::default()
        }
    }

    /// Rules E-3 and R-4: a build that does not know the fields reads all others, one that does
    /// reads them, and neither is disturbed by a document without them.
    #[test]
    fn an_older_reader_ignores_the_standing_and_a_newer_one_reads_it() {
        let document = [metadata().encode(), sample().encode()].concat();
        assert_eq!(Metadata::decode(&document), Ok(metadata()), "as the build before reads it");
        assert_eq!(Standing::decode(&document), Ok(Some(Box::new(sample()))));
        assert_eq!(Standing::decode(&metadata().encode()), Ok(None));
        assert_eq!(Standing::default().encode(), [], "nothing to say costs nothing");
    }

    /// These bytes are a public promise: `docs/metadata.proto`, fields 11 and 12.
    #[test]
    fn golden_standing() {
        let hex: String = sample().encode().iter().map(|b| std::format!("{b:02x}")).collect();
        let parts = [
            "5a10",
            "0100000000000000",
            "0200000000000000",
            "621a",
            "0a07636f6e74726f6c",
            "110807060504030201",
            "18ac02",
            "20e807",
            "2801",
        ];
        assert_eq!(hex, parts.concat());
    }

    /// Rule E-3: what a member may make others keep is bounded, and senseless terms are not kept.
    #[test]
    fn what_is_too_much_or_senseless_is_left_out() {
        let term =
            |scope: &str, number| Term { scope: scope.into(), number, ..sample().terms[0].clone() };
        let long = "x".repeat(MAX_SCOPE_NAME + 1);
        let mut terms =
            std::vec![term("", 1), term(&long, 1), term("a", 0), term("a", MAX_TERM + 1)];
        terms.extend((0..40).map(|n| term(&std::format!("s{n}"), MAX_TERM)));
        let read = Standing::decode(&Standing { stands: std::vec![7; 40], terms }.encode());
        let read = read.unwrap().unwrap();
        assert_eq!((read.stands.len(), read.terms.len()), (MAX_SCOPES, MAX_SCOPES));
        assert_eq!(read.terms[0].scope, "s0");
        let garbage = [metadata().encode(), std::vec![0x62, 0x02, 0x0a, 0xff]].concat();
        assert_eq!(
            Standing::decode(&garbage),
            Err(PeerError::Decode(DecodeError::Field("leadership")))
        );
    }

    #[test]
    fn one_term_a_scope_and_what_is_laid_down_is_seen() {
        let mut standing = sample();
        let next = Term { number: 301, ..standing.terms[0].clone() };
        standing.set("control", Some(next.clone()));
        assert_eq!(standing.terms, [next]);
        standing.lay_down();
        assert_eq!(
            standing.term("control").map(|term| (term.number, term.held)),
            Some((301, false))
        );
        standing.set("control", None);
        assert_eq!(standing.term("control"), None);
    }
}
