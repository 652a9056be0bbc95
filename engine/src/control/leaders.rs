//! What `GET /control/leaders` answers, made from a view (rule E-8).
//!
//! Invariant: the field order and the casing are a contract with readers of the reference; a scope
//! that nobody leads has no token.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use mesh_gossip_proto::leadership::fence;
use mesh_gossip_proto::{Leader, View, WallTime};
use serde::Serialize;

use crate::wall::rfc3339;

/// A token is worth asking for again after so long: the view that it rests on has changed within
/// this time after its leader has ended (rule F-6, by its default).
const GOOD_FOR: Duration = Duration::from_secs(5);

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeadersDocument {
    /// When the answer was made, RFC 3339.
    generated_at: String,
    /// One entry a scope that somebody leads, in the order of the configuration.
    tokens: Vec<Token>,
}

/// A leader's term.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    /// Name of what is led.
    scope: String,
    /// `global`, `role` or `region`.
    scope_kind: &'static str,
    /// Node id of the leader.
    leader_id: String,
    /// Which term, from 1.
    term: u64,
    /// Greater for every later term of the scope, another for every holder of one; advice.
    fence_token: u64,
    /// When the leader claimed the term, by its own clock.
    issued_at: String,
    /// When to ask again.
    expires_at: String,
    /// The scope's filters, and that all of this is advice.
    labels: BTreeMap<&'static str, String>,
}

/// No such scope is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownScope(String);

impl fmt::Display for UnknownScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown scope {:?}: it is not in mesh:gossip:leadership:scopes", self.0)
    }
}

/// The document for `view`, of one scope or of all, as of `wall`.
pub(crate) fn leaders_document(
    view: &View,
    scope: Option<&str>,
    wall: WallTime,
) -> Result<LeadersDocument, UnknownScope> {
    let wanted = |leader: &&Leader| scope.is_none_or(|scope| leader.scope.name == scope);
    let mut leaders = view.leaders().iter().filter(wanted).peekable();
    if let (Some(scope), None) = (scope, leaders.peek()) {
        return Err(UnknownScope(scope.to_owned()));
    }
    let tokens = leaders.filter_map(|leader| token(view, leader, wall)).collect();
    Ok(LeadersDocument { generated_at: rfc3339(wall), tokens })
}

fn token(view: &View, leader: &Leader, wall: WallTime) -> Option<Token> {
    let member = view.member(leader.leader?)?;
    let scope = &leader.scope;
    let mut labels = BTreeMap::from([("advisory", "true".to_owned())]);
    let filters = [("role", &scope.role), ("region", &scope.region)];
    labels.extend(filters.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))));
    let good_for = GOOD_FOR.as_millis() as u64;
    Some(Token {
        scope: scope.name.clone(),
        scope_kind: scope.kind().as_str(),
        leader_id: member.record.record().metadata.node_id.clone(),
        term: leader.term,
        fence_token: fence::token(scope, leader.term, member.incarnation().generation),
        issued_at: rfc3339(leader.since),
        expires_at: rfc3339(WallTime(wall.0.saturating_add(good_for))),
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::stage_tests::led_by;

    const WALL: WallTime = WallTime(1_714_564_800_250);

    /// Rule E-8.
    #[test]
    fn the_document_is_the_contract_to_the_byte() {
        let document = leaders_document(&led_by("b"), None, WALL).unwrap();
        let expected = concat!(
            r#"{"generatedAt":"2024-05-01T12:00:00.250+00:00","tokens":[{"scope":"ingest","#,
            r#""scopeKind":"role","leaderId":"b","term":3,"fenceToken":3274028,"#,
            r#""issuedAt":"2024-05-01T11:59:50.000+00:00","#,
            r#""expiresAt":"2024-05-01T12:00:05.250+00:00","#,
            r#""labels":{"advisory":"true","role":"worker"}}]}"#,
        );
        assert_eq!(serde_json::to_string(&document).unwrap(), expected);
        assert_eq!(leaders_document(&led_by("b"), Some("ingest"), WALL), Ok(document));
    }

    /// Rule E-8: a scope without a leader has no token, and one that does not exist is an error.
    #[test]
    fn a_vacant_scope_is_empty_and_an_unknown_one_an_error() {
        let vacant = leaders_document(&led_by("b"), Some("vacant"), WALL).unwrap();
        assert_eq!(vacant.tokens, []);
        let error = leaders_document(&led_by("b"), Some("Ingest"), WALL).unwrap_err();
        assert!(error.to_string().starts_with("unknown scope \"Ingest\""), "{error}");
    }
}
