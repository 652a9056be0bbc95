//! What a PromQL expression speaks of: metrics, what it selects of them, labels it groups by.
//!
//! No grammar of the whole language: a pass over its words that refuses what it does not know, so
//! that nothing slips through unread.

use std::collections::BTreeSet;

const GROUPINGS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 8] = ["and", "or", "unless", "bool", "offset", "atan2", "inf", "nan"];
const AGGREGATIONS: [&str; 12] = [
    "sum",
    "min",
    "max",
    "avg",
    "group",
    "stddev",
    "stdvar",
    "count",
    "count_values",
    "bottomk",
    "topk",
    "quantile",
];
const FUNCTIONS: [&str; 24] = [
    "abs",
    "absent",
    "avg_over_time",
    "ceil",
    "changes",
    "clamp_max",
    "clamp_min",
    "delta",
    "deriv",
    "floor",
    "histogram_quantile",
    "increase",
    "irate",
    "label_replace",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "rate",
    "resets",
    "round",
    "scalar",
    "sum_over_time",
    "time",
    "vector",
];

/// One label that a selector asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matcher {
    pub(crate) label: String,
    pub(crate) operator: String,
    pub(crate) value: String,
}

/// One metric and what is selected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) metric: String,
    pub(crate) matchers: Vec<Matcher>,
}

/// What an expression speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) selectors: Vec<Selector>,
    /// Labels that it groups or matches by.
    pub(crate) labels: BTreeSet<String>,
    /// Dashboard variables, `$` left out.
    pub(crate) variables: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Name(String),
    Text(String),
    Number,
    /// Between brackets.
    Range(String),
    Sign(char),
}

/// Reads an expression; an error says what was not understood.
pub(crate) fn read(text: &str) -> Result<Expression, String> {
    let words = words(text)?;
    let mut expression = Expression { variables: variables(text), ..Expression::default() };
    let (mut at, mut depth) = (0, 0_i32);
    while let Some(word) = words.get(at) {
        at += 1;
        let opens = words.get(at) == Some(&Word::Sign('('));
        match word {
            Word::Name(name) if GROUPINGS.contains(&name.as_str()) => {
                if opens {
                    at = labels(&words, at + 1, &mut expression.labels)?;
                } else if !name.starts_with("group_") {
                    return Err(format!("`{name}` without labels in `{text}`"));
                }
            }
            Word::Name(name) if AGGREGATIONS.contains(&name.as_str()) => {}
            Word::Name(name) if opens => {
                if !FUNCTIONS.contains(&name.as_str()) && !OPERATORS.contains(&name.as_str()) {
                    return Err(format!("`{name}` is no function that is known: `{text}`"));
                }
            }
            Word::Name(name) if OPERATORS.contains(&name.to_ascii_lowercase().as_str()) => {}
            Word::Name(name) => {
                let mut selector = Selector { metric: name.clone(), matchers: Vec::new() };
                if words.get(at) == Some(&Word::Sign('{')) {
                    at = matchers(&words, at + 1, &mut selector.matchers)?;
                }
                expression.selectors.push(selector);
            }
            Word::Sign('{' | '}') => return Err(format!("a selector without a name: `{text}`")),
            Word::Sign('(') => depth += 1,
            Word::Sign(')') => depth -= 1,
            Word::Text(_) | Word::Number | Word::Range(_) | Word::Sign(_) => {}
        }
        if depth < 0 {
            break;
        }
    }
    if depth != 0 {
        return Err(format!("parentheses do not match: `{text}`"));
    }
    Ok(expression)
}

/// Names after `(`, up to and with `)`.
fn labels(words: &[Word], mut at: usize, into: &mut BTreeSet<String>) -> Result<usize, String> {
    loop {
        match words.get(at) {
            Some(Word::Name(name)) => {
                into.insert(name.clone());
            }
            Some(Word::Sign(',')) => {}
            Some(Word::Sign(')')) => return Ok(at + 1),
            other => return Err(format!("{other:?} in a list of labels")),
        }
        at += 1;
    }
}

/// `label op "value"` after `{`, up to and with `}`.
fn matchers(words: &[Word], mut at: usize, into: &mut Vec<Matcher>) -> Result<usize, String> {
    loop {
        let label = match words.get(at) {
            Some(Word::Name(label)) => label.clone(),
            Some(Word::Sign(',')) => {
                at += 1;
                continue;
            }
            Some(Word::Sign('}')) => return Ok(at + 1),
            other => return Err(format!("{other:?} where a label should stand")),
        };
        let mut operator = String::new();
        at += 1;
        while let Some(Word::Sign(sign @ ('=' | '!' | '~'))) = words.get(at) {
            operator.push(*sign);
            at += 1;
        }
        let Some(Word::Text(value)) = words.get(at) else {
            return Err(format!("no text after `{label} {operator}`"));
        };
        if !["=", "!=", "=~", "!~"].contains(&operator.as_str()) {
            return Err(format!("`{operator}` after `{label}`"));
        }
        into.push(Matcher { label, operator, value: value.clone() });
        at += 1;
    }
}

fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '"' | '\'' => {
                let end = rest[1..].find(first).ok_or_else(|| format!("an open text: `{text}`"))?;
                let inner = &rest[1..=end];
                if inner.contains('\\') {
                    return Err(format!("an escape, which this reader does not know: `{text}`"));
                }
                (Word::Text(inner.to_owned()), end + 2)
            }
            '[' => {
                let end = rest.find(']').ok_or_else(|| format!("an open range: `{text}`"))?;
                (Word::Range(rest[1..end].to_owned()), end + 1)
            }
            '0'..='9' => (Word::Number, span(rest, |c| c.is_ascii_alphanumeric() || c == '.')),
            'a'..='z' | 'A'..='Z' | '_' | ':' => {
                let length = span(rest, |c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
                (Word::Name(rest[..length].to_owned()), length)
            }
            '(' | ')' | '{' | '}' | ',' | '=' | '!' | '~' | '<' | '>' | '+' | '-' | '*' | '/'
            | '%' | '^' => (Word::Sign(first), 1),
            other => return Err(format!("`{other}` in `{text}`")),
        };
        words.push(word);
        rest = rest[length..].trim_start();
    }
    Ok(words)
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// Names after `$`, with or without braces.
fn variables(text: &str) -> BTreeSet<String> {
    let names = text.split('$').skip(1).map(|rest| rest.trim_start_matches('{'));
    names.map(|rest| rest[..span(rest, |c| c.is_alphanumeric() || c == '_')].to_owned()).collect()
}

/// Every `{{ label }}`, also `{{ $labels.label }}`, of a legend or an annotation.
pub(crate) fn templated(text: &str) -> Vec<String> {
    let inner = text.split("{{").skip(1).filter_map(|rest| Some(rest.split_once("}}")?.0.trim()));
    inner
        .filter(|inner| !inner.starts_with("$value"))
        .map(|inner| inner.trim_start_matches("$labels.").to_owned())
        .collect()
}

mod tests {
    use super::*;

    #[test]
    fn metrics_matchers_and_groups_are_read() {
        let text = r#"sum by (le, instance) (rate(a_bucket{x="1", y!~"b|c"}[$__rate_interval])) /
            on (instance) group_left () up > bool 1.5e3 and ignoring(z) m:r offset 5m"#;
        let read = read(text).unwrap();
        let metrics: Vec<_> = read.selectors.iter().map(|s| s.metric.as_str()).collect();
        assert_eq!(metrics, ["a_bucket", "up", "m:r"]);
        let matcher = |label: &str, operator: &str, value: &str| Matcher {
            label: label.into(),
            operator: operator.into(),
            value: value.into(),
        };
        assert_eq!(read.selectors[0].matchers, [matcher("x", "=", "1"), matcher("y", "!~", "b|c")]);
        assert_eq!(read.labels.iter().collect::<Vec<_>>(), ["instance", "le", "z"]);
        assert_eq!(read.variables.iter().collect::<Vec<_>>(), ["__rate_interval"]);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "rat(a[5m])",
            "sum(a",
            "a)",
            r#"{__name__="a"}"#,
            r#"a{b="c}"#,
            r#"a{b}"#,
            r#"a{b~="c"}"#,
            "sum by (a b",
            "a; b",
            "a[5m",
            "a and on b",
        ] {
            assert!(read(text).is_err(), "{text}: {:?}", read(text));
        }
    }

    #[test]
    fn labels_of_templates_are_found() {
        let found = templated("{{a}} of {{ $labels.b }}: {{ $value | humanize }}");
        assert_eq!(found, ["a", "b"]);
    }
}
