//! Values that are fine alone and cannot be together.
//!
//! Two people want one chair: the one who came last is asked to stand up, by name and place.
//!
//! Invariant: the value that is blamed was written by somebody, and taking it away ends the clash.

use std::net::IpAddr;

use mesh_gossip_proto::Scope;
use mesh_gossip_proto::metadata::MAX_SCOPES;

use super::error::SettingsError;
use super::pile::invalid;
use super::problem::Problem;
use super::value::Value;
use super::{Entry, Settings};

impl Settings {
    /// Everything of the kind.
    pub(super) fn clashes(&self) -> impl Iterator<Item = SettingsError> {
        self.ports_in_the_way().into_iter().chain(self.scope_in_the_way())
    }

    /// Gossip takes its port as UDP and, for whole states, as TCP.
    fn ports_in_the_way(&self) -> Option<SettingsError> {
        let (gossip, control) = (self.port("port"), self.port("control:port"));
        let same = gossip == control && gossip != 0;
        let (ours, theirs) = (self.address("bindAddress"), self.address("control:address"));
        if !same || !meet(ours, theirs) {
            return None;
        }
        let written = ["control:port", "port"].into_iter().find_map(|name| self.entry(name))?;
        Some(blame(written, Problem::PortTaken))
    }

    /// The first scope that is one too many, or that has the name of one before.
    fn scope_in_the_way(&self) -> Option<SettingsError> {
        let mut names = Vec::new();
        for (_, entry) in self.parts("leadership:scopes") {
            let Value::Text(text) = &entry.value else { continue };
            let Ok(scope) = Scope::parse(text) else { continue };
            if names.len() == MAX_SCOPES {
                return Some(blame(entry, Problem::OneTooMany(MAX_SCOPES)));
            }
            if names.contains(&scope.name) {
                return Some(blame(entry, Problem::ScopeTwice));
            }
            names.push(scope.name);
        }
        None
    }
}

fn blame(entry: &Entry, problem: Problem) -> SettingsError {
    invalid(&entry.name, entry.shown.clone(), entry.origin.clone(), problem)
}

/// Whether two listeners on these addresses would be in each other's way. `::` takes IPv4 as well.
fn meet(one: IpAddr, other: IpAddr) -> bool {
    let (one, other) = (one.to_canonical(), other.to_canonical());
    let covers = |wide: IpAddr, narrow: IpAddr| {
        wide.is_unspecified() && (wide.is_ipv6() || narrow.is_ipv4())
    };
    one == other || covers(one, other) || covers(other, one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_meets_every_address_that_it_covers() {
        for (one, other, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "::1", false),
            ("::", "127.0.0.1", true),
            ("::", "::1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
        ] {
            let (a, b) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!((meet(a, b), meet(b, a)), (expected, expected), "{one} and {other}");
        }
    }
}
