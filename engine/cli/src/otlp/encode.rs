//! OTLP's JSON: the Protobuf messages of the specification, field by field in lowerCamelCase, with
//! 64-bit numbers as text and ids in hexadecimal.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use tracing::Level;

use super::record::{Fields, LogRecord, SpanIds, SpanRecord, Value};

const SPAN_KIND_INTERNAL: u32 = 1;

/// The body of a request to `/v1/logs`.
pub(super) fn logs(resource: &[(String, String)], logs: &[LogRecord]) -> Json {
    let mut scopes: BTreeMap<&str, Vec<Json>> = BTreeMap::new();
    for log in logs {
        scopes.entry(log.target.as_str()).or_default().push(log_record(log));
    }
    let scopes: Vec<Json> = scopes
        .into_iter()
        .map(|(name, records)| json!({ "scope": { "name": name }, "logRecords": records }))
        .collect();
    json!({ "resourceLogs": [{ "resource": of(resource), "scopeLogs": scopes }] })
}

/// The body of a request to `/v1/traces`.
pub(super) fn spans(resource: &[(String, String)], spans: &[SpanRecord]) -> Json {
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let scope = json!({ "scope": { "name": "mesh_gossip" }, "spans": spans });
    json!({ "resourceSpans": [{ "resource": of(resource), "scopeSpans": [scope] }] })
}

fn of(resource: &[(String, String)]) -> Json {
    let attribute =
        |(key, value): &(String, String)| json!({ "key": key, "value": { "stringValue": value } });
    json!({ "attributes": resource.iter().map(attribute).collect::<Vec<_>>() })
}

fn log_record(log: &LogRecord) -> Json {
    let (number, text) = severity(log.level);
    let mut record = json!({
        "timeUnixNano": log.time_ns.to_string(),
        "observedTimeUnixNano": log.time_ns.to_string(),
        "severityNumber": number,
        "severityText": text,
        "body": { "stringValue": log.fields.message },
        "attributes": attributes(&log.fields),
    });
    if let (Some(ids), Some(record)) = (log.span, record.as_object_mut()) {
        record.insert("traceId".into(), trace_id(ids).into());
        record.insert("spanId".into(), span_id(ids.span).into());
    }
    record
}

fn span(span: &SpanRecord) -> Json {
    let mut record = json!({
        "traceId": trace_id(span.ids),
        "spanId": span_id(span.ids.span),
        "name": span.name,
        "kind": SPAN_KIND_INTERNAL,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.max(span.start_ns).to_string(),
        "attributes": attributes(&span.fields),
        "status": {},
    });
    if let (Some(parent), Some(record)) = (span.parent, record.as_object_mut()) {
        record.insert("parentSpanId".into(), span_id(parent).into());
    }
    record
}

fn attributes(fields: &Fields) -> Vec<Json> {
    let attribute = |(key, value): &(String, Value)| {
        let value = match value {
            Value::Text(text) => json!({ "stringValue": text }),
            Value::Whole(number) => json!({ "intValue": number.to_string() }),
            // JSON has no word for what is no number.
            Value::Real(number) if !number.is_finite() => {
                json!({ "stringValue": number.to_string() })
            }
            Value::Real(number) => json!({ "doubleValue": number }),
            Value::Truth(yes) => json!({ "boolValue": yes }),
        };
        json!({ "key": key, "value": value })
    };
    fields.attributes.iter().map(attribute).collect()
}

fn trace_id(ids: SpanIds) -> String {
    format!("{:032x}", ids.trace)
}

fn span_id(span: u64) -> String {
    format!("{span:016x}")
}

/// The first of the four numbers of each severity.
fn severity(level: Level) -> (u32, &'static str) {
    if level == Level::ERROR {
        (17, "ERROR")
    } else if level == Level::WARN {
        (13, "WARN")
    } else if level == Level::INFO {
        (9, "INFO")
    } else if level == Level::DEBUG {
        (5, "DEBUG")
    } else {
        (1, "TRACE")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDS: SpanIds = SpanIds { trace: 0xABC, span: 0xDEF };

    fn fields() -> Fields {
        let attribute = |key: &str, value| (key.to_owned(), value);
        Fields {
            message: "said".to_owned(),
            attributes: vec![
                attribute("text", Value::Text("t".to_owned())),
                attribute("whole", Value::Whole(-7)),
                attribute("real", Value::Real(0.5)),
                attribute("none", Value::Real(f64::NAN)),
                attribute("truth", Value::Truth(true)),
            ],
        }
    }

    const ATTRIBUTES: &str = r#"[
        {"key": "text", "value": {"stringValue": "t"}},
        {"key": "whole", "value": {"intValue": "-7"}},
        {"key": "real", "value": {"doubleValue": 0.5}},
        {"key": "none", "value": {"stringValue": "NaN"}},
        {"key": "truth", "value": {"boolValue": true}}
    ]"#;

    fn expected(text: &str) -> Json {
        serde_json::from_str(&text.replace("ATTRIBUTES", ATTRIBUTES)).unwrap()
    }

    #[test]
    fn a_log_record_is_what_the_specification_says() {
        let log = LogRecord {
            time_ns: 1_700_000_000_000_000_001,
            level: Level::WARN,
            target: "mesh_gossip".to_owned(),
            fields: fields(),
            span: Some(IDS),
        };
        let resource = [("service.name".to_owned(), "n".to_owned())];
        let told = logs(&resource, &[log]);
        let wanted = expected(
            r#"{"resourceLogs": [{
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "n"}}]},
                "scopeLogs": [{"scope": {"name": "mesh_gossip"}, "logRecords": [{
                    "timeUnixNano": "1700000000000000001",
                    "observedTimeUnixNano": "1700000000000000001",
                    "severityNumber": 13, "severityText": "WARN",
                    "body": {"stringValue": "said"}, "attributes": ATTRIBUTES,
                    "traceId": "00000000000000000000000000000abc", "spanId": "0000000000000def"
                }]}]
            }]}"#,
        );
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_span_is_what_the_specification_says() {
        let span = SpanRecord {
            ids: IDS,
            parent: Some(1),
            name: "mesh.join".to_owned(),
            start_ns: 5,
            end_ns: 3,
            fields: fields(),
        };
        let wanted = expected(
            r#"{"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{
                "scope": {"name": "mesh_gossip"}, "spans": [{
                    "traceId": "00000000000000000000000000000abc", "spanId": "0000000000000def",
                    "parentSpanId": "0000000000000001", "name": "mesh.join", "kind": 1,
                    "startTimeUnixNano": "5", "endTimeUnixNano": "5",
                    "attributes": ATTRIBUTES, "status": {}
                }]
            }]}]}"#,
        );
        assert_eq!(spans(&[], &[span]), wanted);
    }
}
