//! What a member says of itself, as its host writes it.
//!
//! Invariant: a key that is missing changes nothing, and a mistake changes nothing at all.

use std::collections::BTreeMap;
use std::ffi::c_char;

use engine::proto::Metadata;
use serde_json::Value;

use crate::agent::MeshGossipAgent;
use crate::code::{MESH_GOSSIP_ERR_ARGUMENT, MeshGossipResult};
use crate::error::{Failure, MeshGossipError};
use crate::guard::run_on;
use crate::text;

/// What a host wants to be said.
#[derive(Default)]
struct Wanted {
    region: Option<String>,
    mesh_version: Option<String>,
    endpoint: Option<String>,
    http3_support: Option<bool>,
    labels: Option<BTreeMap<String, String>>,
}

impl Wanted {
    fn parse(json: &str) -> Result<Self, Failure> {
        let value: Value = serde_json::from_str(json)
            .map_err(|error| wrong("json", format_args!("is no JSON: {error}")))?;
        let Value::Object(keys) = value else {
            return Err(wrong("json", format_args!("has to be an object")));
        };
        let mut wanted = Self::default();
        for (key, value) in keys {
            match (key.as_str(), value) {
                ("region", Value::String(text)) => wanted.region = Some(text),
                ("meshVersion", Value::String(text)) => wanted.mesh_version = Some(text),
                ("endpoint", Value::String(text)) => wanted.endpoint = Some(text),
                ("http3Support", Value::Bool(serves)) => wanted.http3_support = Some(serves),
                ("labels", Value::Object(labels)) => {
                    let text = |(name, value): (String, Value)| match value {
                        Value::String(value) => Ok((name, value)),
                        other => Err(wrong(&name, format_args!("is {other}, and no string"))),
                    };
                    wanted.labels = Some(labels.into_iter().map(text).collect::<Result<_, _>>()?);
                }
                ("region" | "meshVersion" | "endpoint", other) => {
                    return Err(wrong(&key, format_args!("is {other}, and no string")));
                }
                ("http3Support", other) => {
                    return Err(wrong(&key, format_args!("is {other}, and not true or false")));
                }
                ("labels", other) => {
                    return Err(wrong(&key, format_args!("is {other}, and no object")));
                }
                (unknown, _) => {
                    let known = "region, meshVersion, http3Support, endpoint and labels";
                    return Err(wrong(unknown, format_args!("is none of {known}")));
                }
            }
        }
        Ok(wanted)
    }

    fn apply(&self, metadata: &mut Metadata) {
        let put = |wanted: &Option<String>, said: &mut String| {
            if let Some(wanted) = wanted {
                said.clone_from(wanted);
            }
        };
        put(&self.region, &mut metadata.region);
        put(&self.mesh_version, &mut metadata.mesh_version);
        put(&self.endpoint, &mut metadata.endpoint);
        metadata.http3_support = self.http3_support.unwrap_or(metadata.http3_support);
        if let Some(labels) = &self.labels {
            metadata.labels.clone_from(labels);
        }
    }
}

fn wrong(field: &str, why: std::fmt::Arguments<'_>) -> Failure {
    Failure::new(MESH_GOSSIP_ERR_ARGUMENT, format_args!("{field} {why}")).about(field)
}

/// Says something else of this member: a JSON object with any of `region`, `meshVersion`,
/// `endpoint` (strings), `http3Support` (a boolean) and `labels` (an object of strings, in place
/// of all labels). What is missing stays; a mistake changes nothing. Seen by others as labels are.
// SAFETY: the prefix makes the name ours alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mesh_gossip_agent_set_metadata(
    agent: *const MeshGossipAgent,
    json: *const c_char,
    err: *mut *mut MeshGossipError,
) -> MeshGossipResult {
    let body = |agent: &MeshGossipAgent| {
        // SAFETY: null or a string, as the crate's contract says.
        let json = unsafe { text::required(json, "json") }?;
        let wanted = Wanted::parse(&json)?;
        agent.with(|agent| agent.update_metadata(|metadata| wanted.apply(metadata)))
    };
    // SAFETY: handle and `err` are as the crate's contract says.
    unsafe { run_on(agent, err, body) }
}
