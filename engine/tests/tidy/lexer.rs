//! Splits Rust source into code and comments, line by line, as far as the checks need it.
//!
//! Invariant: the result has one entry per line of the source; what is in neither half (strings,
//! characters) is blank.

/// One line, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Code, with strings and comments blanked.
    pub(crate) code: String,
    /// Text of comments.
    pub(crate) comment: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Code,
    LineComment,
    /// Nesting depth.
    BlockComment(u32),
    Text,
    /// Number of `#`.
    RawText(usize),
}

/// Takes `source` apart.
pub(crate) fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![Line::default()];
    let mut mode = Mode::Code;
    let mut at = 0;
    while at < chars.len() {
        let line = lines.len() - 1;
        if chars[at] == '\n' {
            if mode == Mode::LineComment {
                mode = Mode::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let (next, taken) = match mode {
            Mode::Code => code(&chars[at..], &mut lines[line]),
            Mode::LineComment => {
                lines[line].comment.push(chars[at]);
                (mode, 1)
            }
            Mode::BlockComment(depth) => block(&chars[at..], depth, &mut lines[line]),
            Mode::Text => match chars[at] {
                '\\' if chars.get(at + 1) != Some(&'\n') => (mode, 2),
                '"' => (Mode::Code, 1),
                _ => (mode, 1),
            },
            Mode::RawText(hashes) => {
                let closes = chars[at] == '"'
                    && chars[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes;
                if closes { (Mode::Code, 1 + hashes) } else { (mode, 1) }
            }
        };
        mode = next;
        at += taken;
    }
    lines
}

fn code(rest: &[char], line: &mut Line) -> (Mode, usize) {
    match rest {
        ['/', '/', ..] => (Mode::LineComment, 2),
        ['/', '*', ..] => (Mode::BlockComment(1), 2),
        ['"', ..] => (Mode::Text, 1),
        ['r', '"' | '#', ..] if !line.code.ends_with(is_word) => raw(rest, line),
        ['b', 'r', '"' | '#', ..] if !line.code.ends_with(is_word) => {
            let (mode, taken) = raw(&rest[1..], line);
            (mode, taken + 1)
        }
        ['\'', '\\', _, ..] => {
            let end = rest.iter().skip(3).position(|c| *c == '\'').map_or(rest.len(), |n| n + 4);
            (Mode::Code, end)
        }
        ['\'', _, '\'', ..] => (Mode::Code, 3),
        [c, ..] => {
            line.code.push(*c);
            (Mode::Code, 1)
        }
        [] => (Mode::Code, 1),
    }
}

/// `r"…"` and `r#"…"#`; a raw identifier stays code.
fn raw(rest: &[char], line: &mut Line) -> (Mode, usize) {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) == Some(&'"') {
        return (Mode::RawText(hashes), 2 + hashes);
    }
    line.code.push('r');
    (Mode::Code, 1)
}

fn block(rest: &[char], depth: u32, line: &mut Line) -> (Mode, usize) {
    match rest {
        ['*', '/', ..] if depth == 1 => (Mode::Code, 2),
        ['*', '/', ..] => (Mode::BlockComment(depth - 1), 2),
        ['/', '*', ..] => (Mode::BlockComment(depth + 1), 2),
        [c, ..] => {
            line.comment.push(*c);
            (Mode::BlockComment(depth), 1)
        }
        [] => (Mode::Code, 1),
    }
}

/// A character of an identifier.
pub(crate) fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Index of the first line of a file's `#[cfg(test)] mod … {`, which house style puts last.
pub(crate) fn first_test_line(lines: &[Line]) -> usize {
    let is_test_module = |pair: &[Line]| {
        pair[0].code.trim() == "#[cfg(test)]"
            && pair[1].code.trim_start().starts_with("mod ")
            && pair[1].code.trim_end().ends_with('{')
    };
    lines.windows(2).position(is_test_module).unwrap_or(lines.len())
}

#[test]
fn strings_and_comments_are_no_code() {
    let source =
        "let a = \"// unsafe\"; // why\nlet b = r#\"todo!() \" \"#; /* x /* y */ z */ f();";
    let read = lines(source);
    assert_eq!(read[0].code.trim(), "let a = ;");
    assert_eq!(read[0].comment, " why");
    assert_eq!(read[1].code.replace(' ', ""), "letb=;f();");
    assert_eq!(read[1].comment, " x  y  z ");
}

#[test]
fn characters_lifetimes_and_raw_names_are_told_apart() {
    let read = lines("fn f<'a>(x: &'a str) { g('\"', '\\'', '\\u{1F600}', b'/', r#type) } // end");
    assert_eq!(read[0].comment, " end");
    assert!(read[0].code.contains("fn f<'a>(x: &'a str)"), "{}", read[0].code);
    assert!(read[0].code.contains("r#type"), "{}", read[0].code);
}

#[test]
fn lines_stay_where_they_are() {
    let read = lines("let a = \"one \\\n two\";\n// three\nfour");
    assert_eq!(read.len(), 4);
    assert_eq!((read[2].comment.as_str(), read[3].code.as_str()), (" three", "four"));
}

#[test]
fn a_test_module_is_found() {
    let read = lines("fn a() {}\n#[cfg(test)]\nmod tests {\n}\n");
    assert_eq!(first_test_line(&read), 1);
    let elsewhere = lines("#[cfg(test)]\nmod tests;\nfn a() {}\n");
    assert_eq!(first_test_line(&elsewhere), 4, "a module in another file is no line here");
}
