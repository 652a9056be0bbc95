//! Which members a reader asks for: filters, and one page of what they leave.
//!
//! A question in the query of a URL: `?status=Alive&label.rack=r1&limit=100&after=node-7`. Values of
//! one key are alternatives, different keys must all hold.
//!
//! Invariant: what cannot be understood is an error that names it; silence would pass everybody off
//! as the selection that was asked for.

use std::collections::BTreeMap;
use std::fmt;

use mesh_gossip_proto::{Lifecycle, Member};

use super::peers::status;

/// Filters of one request, at most.
const MOST_FILTERS: usize = 64;
/// Members of one page, at most: room for any mesh that is tested.
const MOST_MEMBERS: usize = 100_000;
/// The keys, as they are documented.
const KEYS: [&str; 8] =
    ["status", "role", "cluster", "region", "lifecycle", "label.", "limit", "after"];
const STATUSES: [&str; 3] = ["Alive", "Suspect", "Left"];
const LIFECYCLES: [Lifecycle; 5] = [
    Lifecycle::Active,
    Lifecycle::Cordoned,
    Lifecycle::Draining,
    Lifecycle::Drained,
    Lifecycle::Leaving,
];

/// The filters of a request; an empty list admits everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    status: Vec<&'static str>,
    roles: Vec<String>,
    clusters: Vec<String>,
    regions: Vec<String>,
    lifecycles: Vec<Lifecycle>,
    labels: BTreeMap<String, Vec<String>>,
}

impl Selection {
    /// Whether this member is asked for.
    pub(crate) fn admits(&self, member: &Member) -> bool {
        let record = member.record.record();
        let metadata = &record.metadata;
        let among = |wanted: &[String], value: &str| {
            wanted.is_empty() || wanted.iter().any(|wanted| wanted == value)
        };
        (self.status.is_empty() || self.status.contains(&status(member.state)))
            && among(&self.roles, &metadata.role)
            && among(&self.clusters, &metadata.cluster_id)
            && among(&self.regions, &metadata.region)
            && (self.lifecycles.is_empty() || self.lifecycles.contains(&record.lifecycle))
            && self.labels.iter().all(|(label, wanted)| {
                metadata.labels.get(label).is_some_and(|value| wanted.contains(value))
            })
    }
}

/// A page of what is selected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    /// So many members at most; all without it.
    pub(crate) limit: Option<usize>,
    /// Only those that come after this node id.
    pub(crate) after: Option<String>,
}

/// What of a query cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueryError {
    /// No such key.
    Key { key: String, nearest: Option<&'static str> },
    /// The key does not take this value.
    Value { key: &'static str, value: String, admitted: String },
    /// A key that stands for one value came twice.
    Twice(&'static str),
    /// Too many filters.
    Many,
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key, nearest: Some(nearest) } => {
                write!(f, "unknown query key {key:?}; did you mean {nearest:?}?")
            }
            Self::Key { key, nearest: None } => {
                write!(f, "unknown query key {key:?}; known are status, role, cluster, region, ")?;
                f.write_str("lifecycle, label.NAME, limit and after")
            }
            Self::Value { key, value, admitted } => {
                write!(f, "{key}={value:?} is not understood; {key} takes {admitted}")
            }
            Self::Twice(key) => write!(f, "{key} is given twice"),
            Self::Many => write!(f, "more than {MOST_FILTERS} filters"),
        }
    }
}

/// Reads the pairs of a query. `pages` says whether this route has pages.
pub(crate) fn selection(
    query: &[(String, String)],
    pages: bool,
) -> Result<(Selection, Page), QueryError> {
    if query.len() > MOST_FILTERS {
        return Err(QueryError::Many);
    }
    let (mut wanted, mut page) = (Selection::default(), Page::default());
    for (key, value) in query {
        match key.as_str() {
            "status" => wanted.status.push(known_status(value)?),
            "role" => wanted.roles.push(value.clone()),
            "cluster" => wanted.clusters.push(value.clone()),
            "region" => wanted.regions.push(value.clone()),
            "lifecycle" => wanted.lifecycles.push(known_lifecycle(value)?),
            "limit" if pages => {
                let limit = known_limit(value)?;
                page.limit.replace(limit).map_or(Ok(()), |_| Err(QueryError::Twice("limit")))?;
            }
            "after" if pages => {
                let before = page.after.replace(value.clone());
                before.map_or(Ok(()), |_| Err(QueryError::Twice("after")))?;
            }
            other => match other.strip_prefix("label.") {
                Some(label) if !label.is_empty() => {
                    wanted.labels.entry(label.to_owned()).or_default().push(value.clone());
                }
                Some(_) | None => return Err(unknown(other, pages)),
            },
        }
    }
    Ok((wanted, page))
}

fn unknown(key: &str, pages: bool) -> QueryError {
    let lower = key.to_lowercase();
    let near = |known: &&'static str| {
        // Of a label only what comes before its name can be mistyped.
        let typed = match known.strip_suffix('.') {
            Some(_) => lower.split_inclusive('.').next().unwrap_or_default(),
            None => lower.as_str(),
        };
        strsim::damerau_levenshtein(typed, known)
    };
    let admitted = KEYS.into_iter().filter(|key| pages || !["limit", "after"].contains(key));
    let nearest = admitted.min_by_key(near).filter(|known| near(known) <= known.len() / 3);
    let nearest = nearest.map(|known| if known == "label." { "label.NAME" } else { known });
    QueryError::Key { key: key.to_owned(), nearest }
}

fn known_status(value: &str) -> Result<&'static str, QueryError> {
    STATUSES.into_iter().find(|known| known.eq_ignore_ascii_case(value)).ok_or_else(|| {
        QueryError::Value { key: "status", value: value.into(), admitted: STATUSES.join(", ") }
    })
}

fn known_lifecycle(value: &str) -> Result<Lifecycle, QueryError> {
    let known = |known: &Lifecycle| known.as_str().eq_ignore_ascii_case(value);
    LIFECYCLES.into_iter().find(known).ok_or_else(|| QueryError::Value {
        key: "lifecycle",
        value: value.into(),
        admitted: LIFECYCLES.map(Lifecycle::as_str).join(", "),
    })
}

fn known_limit(value: &str) -> Result<usize, QueryError> {
    let limit = value.parse().ok().filter(|limit| (1..=MOST_MEMBERS).contains(limit));
    limit.ok_or_else(|| QueryError::Value {
        key: "limit",
        value: value.into(),
        admitted: format!("1 to {MOST_MEMBERS}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(query: &[(&str, &str)]) -> Result<(Selection, Page), QueryError> {
        let query: Vec<_> =
            query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        selection(&query, true)
    }

    #[test]
    fn a_mistyped_key_is_told_with_the_nearest_one() {
        let of = |key| match read(&[(key, "x")]) {
            Err(QueryError::Key { key: told, nearest }) => {
                assert_eq!(told, key);
                nearest
            }
            other => panic!("{other:?}"),
        };
        for (typed, meant) in [
            ("stauts", "status"),
            ("Role", "role"),
            ("cluser", "cluster"),
            ("labels.rack", "label.NAME"),
            ("label.", "label.NAME"),
            ("limt", "limit"),
        ] {
            assert_eq!(of(typed), Some(meant), "{typed}");
        }
        assert_eq!(of("colour"), None);
        let watch = selection(&[("limit".into(), "1".into())], false);
        assert_eq!(watch, Err(QueryError::Key { key: "limit".into(), nearest: None }));
    }

    #[test]
    fn values_that_cannot_be_are_told_with_what_can() {
        for (key, value, told) in [
            ("status", "Dead", r#"status="Dead" is not understood; status takes Alive"#),
            ("lifecycle", "gone", "lifecycle takes active, cordoned, draining, drained, leaving"),
            ("limit", "0", "limit takes 1 to 100000"),
            ("limit", "-1", "limit takes"),
        ] {
            let error = read(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
        let twice = read(&[("after", "a"), ("after", "b")]);
        assert_eq!(twice, Err(QueryError::Twice("after")));
        assert_eq!(read(&vec![("role", "x"); MOST_FILTERS + 1]), Err(QueryError::Many));
    }
}
