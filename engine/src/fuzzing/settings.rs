//! What people write: two files of settings and an environment over them.
//!
//! An input is parted by zero bytes: the first file, the second, then lines `NAME=value`. Two
//! variables stand in every environment; their value is a secret that nothing may print.

use std::ffi::OsString;
use std::fmt::Display;
use std::os::unix::ffi::OsStringExt;

use crate::settings::{Settings, Sources};

/// Nobody writes this by chance.
const SECRET: &str = "correct-horse-7f3a91c4";
/// Variables that hold it: one of ours, and one that a `…Secret` key may name.
const SECRETIVE: [&str; 2] = ["MESH_GOSSIP_CERT_PASSWORD", "FUZZ_SECRET"];

/// Settings are read or refused with words; what is printed holds no secret (rule S-21).
pub fn settings(data: &[u8]) {
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let mut text = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
    let (first, second) = (text(), text());
    let lines = parts.next().unwrap_or_default();
    let variables = lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let equals = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (line[..equals].to_vec(), line[equals + 1..].to_vec());
        Some((OsString::from_vec(name), OsString::from_vec(value)))
    });
    let mut sources = Sources::new().host_name("host.fuzz");
    for (name, text) in [("first.json", &first), ("second.json", &second)] {
        if !text.is_empty() {
            sources = sources.json(name, text);
        }
    }
    let sources = sources.environment_os(variables);
    let sources = sources.environment(SECRETIVE.map(|name| (name, SECRET)));
    let spoken = told(&sources);
    let written = [first.as_str(), &second, &String::from_utf8_lossy(lines)];
    if !written.iter().any(|text| text.contains(SECRET)) {
        assert!(!spoken.contains(SECRET), "a secret was printed:\n{spoken}");
    }
}

/// Everything that the settings say of themselves.
fn told(sources: &Sources) -> String {
    let settings = match Settings::load(sources) {
        Ok(settings) => settings,
        Err(errors) => return listed(errors.iter()) + &format!("{errors:?}"),
    };
    let mut told = format!("{settings:?}\n{sources:?}\n{:?}\n", settings.log());
    told += &listed(settings.notes().iter());
    for line in settings.describe() {
        told += &format!("{} {} {}\n", line.key, line.value, line.origin);
    }
    if settings.enabled() {
        match settings.resolve() {
            Ok((engine, agent)) => {
                let protocol = agent.protocol.clone().validate();
                protocol.expect("what resolves is valid");
                told += &format!("{engine:?}\n{agent:?}\n");
            }
            Err(errors) => told += &listed(errors.iter()),
        }
    }
    told
}

fn listed(words: impl Iterator<Item = impl Display>) -> String {
    words.map(|word| format!("{word}\n")).collect()
}
