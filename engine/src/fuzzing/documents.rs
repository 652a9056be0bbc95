//! The metadata document of a member (rule R-4).

use mesh_gossip_proto::Metadata;
use mesh_gossip_proto::membership::record::{SignedRecord, first_record};

use super::names::{CLUSTER, Names};

/// A document that is read has all that is required, survives being written anew, and may stand
/// in a record.
pub fn documents(data: &[u8]) {
    let Ok(document) = Metadata::decode(data) else { return };
    assert_eq!(document.missing(), None);
    let again = document.encode();
    assert_eq!(Metadata::decode(&again).as_ref(), Ok(&document));
    assert_eq!(Metadata::decode(&again).map(|document| document.encode()), Ok(again));

    let authority = Names::of(&document.node_id);
    let content = first_record(CLUSTER, Default::default(), Vec::new(), document);
    let length = content.metadata.encode().len();
    let Some(record) = SignedRecord::author(content, &authority) else { return };
    let read = SignedRecord::verify(record.envelope(), CLUSTER, length, &Names::anybody());
    assert_eq!(read.as_ref(), Ok(&record), "what we write others read");
}
