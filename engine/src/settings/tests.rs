//! What people write, from every place, and what they are told.

mod behaviour;
mod claims;
mod documents;
mod effects;
mod every_key;
mod mistakes;
mod schemas;

use super::{Described, Settings, SettingsErrors, Sources};

/// The least that resolves.
const LEAST: &str = r#"{"mesh:gossip:tls": {"certificatePath": "a.pem", "caPath": "ca.pem"}}"#;

fn least() -> Sources {
    Sources::new().host_name("host-1").json("least.json", LEAST)
}

/// The subtree as a file of its own, above what is least.
fn with_file(subtree: &str) -> Sources {
    least().json("app.json", &format!(r#"{{"mesh": {{"gossip": {subtree}}}}}"#))
}

fn with_variables(variables: &[(&str, &str)]) -> Sources {
    least().environment(variables.iter().copied())
}

fn load(sources: &Sources) -> Settings {
    Settings::load(sources).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The errors of loading or, where loading passes, of resolving.
fn errors(sources: &Sources) -> Vec<String> {
    let found: Result<(), SettingsErrors> =
        Settings::load(sources).and_then(|settings| settings.resolve().map(drop));
    found.expect_err("an error").iter().map(ToString::to_string).collect()
}

fn described(settings: &Settings, key: &str) -> Described {
    let full = format!("mesh:gossip:{key}");
    let line = settings.describe().into_iter().find(|line| line.key == full);
    line.unwrap_or_else(|| panic!("{full} is not described"))
}
