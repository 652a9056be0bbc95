//! The versioned metadata document: what a member says of itself to applications.
//!
//! Protobuf, schema `docs/metadata.proto`. Unknown fields are ignored, so that a newer member
//! can say more; required ones are checked by [`Metadata::decode`], whose error names the first
//! that is missing (rule R-4). The bytes are covered by the record's signature and relayed
//! verbatim: a document is decoded for use and never encoded again by a relay.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use prost::Message;

use crate::error::{DecodeError, PeerError};

mod standing;

pub use standing::{MAX_SCOPE_NAME, MAX_SCOPES, MAX_TERM, Standing, Term};

/// The schema that this build writes. Readers accept any higher one.
pub const SCHEMA_VERSION: u32 = 1;

/// A member's metadata document.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Stable name within the cluster; equals the certificate's.
    pub node_id: String,
    /// Role within the mesh; equals the certificate's.
    pub role: String,
    /// Cluster; equals the certificate's.
    pub cluster_id: String,
    /// Region, free text.
    pub region: String,
    /// Version of the mesh software.
    pub mesh_version: String,
    /// Whether the host serves HTTP/3.
    pub http3_support: bool,
    /// Rises with every change within one life; set by the node itself.
    pub metadata_version: u64,
    /// Address that the host advertises, `host:port`.
    pub endpoint: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// The document on the wire. `Option` tells an absent field from an empty one.
#[derive(Clone, PartialEq, Message)]
struct Document {
    #[prost(uint32, optional, tag = "1")]
    schema_version: Option<u32>,
    #[prost(string, optional, tag = "2")]
    node_id: Option<String>,
    #[prost(string, optional, tag = "3")]
    role: Option<String>,
    #[prost(string, optional, tag = "4")]
    cluster_id: Option<String>,
    #[prost(string, optional, tag = "5")]
    region: Option<String>,
    #[prost(string, optional, tag = "6")]
    mesh_version: Option<String>,
    #[prost(bool, tag = "7")]
    http3_support: bool,
    #[prost(uint64, tag = "8")]
    metadata_version: u64,
    #[prost(btree_map = "string, string", tag = "9")]
    labels: BTreeMap<String, String>,
    #[prost(string, tag = "10")]
    endpoint: String,
}

impl Metadata {
    /// Encodes the document with this build's schema version.
    pub fn encode(&self) -> Vec<u8> {
        Document {
            schema_version: Some(SCHEMA_VERSION),
            node_id: Some(self.node_id.clone()),
            role: Some(self.role.clone()),
            cluster_id: Some(self.cluster_id.clone()),
            region: Some(self.region.clone()),
            mesh_version: Some(self.mesh_version.clone()),
            http3_support: self.http3_support,
            metadata_version: self.metadata_version,
            labels: self.labels.clone(),
            endpoint: self.endpoint.clone(),
        }
        .encode_to_vec()
    }

    /// Decodes a document of this or any newer schema.
    ///
    /// # Errors
    /// [`PeerError::Decode`] when the bytes are no Protobuf, [`PeerError::MetadataMissing`] with
    /// the name of the first required field that is absent or empty.
    pub fn decode(bytes: &[u8]) -> Result<Self, PeerError> {
        let document = Document::decode(bytes)
            .map_err(|_| PeerError::Decode(DecodeError::Field("metadata")))?;
        match document.schema_version {
            None | Some(0) => return Err(PeerError::MetadataMissing("schemaVersion")),
            Some(_) => {}
        }
        Ok(Self {
            node_id: required(document.node_id, "nodeId")?,
            role: required(document.role, "role")?,
            cluster_id: required(document.cluster_id, "clusterId")?,
            region: required(document.region, "region")?,
            mesh_version: required(document.mesh_version, "meshVersion")?,
            http3_support: document.http3_support,
            metadata_version: document.metadata_version,
            endpoint: document.endpoint,
            labels: document.labels,
        })
    }

    /// The first required field that is empty.
    pub fn missing(&self) -> Option<&'static str> {
        [
            (&self.node_id, "nodeId"),
            (&self.role, "role"),
            (&self.cluster_id, "clusterId"),
            (&self.region, "region"),
            (&self.mesh_version, "meshVersion"),
        ]
        .into_iter()
        .find_map(|(value, name)| value.is_empty().then_some(name))
    }
}

fn required(value: Option<String>, name: &'static str) -> Result<String, PeerError> {
    value.filter(|value| !value.is_empty()).ok_or(PeerError::MetadataMissing(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Metadata {
        Metadata {
            node_id: "gateway-1".into(),
            role: "gateway".into(),
            cluster_id: "prod".into(),
            region: "eu-1".into(),
            mesh_version: "1.4.0".into(),
            http3_support: true,
            metadata_version: 3,
            endpoint: "10.0.0.1:17421".into(),
            labels: [("rack".into(), "r7".into())].into(),
        }
    }

    /// A document of a later schema: this build's fields and two more.
    #[derive(Clone, PartialEq, Message)]
    struct NextDocument {
        #[prost(message, required, tag = "100")]
        extra: Document,
        #[prost(uint32, optional, tag = "1")]
        schema_version: Option<u32>,
        #[prost(string, optional, tag = "2")]
        node_id: Option<String>,
        #[prost(string, optional, tag = "3")]
        role: Option<String>,
        #[prost(string, optional, tag = "4")]
        cluster_id: Option<String>,
        #[prost(string, optional, tag = "5")]
        region: Option<String>,
        #[prost(string, optional, tag = "6")]
        mesh_version: Option<String>,
        #[prost(sint64, tag = "77")]
        drift: i64,
    }

    /// Rule R-4: mixed versions understand each other.
    #[test]
    fn a_newer_schema_is_read_and_its_unknown_fields_ignored() {
        let next = NextDocument {
            extra: Document::default(),
            schema_version: Some(SCHEMA_VERSION + 1),
            node_id: Some("n".into()),
            role: Some("worker".into()),
            cluster_id: Some("c".into()),
            region: Some("r".into()),
            mesh_version: Some("9".into()),
            drift: -5,
        };
        let read = Metadata::decode(&next.encode_to_vec()).unwrap();
        assert_eq!((read.node_id.as_str(), read.mesh_version.as_str()), ("n", "9"));
        assert!(!read.http3_support, "absent optional fields take their defaults");
    }

    /// Rule R-4: every required field is named when absent and when empty.
    #[test]
    fn missing_required_fields_are_named() {
        type Clear = fn(&mut Document);
        let cases: [(Clear, &str); 6] = [
            (|d| d.schema_version = None, "schemaVersion"),
            (|d| d.node_id = None, "nodeId"),
            (|d| d.role = Some(String::new()), "role"),
            (|d| d.cluster_id = None, "clusterId"),
            (|d| d.region = None, "region"),
            (|d| d.mesh_version = Some(String::new()), "meshVersion"),
        ];
        for (clear, name) in cases {
            let mut document = Document::decode(sample().encode().as_slice()).unwrap();
            clear(&mut document);
            assert_eq!(
                Metadata::decode(&document.encode_to_vec()),
                Err(PeerError::MetadataMissing(name))
            );
        }
    }

    #[test]
    fn documents_round_trip_and_garbage_is_an_error() {
        assert_eq!(Metadata::decode(&sample().encode()), Ok(sample()));
        assert!(matches!(Metadata::decode(&[0xff; 9]), Err(PeerError::Decode(_))));
    }
}
