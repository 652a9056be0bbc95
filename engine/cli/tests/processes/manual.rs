//! Completions and manual pages know every command.

use std::process::Command;

use crate::stage::{Outcome, omnirelay, skipped, stderr, stdout};

#[test]
fn completions_are_made_for_every_shell() -> Outcome {
    let home = tempfile::tempdir()?;
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = omnirelay(home.path()).args(["completions", shell]).output()?;
        assert_eq!(output.status.code(), Some(0), "{shell}: {}", stderr(&output));
        for word in ["bootstrap", "force-leave", "schema"] {
            assert!(stdout(&output).contains(word), "{shell} does not know {word}");
        }
    }
    let output = omnirelay(home.path()).args(["completions", "telepathy"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    Ok(())
}

/// What the shell itself makes of the script.
#[test]
fn bash_completes_a_verb() -> Outcome {
    let home = tempfile::tempdir()?;
    let script = omnirelay(home.path()).args(["completions", "bash"]).output()?;
    std::fs::write(home.path().join("script"), &script.stdout)?;
    let program = "source ./script && COMP_WORDS=(omnirelay mesh config sc) COMP_CWORD=3 && \
                   _omnirelay omnirelay sc config && echo \"${COMPREPLY[@]}\"";
    let bash = Command::new("bash").current_dir(home.path()).args(["-c", program]).output();
    let Ok(output) = bash else {
        skipped("bash");
        return Ok(());
    };
    assert_eq!(stdout(&output).trim(), "schema", "{}", stderr(&output));
    Ok(())
}

#[test]
fn there_is_a_page_for_every_command() -> Outcome {
    let home = tempfile::tempdir()?;
    let output = omnirelay(home.path()).arg("man").output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains(".TH omnirelay 1"), "{}", stdout(&output));
    let output = omnirelay(home.path()).args(["man", "--out", "."]).output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for page in ["omnirelay", "omnirelay-mesh-agent", "omnirelay-mesh-config-check"] {
        let text = std::fs::read_to_string(home.path().join(format!("{page}.1")))?;
        assert!(text.contains(".SH NAME"), "{page}: {text}");
    }
    let output = omnirelay(home.path()).args(["man", "--out", "nowhere"]).output()?;
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a directory that exists"), "{}", stderr(&output));
    Ok(())
}
