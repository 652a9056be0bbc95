//! YAML as the values of JSON.

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

use crate::stage::Outcome;

/// The documents of a file.
pub(crate) fn documents(text: &str) -> Outcome<Vec<Value>> {
    YamlLoader::load_from_str(text)?.iter().map(value).collect()
}

fn value(yaml: &Yaml) -> Outcome<Value> {
    Ok(match yaml {
        Yaml::Real(number) => Value::from(number.parse::<f64>()?),
        Yaml::Integer(number) => Value::from(*number),
        Yaml::String(text) => Value::from(text.as_str()),
        Yaml::Boolean(yes) => Value::from(*yes),
        Yaml::Array(items) => Value::Array(items.iter().map(value).collect::<Outcome<_>>()?),
        Yaml::Hash(entries) => {
            let mut map = Map::new();
            for (key, held) in entries {
                let key = key.as_str().ok_or_else(|| format!("{key:?} is no name"))?;
                map.insert(key.to_owned(), value(held)?);
            }
            Value::Object(map)
        }
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => return Err(format!("{yaml:?} is no value").into()),
    })
}
