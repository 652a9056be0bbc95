//! OpenTelemetry's own variables: where the collector is, and who we say that we are.
//!
//! Invariant: a variable that cannot be exports nothing and is named; it never keeps an agent from
//! its mesh.

use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// A collector, and how it is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) logs: String,
    pub(super) traces: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    /// Attributes of the resource, which is this agent.
    pub(super) resource: Vec<(String, String)>,
}

/// Reads the variables; `None`: nobody asked for an export.
pub(super) fn read(
    variable: impl Fn(&str) -> Option<String>,
    node_id: &str,
) -> Result<Option<Target>, String> {
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    if set("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(None);
    }
    let Some(endpoint) = set("OTEL_EXPORTER_OTLP_ENDPOINT") else { return Ok(None) };
    let endpoint = endpoint.trim().trim_end_matches('/');
    if !endpoint.starts_with("http://") {
        return Err(format!(
            "OTEL_EXPORTER_OTLP_ENDPOINT = {endpoint}: expected http://HOST:PORT of a collector \
             beside this agent, as http://127.0.0.1:4318"
        ));
    }
    if let Some(protocol) = set("OTEL_EXPORTER_OTLP_PROTOCOL")
        && protocol != "http/json"
    {
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL = {protocol}: only http/json is spoken"));
    }
    let timeout = match set("OTEL_EXPORTER_OTLP_TIMEOUT") {
        None => TIMEOUT,
        Some(text) => match text.trim().parse() {
            Ok(milliseconds) if milliseconds > 0 => Duration::from_millis(milliseconds),
            Ok(_) | Err(_) => {
                return Err(format!(
                    "OTEL_EXPORTER_OTLP_TIMEOUT = {text}: expected milliseconds above zero"
                ));
            }
        },
    };
    let pairs = |name: &str| pairs(name, &set(name).unwrap_or_default());
    let headers = pairs("OTEL_EXPORTER_OTLP_HEADERS")?;
    let mut resource = pairs("OTEL_RESOURCE_ATTRIBUTES")?;
    let mut default = |key: &str, value: String| {
        if resource.iter().all(|(known, _)| known != key) {
            resource.push((key.to_owned(), value));
        }
    };
    default("service.instance.id", node_id.to_owned());
    default("service.version", env!("CARGO_PKG_VERSION").to_owned());
    match set("OTEL_SERVICE_NAME") {
        // It wins over the list.
        Some(name) => {
            resource.retain(|(key, _)| key != "service.name");
            resource.push(("service.name".to_owned(), name));
        }
        None => default("service.name", "mesh-gossip".to_owned()),
    }
    let (logs, traces) = (format!("{endpoint}/v1/logs"), format!("{endpoint}/v1/traces"));
    Ok(Some(Target { logs, traces, headers, timeout, resource }))
}

/// `key=value,key=value`, values percent-encoded. Values may be secrets and are not told.
fn pairs(name: &str, text: &str) -> Result<Vec<(String, String)>, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let pair = part.split_once('=').filter(|(key, _)| !key.trim().is_empty());
            let (key, value) = pair.ok_or_else(|| format!("{name}: expected key=value,…"))?;
            let value = decoded(value.trim());
            let value = value.ok_or_else(|| format!("{name}: the value of {key} is malformed"))?;
            Ok((key.trim().to_owned(), value))
        })
        .collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Result<Option<Target>, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        read(variable, "node-1")
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn nothing_is_exported_unless_somebody_asks() {
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "")]), Ok(None));
        assert_eq!(of(&[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), Ok(None));
    }

    #[test]
    fn variables_say_where_and_who() {
        let target = of(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20abc, x-scope = one"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,service.name=other"),
            ("OTEL_SERVICE_NAME", "gateway"),
        ]);
        let Ok(Some(target)) = target else { panic!("{target:?}") };
        assert_eq!(target.logs, "http://127.0.0.1:4318/v1/logs");
        assert_eq!(target.traces, "http://127.0.0.1:4318/v1/traces");
        assert_eq!(target.timeout, Duration::from_millis(250));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(target.headers, [pair("authorization", "Basic abc"), pair("x-scope", "one")]);
        for expected in [
            pair("deployment.environment", "prod"),
            pair("service.instance.id", "node-1"),
            pair("service.name", "gateway"),
        ] {
            assert!(target.resource.contains(&expected), "{expected:?} of {:?}", target.resource);
        }
        assert_eq!(target.resource.iter().filter(|(key, _)| key == "service.name").count(), 1);
    }

    #[test]
    fn what_cannot_be_is_named_and_no_secret_with_it() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=%zz-secret"),
            ("OTEL_RESOURCE_ATTRIBUTES", "secret"),
        ] {
            let mut variables = vec![(name, value)];
            if name != ENDPOINT.0 {
                variables.push(ENDPOINT);
            }
            let error = of(&variables).expect_err(value);
            assert!(error.starts_with(name) && !error.contains("secret"), "{error}");
        }
    }
}
