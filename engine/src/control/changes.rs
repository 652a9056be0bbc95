//! What differs between two views, as a watcher is told of it.
//!
//! Invariant: who had the members of the old view, puts in what is told and takes out what is gone,
//! has the members of the new one.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use mesh_gossip_proto::{Member, MemberId, View};
use serde::Serialize;

use super::peers::{Peers, place};
use super::selection::Selection;
use crate::orders::Inspection;
use crate::snapshot::Published;
use crate::wall::rfc3339;

/// Views that a watcher may resume from: some seconds of a mesh in trouble, hours of one at rest.
const REMEMBERED: usize = 16;

/// What a watcher is told after its first answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangesDocument<'a> {
    /// When it was made, RFC 3339.
    generated_at: String,
    /// Members that are new or changed, each as it is at present.
    peers: Peers<'a>,
    /// Node ids of those that are no longer listed, or no longer selected.
    removed: Vec<&'a str>,
}

/// What a watcher of `selection` has to be told after `old`; `None` when nothing.
pub(super) fn changes<'a>(
    old: &'a View,
    new: &'a View,
    selection: &Selection,
    inspection: &Inspection,
    is_revoked: &'a dyn Fn(&[u8]) -> bool,
) -> Option<ChangesDocument<'a>> {
    let shown = |member: &&Member| selection.admits(member);
    let mut before: HashMap<MemberId, &'a Member> =
        old.listed().filter(shown).map(|member| (member.id(), member)).collect();
    let mut changed: Vec<&'a Member> = new
        .listed()
        .filter(shown)
        .filter(|member| !before.remove(&member.id()).is_some_and(|old| is_same(old, member)))
        .collect();
    changed.sort_unstable_by_key(|member| place(new, member));
    let node_id = |member: &&'a Member| member.record.record().metadata.node_id.as_str();
    let mut removed: Vec<&str> = before.values().map(node_id).collect();
    removed.sort_unstable();
    if changed.is_empty() && removed.is_empty() {
        return None;
    }
    Some(ChangesDocument {
        generated_at: rfc3339(inspection.wall),
        peers: Peers::new(changed, inspection, is_revoked),
        removed,
    })
}

fn is_same(old: &Member, new: &Member) -> bool {
    old.state == new.state
        && (Arc::ptr_eq(&old.record, &new.record) || old.record.hash() == new.record.hash())
}

/// The views that watchers were told of last, by their tags. They share most of their members.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<(String, Arc<Published>)>>);

impl History {
    /// Remembers a view that somebody was told of.
    pub(super) fn remember(&self, tag: &str, published: &Arc<Published>) {
        let mut views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if views.iter().any(|(known, _)| known == tag) {
            return;
        }
        if views.len() == REMEMBERED {
            views.pop_front();
        }
        views.push_back((tag.to_owned(), Arc::clone(published)));
    }

    /// The view of this tag, if it is remembered.
    pub(super) fn find(&self, tag: &str) -> Option<Arc<Published>> {
        let views = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        views.iter().find(|(known, _)| known == tag).map(|(_, published)| Arc::clone(published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::selection::selection;
    use crate::control::stage_tests::{inspection, view_of};
    use mesh_gossip_proto::State;

    fn view(people: &[(&str, State)], version: u64) -> View {
        let people: Vec<_> =
            people.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect();
        view_of(&people, version)
    }

    fn told(old: &View, new: &View, query: &[(&str, &str)]) -> Option<(String, String)> {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (wanted, _) = selection(&query, false).unwrap();
        let document = changes(old, new, &wanted, &inspection(), &|_| false)?;
        let changed: Vec<_> =
            document.peers.iter().map(|peer| format!("{}:{}", peer.node_id, peer.status)).collect();
        Some((changed.join(" "), document.removed.join(" ")))
    }

    #[test]
    fn only_what_differs_is_told() {
        let old = view(&[("m", State::Alive), ("a", State::Alive), ("b", State::Alive)], 1);
        let new = view(&[("m", State::Alive), ("b", State::Suspect), ("c", State::Alive)], 2);
        let expected = ("b:Suspect c:Alive".to_owned(), "a".to_owned());
        assert_eq!(told(&old, &new, &[]), Some(expected));
        assert_eq!(told(&new, &new, &[]), None);
        let alive = told(&old, &new, &[("status", "Alive")]);
        assert_eq!(alive, Some(("c:Alive".into(), "a b".into())), "b left the selection");
        assert_eq!(told(&old, &new, &[("role", "gateway")]), None);
    }

    #[test]
    fn so_many_views_are_remembered_and_the_oldest_go_first() {
        let history = History::default();
        let published = |version| {
            Arc::new(Published {
                view: view(&[("m", State::Alive)], version),
                at: inspection().wall,
            })
        };
        for version in 0..REMEMBERED as u64 + 1 {
            history.remember(&version.to_string(), &published(version));
            history.remember(&version.to_string(), &published(99));
        }
        assert!(history.find("0").is_none());
        assert_eq!(history.find("1").unwrap().view.version(), 1);
        assert_eq!(history.0.lock().unwrap().len(), REMEMBERED);
    }
}
