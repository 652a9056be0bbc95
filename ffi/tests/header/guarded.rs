//! Every exported function is one call into the guard, so that no panic can pass between.
//!
//! The sources are read as text: what stands in the body of an exported function may be closures
//! that are bound to a name, and at the end one call that runs them. Constants need no guard.

/// What catches panics, in `guard.rs`; and what hands out documents, which is checked as well.
const GUARDS: [&str; 8] = [
    "guard::look(",
    "guard::look_at(",
    "guard::look_on(",
    "guard::free(",
    "run(",
    "run_on(",
    "hand_out(",
    "documents::hand_out(",
];

/// What is wrong with the one function of a source that is declared so.
pub(crate) fn within(source: &str, declared: &str) -> Result<(), String> {
    let at = source.find(declared).ok_or_else(|| format!("no {declared}"))?;
    let rest = without_comments(&source[at..]);
    guarded(rest.find(") -> MeshGossipResult {").map_or("", |end| {
        let open = end + ") -> MeshGossipResult ".len();
        block(&rest[open..])
    }))
}

fn without_comments(source: &str) -> String {
    source
        .lines()
        .map(|line| format!("{}\n", line.split("//").next().unwrap_or_default()))
        .collect()
}

/// The exported functions of a source file, and what is wrong with each.
pub(crate) fn exports(source: &str) -> Vec<(String, Result<(), String>)> {
    let source = without_comments(source);
    let mut found = Vec::new();
    for (at, opening) in source.match_indices("extern \"C\" fn mesh_gossip_") {
        let name_at = at + opening.len() - "mesh_gossip_".len();
        let rest = &source[name_at..];
        let name = rest.split('(').next().unwrap_or_default().to_owned();
        let body = rest.find('{').map_or("", |open| block(&rest[open..]));
        let verdict = guarded(body);
        found.push((name, verdict));
    }
    found
}

/// What stands between a brace and the one that ends it.
fn block(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 1 => return text[1..at].trim(),
            '}' => depth -= 1,
            _ => {}
        }
    }
    ""
}

fn guarded(body: &str) -> Result<(), String> {
    let mut rest = body;
    while let Some(binding) = rest.strip_prefix("let ") {
        let value = binding.split_once(" = ").map_or("", |(_, value)| value);
        // Nor can a number of milliseconds panic.
        let time = value.trim_start_matches("std::time::").starts_with("Duration::from_millis(");
        if !value.starts_with('|') && !time {
            return Err(format!("binds what is no closure: {}", line(rest)));
        }
        rest = statement(rest);
    }
    let call = rest.strip_prefix("unsafe {").map_or(rest, str::trim_start);
    let another = call.starts_with("mesh_gossip_");
    let constant = rest.starts_with("size_of::<")
        || rest.split('.').next().is_some_and(|name| {
            !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        });
    if another || constant || GUARDS.iter().any(|guard| call.starts_with(guard)) {
        // Nothing after it, either.
        return match statement(rest).trim_matches(['}', ' ', '\n']) {
            "" => Ok(()),
            after => Err(format!("goes on behind the guard: {}", line(after))),
        };
    }
    Err(format!("does this outside of the guard: {}", line(rest)))
}

/// What follows the first statement.
fn statement(text: &str) -> &str {
    let mut depth = 0_usize;
    for (at, letter) in text.char_indices() {
        match letter {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => return text[at + 1..].trim_start(),
            _ => {}
        }
    }
    ""
}

fn line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(body: &str) -> Result<(), String> {
        let source = format!(
            "pub unsafe extern \"C\" fn mesh_gossip_x(a: *const u8) -> usize {{\n    {body}\n}}\n"
        );
        let mut found = exports(&source);
        assert_eq!(found.len(), 1);
        found.remove(0).1
    }

    #[test]
    fn what_goes_through_the_guard_is_told_from_what_does_not() {
        for good in [
            "let body = |agent: &A| {\n        agent.stop();\n        Ok(())\n    };\n    \
             // SAFETY: promised.\n    unsafe { run_on(agent, err, body) }",
            "unsafe { guard::look_at(a, 0, |a| a.len) }",
            "unsafe { guard::free(a) }",
            "guard::look((), release);",
            "let timeout = Duration::from_millis(timeout_ms);\n    \
             unsafe { hand_out(agent, out, err, |agent| agent.peers_json(timeout)) }",
            "size_of::<Member>()",
            "VERSION.as_ptr()",
            "unsafe { mesh_gossip_agent_start_with(options, std::ptr::null(), out, err) }",
        ] {
            assert_eq!(verdict(good), Ok(()), "{good}");
        }
        for bad in [
            "unsafe { a.as_ref() }.map_or(0, |a| a.len)",
            "drop(unsafe { Box::from_raw(a) });",
            "let found = unsafe { a.as_ref() };\n    unsafe { guard::look_at(a, 0, |a| a.len) }",
            "if a.is_null() { panic!() }\n    unsafe { run_on(a, err, body) }",
            "let body = || Ok(());\n    unsafe { run(err, body) };\n    more();",
            "abi().unwrap()",
        ] {
            assert!(verdict(bad).is_err(), "{bad}");
        }
    }
}
