//! The published metadata schema and the bytes that this crate writes are one and the same.

use mesh_gossip_proto::metadata::{Standing, Term};
use mesh_gossip_proto::{Metadata, WallTime};
use prost::Message;
use protox::prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, Kind, MapKey, MessageDescriptor, ReflectMessage,
    Value,
};

fn published() -> MessageDescriptor {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs");
    let set = protox::compile(["metadata.proto"], [docs]).expect("docs/metadata.proto parses");
    let pool = DescriptorPool::from_file_descriptor_set(set).expect("its types resolve");
    pool.get_message_by_name("mesh_gossip.v1.Metadata").expect("it declares the document")
}

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

/// Every field of `document` by number, name, kind and value; required ones tell presence.
fn expectations() -> Vec<(u32, &'static str, Kind, bool, Value)> {
    let text = |value: &str| Value::String(value.into());
    vec![
        (1, "schema_version", Kind::Uint32, true, Value::U32(1)),
        (2, "node_id", Kind::String, true, text("gateway-1")),
        (3, "role", Kind::String, true, text("gateway")),
        (4, "cluster_id", Kind::String, true, text("prod")),
        (5, "region", Kind::String, true, text("eu-1")),
        (6, "mesh_version", Kind::String, true, text("1.4.0")),
        (7, "http3_support", Kind::Bool, false, Value::Bool(true)),
        (8, "metadata_version", Kind::Uint64, false, Value::U64(3)),
        (10, "endpoint", Kind::String, false, text("10.0.0.1:17421")),
    ]
}

/// Rule R-4: whoever reads the published schema reads what this crate writes, field by field.
#[test]
fn the_published_schema_reads_what_this_crate_writes() {
    let descriptor = published();
    let document = DynamicMessage::decode(descriptor.clone(), sample().encode().as_slice())
        .expect("the document decodes");
    assert_eq!(document.unknown_fields().count(), 0, "a field is missing in docs/metadata.proto");
    for (number, name, kind, presence, value) in expectations() {
        let field = descriptor.get_field(number).unwrap_or_else(|| panic!("no field {number}"));
        assert_eq!((field.name(), field.kind()), (name, kind), "field {number}");
        assert_ne!(field.cardinality(), Cardinality::Repeated, "{name}");
        assert_eq!(field.supports_presence(), presence, "{name}");
        assert_eq!(*document.get_field(&field), value, "{name}");
    }
    let labels = descriptor.get_field(9).expect("labels");
    assert!(labels.is_map() && labels.name() == "labels");
    let expected = [(MapKey::String("rack".into()), Value::String("r7".into()))];
    assert_eq!(*document.get_field(&labels), Value::Map(expected.into()));
    assert_eq!(descriptor.fields().len(), 12, "a field here is not compared");
}

/// Rules R-4 and E-3: what the node itself adds stands in the same document.
#[test]
fn the_published_schema_reads_what_the_node_adds() {
    let term = Term {
        scope: "control".into(),
        definition: u64::MAX,
        number: 7,
        since: WallTime(1_000),
        held: true,
    };
    let standing = Standing { stands: vec![1, u64::MAX], terms: vec![term] };
    let bytes = [sample().encode(), standing.encode()].concat();
    let document = DynamicMessage::decode(published(), bytes.as_slice()).expect("it decodes");
    let stands = document.get_field_by_name("stands").expect("field 11").into_owned();
    assert_eq!(stands, Value::List(vec![Value::U64(1), Value::U64(u64::MAX)]));
    let terms = document.get_field_by_name("terms").expect("field 12").into_owned();
    let [Value::Message(term)] = terms.as_list().expect("a list") else { panic!("{terms:?}") };
    assert_eq!(term.unknown_fields().count(), 0);
    for (name, value) in [
        ("scope", Value::String("control".into())),
        ("definition", Value::U64(u64::MAX)),
        ("number", Value::U64(7)),
        ("since_ms", Value::U64(1_000)),
        ("held", Value::Bool(true)),
    ] {
        assert_eq!(*term.get_field_by_name(name).expect(name), value, "{name}");
    }
    assert_eq!(term.descriptor().fields().len(), 5, "a field here is not compared");
    let again = document.encode_to_vec();
    assert_eq!(Standing::decode(&again).expect("it decodes").as_deref(), Some(&standing));
}

/// Rule R-4: and the other way round, bytes written by the schema are read by this crate.
#[test]
fn this_crate_reads_what_the_published_schema_writes() {
    let descriptor = published();
    let mut document = DynamicMessage::new(descriptor.clone());
    for (number, _, _, _, value) in expectations() {
        document.set_field_by_number(number, value);
    }
    let labels = [(MapKey::String("rack".into()), Value::String("r7".into()))];
    document.set_field_by_number(9, Value::Map(labels.into()));
    let bytes = document.encode_to_vec();
    assert_eq!(Metadata::decode(&bytes), Ok(sample()));
    assert_eq!(document.descriptor().full_name(), "mesh_gossip.v1.Metadata");
}
