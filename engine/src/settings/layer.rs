//! One sheet of the pile: what a single file, or one spelling of the environment, says.
//!
//! Invariant: a layer holds only what stands below `mesh:gossip`; the rest of a file or of the
//! environment belongs to others and is not even looked at.

use std::sync::Arc;

use jsonc_parser::ast::{ObjectProp, Value};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use zeroize::Zeroizing;

use super::error::{Origin, SettingsError};

/// What one place says.
#[derive(Clone)]
pub(super) enum Said {
    /// Text, whatever it was in JSON.
    Text(Zeroizing<String>),
    /// `null`: what lower layers said does not count.
    Null,
    /// `[]`.
    EmptyList,
    /// `{}`.
    EmptySection,
}

impl Said {
    /// The text, empty where there is none.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Null | Self::EmptyList | Self::EmptySection => "",
        }
    }
}

/// One statement: a name below `mesh:gossip`, what is said, and where.
#[derive(Clone)]
pub(super) struct Statement {
    pub(super) name: String,
    pub(super) said: Said,
    pub(super) origin: Origin,
}

const SECTION: &str = "mesh:gossip";

/// The statements of a JSON file.
pub(super) fn of_file(path: &str, text: &str) -> Result<Vec<Statement>, SettingsError> {
    // A byte order mark would shift no line, but the parser does not know it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let path: Arc<str> = path.into();
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        SettingsError::Syntax {
            at: Origin::File { path: path.clone(), line: error.line_display() },
            column: error.column_display(),
            why: error.kind().to_string(),
        }
    })?;
    let mut reader = FileReader { text, path, statements: Vec::new(), line: 1, offset: 0 };
    match &parsed.value {
        Some(Value::Object(root)) => reader.object("", &root.properties),
        Some(_) => return Err(reader.not_an_object("the document is not an object")),
        None => return Err(reader.not_an_object("the document is empty; write {} at least")),
    }
    Ok(reader.statements)
}

struct FileReader<'a> {
    text: &'a str,
    path: Arc<str>,
    statements: Vec<Statement>,
    /// Line of `offset`: properties are met in the order of the text, so counting is linear.
    line: usize,
    offset: usize,
}

impl FileReader<'_> {
    fn object(&mut self, name: &str, properties: &[ObjectProp<'_>]) {
        for property in properties {
            let origin = self.origin(property.start());
            let segment = property.name.as_str();
            let inner =
                if name.is_empty() { segment.to_owned() } else { format!("{name}:{segment}") };
            self.value(&inner, &property.value, &origin);
        }
    }

    fn value(&mut self, name: &str, value: &Value<'_>, origin: &Origin) {
        match value {
            Value::Object(object) if !object.properties.is_empty() => {
                if concerns_us(name) {
                    self.object(name, &object.properties);
                }
            }
            Value::Array(array) if !array.elements.is_empty() => {
                if concerns_us(name) {
                    for (index, element) in array.elements.iter().enumerate() {
                        let origin = self.origin(element.start());
                        self.value(&format!("{name}:{index}"), element, &origin);
                    }
                }
            }
            Value::Object(_) => self.say(name, Said::EmptySection, origin),
            Value::Array(_) => self.say(name, Said::EmptyList, origin),
            Value::StringLit(literal) => self.say(name, text(&literal.value), origin),
            Value::NumberLit(literal) => self.say(name, text(literal.value), origin),
            Value::BooleanLit(literal) => {
                self.say(name, text(if literal.value { "true" } else { "false" }), origin);
            }
            Value::NullKeyword(_) => self.say(name, Said::Null, origin),
        }
    }

    fn say(&mut self, name: &str, said: Said, origin: &Origin) {
        if let Some(name) = below(SECTION, name) {
            self.statements.push(Statement { name: name.into(), said, origin: origin.clone() });
        }
    }

    fn origin(&mut self, offset: usize) -> Origin {
        let passed = self.text.as_bytes().get(self.offset..offset).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.offset = self.offset.max(offset);
        Origin::File { path: self.path.clone(), line: self.line }
    }

    fn not_an_object(&self, why: &str) -> SettingsError {
        let at = Origin::File { path: self.path.clone(), line: 1 };
        SettingsError::Syntax { at, column: 1, why: why.into() }
    }
}

/// Whether our section stands at or below `name`, or `name` below our section.
fn concerns_us(name: &str) -> bool {
    name.eq_ignore_ascii_case(SECTION)
        || below(SECTION, name).is_some()
        || below(name, SECTION).is_some()
}

/// What follows `section:` in `name`, without regard to case.
fn below<'a>(section: &str, name: &'a str) -> Option<&'a str> {
    let head = name.get(..section.len())?;
    let rest = name.get(section.len()..)?.strip_prefix(':')?;
    head.eq_ignore_ascii_case(section).then_some(rest)
}

fn text(text: &str) -> Said {
    Said::Text(Zeroizing::new(text.into()))
}

/// The names that the first host of this product knows, and the keys that they stand for.
const SHORT_ROOT: &str = "MESH_GOSSIP_CERT_";
const SHORT: [(&str, &str); 6] = [
    ("PATH", "tls:certificatePath"),
    ("PATH_SECRET", "tls:certificatePathSecret"),
    ("DATA", "tls:certificateData"),
    ("DATA_SECRET", "tls:certificateDataSecret"),
    ("PASSWORD", "tls:certificatePassword"),
    ("PASSWORD_SECRET", "tls:certificatePasswordSecret"),
];

/// Roots of variables, weakest first. `__` separates, as it does in .NET.
const ROOTS: [&str; 3] = ["mesh:gossip", "mesh_gossip", "omnirelay:mesh:gossip"];

/// The statements of the environment, one layer for each spelling, weakest first.
///
/// A variable such as `MESH_GOSSIP_PORT`, with one underscore, is nobody's mistake: Kubernetes
/// sets it in every pod beside a service of the name `mesh-gossip`.
pub(super) fn of_environment(variables: &[(String, Zeroizing<String>)]) -> Vec<Vec<Statement>> {
    let mut layers = vec![Vec::new(); 1 + ROOTS.len()];
    for (variable, value) in variables {
        let statement = |name: &str| Statement {
            name: name.into(),
            said: Said::Text(value.clone()),
            origin: Origin::Variable(variable.clone()),
        };
        if let Some(short) = strip_root(SHORT_ROOT, variable) {
            let full = SHORT.iter().find(|(name, _)| name.eq_ignore_ascii_case(short));
            let mistyped = format!("tls:certificate{short}");
            layers[0].push(statement(full.map_or(mistyped.as_str(), |(_, key)| key)));
            continue;
        }
        let path = variable.replace("__", ":");
        for (layer, root) in layers[1..].iter_mut().zip(ROOTS) {
            if let Some(name) = below(root, &path) {
                layer.push(statement(name));
            }
        }
    }
    for layer in &mut layers {
        // The environment has no order of its own.
        layer.sort_by(|a, b| a.origin.cmp(&b.origin));
    }
    layers
}

fn strip_root<'a>(root: &str, variable: &'a str) -> Option<&'a str> {
    let head = variable.get(..root.len())?;
    head.eq_ignore_ascii_case(root).then(|| &variable[root.len()..])
}
