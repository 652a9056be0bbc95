//! Every command line of ours that stands in the documentation is one that the parser takes.
//!
//! Read are the shell blocks, and code in the text that begins with the program's name, where
//! `[…]` is what may be left out and `a|b` a choice: both of the one and all of the other must parse.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;

use crate::Cli;

/// A command line and where it stands.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    page: String,
    words: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Pages, manuals and unit files, but nothing that a build or an installation left there.
fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    const TEXTS: [&str; 4] = ["md", "service", "socket", "sh"];
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if !["target", "node_modules", ".git", ".venv"].contains(&name.as_str()) {
                pages(&path, found);
            }
        } else if path.extension().is_some_and(|kind| TEXTS.iter().any(|text| kind == *text)) {
            found.push(path);
        }
    }
}

/// Shell lines, with what continues them.
fn joined(text: &str) -> Vec<String> {
    text.replace("\\\n", " ").lines().map(str::to_owned).collect()
}

/// The words of a shell line; quotes hold together what they enclose.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for letter in line.chars() {
        match (quote, letter) {
            (Some(end), _) if letter == end => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (Some(_) | None, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

/// The command lines of our program among these words, from its name to the command's end.
fn commands(words: &[String]) -> Vec<Vec<String>> {
    let ends = |word: &str| {
        matches!(word, "|" | "||" | "&&" | ";" | "&" | ">" | ">>" | "2>") || word.ends_with(')')
    };
    let parts = words.split(|word| ends(word)).map(<[String]>::to_vec);
    let mut found = Vec::new();
    for part in parts {
        let own = |word: &String| {
            let name = word.trim_start_matches("$(").rsplit(['/', '=', '(']).next();
            name == Some("omnirelay")
        };
        let Some(at) = part.iter().position(own) else { continue };
        let mut line = part[at..].to_vec();
        line[0] = "omnirelay".into();
        // What a variable of the shell holds nobody knows; a fingerprint is the strictest.
        let variables = line.iter_mut().filter(|word| word.starts_with('$'));
        variables.for_each(|word| *word = "ab".repeat(32));
        // As cargo runs it: `--bin omnirelay -- mesh …`.
        if line.get(1).is_some_and(|word| word == "--") {
            line.remove(1);
        }
        // The name alone is a package or a program to install.
        if line.len() > 1 && ["mesh", "completions", "man"].contains(&line[1].as_str()) {
            found.push(line);
        }
    }
    found
}

/// What a synopsis stands for: with all that may be left out and without it, each choice.
fn meant(synopsis: &str) -> Vec<Vec<String>> {
    let (mut least, mut depth) = (String::new(), 0);
    for letter in synopsis.chars() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ if depth == 0 => least.push(letter),
            _ => {}
        }
    }
    let most = synopsis.replace(['[', ']'], "");
    let mut all = Vec::new();
    for text in [least, most] {
        let mut lines: Vec<Vec<String>> = vec![Vec::new()];
        for word in text.split_whitespace() {
            let with = |choice: &str| {
                let word = value(choice);
                lines
                    .iter()
                    .map(|line| [&line[..], std::slice::from_ref(&word)].concat())
                    .collect::<Vec<_>>()
            };
            lines = word.split('|').flat_map(with).collect();
        }
        all.extend(lines);
    }
    all
}

/// Something of the kind that a placeholder stands for.
fn value(word: &str) -> String {
    match word {
        "URL" => "http://127.0.0.1:8080".into(),
        "SHELL" => "bash".into(),
        "DURATION" => "3s".into(),
        other => other.into(),
    }
}

fn lines_of(page: &str, text: &str) -> BTreeSet<Line> {
    let mut found = BTreeSet::new();
    let mut enter = |words: Vec<String>| {
        found.insert(Line { page: page.into(), words });
    };
    let is_page = page.ends_with(".md");
    let (mut shell, mut other) = (!is_page, false);
    for line in joined(text) {
        if let Some(kind) = line.trim_start().strip_prefix("```").filter(|_| is_page) {
            (shell, other) = match (shell || other, kind) {
                (true, _) => (false, false),
                (false, "sh" | "bash" | "console") => (true, false),
                (false, _) => (false, true),
            };
        } else if shell {
            commands(&words(&line)).into_iter().for_each(&mut enter);
        } else if !other {
            let codes = line.split('`').skip(1).step_by(2);
            let ours = codes.filter(|code| code.contains("omnirelay "));
            let ours = ours.flat_map(meant).flat_map(|line| commands(&line));
            ours.for_each(&mut enter);
        }
    }
    found
}

/// A command line of a synopsis may lack what it needs; it may not have what is not there.
fn complaint(line: &Line) -> Option<clap::Error> {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
        MissingRequiredArgument, MissingSubcommand,
    };
    let error = Cli::command().try_get_matches_from(&line.words).err()?;
    let lacks = matches!(
        error.kind(),
        MissingRequiredArgument
            | MissingSubcommand
            | DisplayHelpOnMissingArgumentOrSubcommand
            | DisplayHelp
            | DisplayVersion
    );
    (!lacks).then_some(error)
}

#[test]
fn every_documented_command_line_parses() {
    let mut paths = Vec::new();
    for top in ["docs", "bindings"] {
        pages(&root().join(top), &mut paths);
    }
    paths.extend(["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|name| root().join(name)));
    let mut lines = BTreeSet::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        lines.extend(lines_of(&path.display().to_string(), &text));
    }
    let wrong: Vec<String> =
        lines.iter().filter_map(|line| Some(format!("{line:?}: {}", complaint(line)?))).collect();
    assert_eq!(wrong, Vec::<String>::new());
    assert!(lines.len() > 50, "only {} found: the search is broken", lines.len());
    let verbs: BTreeSet<&str> =
        lines.iter().filter_map(|line| Some(line.words.get(2)?.as_str())).collect();
    let mesh = Cli::command();
    let mesh = mesh.find_subcommand("mesh").unwrap();
    for verb in mesh.get_subcommands().map(clap::Command::get_name) {
        assert!(verbs.contains(verb), "no page shows `omnirelay mesh {verb}`");
    }
}

/// The page about mutual TLS names every verb that takes its options, and no other.
#[test]
fn the_control_page_names_the_verbs_that_speak_mutual_tls() {
    let takes = |verb: &clap::Command| {
        let own = |verb: &clap::Command| {
            let names = verb.get_arguments().filter_map(clap::Arg::get_long);
            let names: BTreeSet<&str> = names.collect();
            ["url", "certificate", "key", "ca", "crl", "expect"].iter().all(|n| names.contains(n))
        };
        own(verb) || verb.get_subcommands().any(own)
    };
    let cli = Cli::command();
    let mesh = cli.find_subcommand("mesh").unwrap();
    let speak: BTreeSet<&str> =
        mesh.get_subcommands().filter(|verb| takes(verb)).map(clap::Command::get_name).collect();
    let page = std::fs::read_to_string(root().join("docs/control.md")).unwrap();
    let (before, _) = page.split_once(" take these options").expect("the page tells who does");
    let sentence = before.rsplit("\n\n").next().unwrap_or_default();
    let told: BTreeSet<&str> = sentence.split('`').skip(1).step_by(2).collect();
    assert_eq!(told, speak);
}

#[test]
fn stale_flags_are_found_wherever_they_stand() {
    let found = |text: &str| -> Vec<String> {
        lines_of("page.md", text)
            .iter()
            .filter(|line| complaint(line).is_some())
            .map(|line| line.words.join(" "))
            .collect()
    };
    for good in [
        "```sh\nA=b omnirelay mesh peers list -u http://h:1 | sort # -x\n```",
        "`omnirelay mesh doctor [--config FILE] [--json]` and `omnirelay mesh upgrade status|drain`",
        "```text\nomnirelay mesh what\n```",
        "```sh\nx=$(omnirelay mesh bootstrap inspect ca | sed -n 's/a b//p') && echo 'omnirelay  mesh no'\n```",
    ] {
        assert_eq!(found(good), Vec::<String>::new(), "{good}");
    }
    for (bad, line) in [
        ("```sh\nomnirelay mesh demo \\\n  --nodse 3\n```", "omnirelay mesh demo --nodse 3"),
        ("```sh\ncargo run --bin omnirelay -- mesh damo\n```", "omnirelay mesh damo"),
        ("Use `omnirelay mesh upgrade status|dran`.", "omnirelay mesh upgrade dran"),
        ("Use `omnirelay mesh doctor [--jsn]`.", "omnirelay mesh doctor --jsn"),
    ] {
        assert_eq!(found(bad), [line], "{bad}");
    }
}
