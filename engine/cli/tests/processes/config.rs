//! `mesh config`: what is told of settings, and with which exit code.

use serde_json::{Value, json};

use crate::stage::{Outcome, Stage, omnirelay, stderr, stdout};

#[test]
fn a_check_tells_every_problem_with_its_line_and_its_fix() -> Outcome {
    let stage = Stage::new("checked", "checked.local")?;
    let mut settings = stage.settings("checked-a", "worker")?;
    let good = stage.write("good.json", &settings)?;
    let check = ["mesh", "config", "check", "--config"];
    let output = omnirelay(stage.home()).args(check).arg(&good).output()?;
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "the settings hold\n".into()));

    for (key, value) in [("port", json!(70_000)), ("fanuot", json!(3)), ("grace", json!("1ms"))] {
        settings.insert(key.into(), value);
    }
    let bad = stage.write("bad.json", &settings)?;
    let output = omnirelay(stage.home()).args(check).arg(&bad).output()?;
    assert_eq!(output.status.code(), Some(1));
    let told = stdout(&output);
    assert_eq!(told.lines().count(), 3, "{told}");
    for part in ["mesh:gossip:port = \"70000\" (", "mean mesh:gossip:fanout?", "100ms to 60s"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(stderr(&output).contains("3 problems"), "{}", stderr(&output));

    let output = omnirelay(stage.home())
        .args(check)
        .arg(&bad)
        .arg("--json")
        .env("MESH__GOSSIP__PORT", "x")
        .output()?;
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(document["ok"], false);
    let problems = document["problems"].as_array().ok_or("a list")?;
    let about = |key: &str| problems.iter().find(|problem| problem["key"] == key);
    let port = about("mesh:gossip:port").ok_or("the port is blamed")?;
    assert_eq!(
        (&port["value"], &port["origin"]["variable"]),
        (&"x".into(), &"MESH__GOSSIP__PORT".into())
    );
    let grace = about("mesh:gossip:grace").ok_or("the grace is blamed")?;
    assert_eq!(grace["origin"]["file"]["path"], *bad.to_string_lossy());
    assert!(grace["origin"]["file"]["line"].as_u64() > Some(1), "{grace}");
    assert!(grace["fix"].as_str().is_some_and(|fix| fix.contains("choose")), "{grace}");
    Ok(())
}

#[test]
fn show_tells_values_and_origins_and_no_secret() -> Outcome {
    let stage = Stage::new("shown", "shown.local")?;
    let mut settings = stage.settings("shown-a", "worker")?;
    settings.insert("region".into(), json!("eu-1"));
    let file = stage.write("node.json", &settings)?;
    let show = |more: &[&str]| {
        let mut command = omnirelay(stage.home());
        command.args(["mesh", "config", "show", "--config"]).arg(&file).args(more);
        command
            .env("MESH__GOSSIP__FANOUT", "7")
            .env("MESH_GOSSIP__TLS__CERTIFICATEPASSWORD", "hunter2");
        command.output()
    };
    let output = show(&["--origin"])?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let line = |key: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_default().to_owned()
    };
    let fanout = line("mesh:gossip:fanout");
    assert!(fanout.contains(" 7 "), "{fanout}");
    assert!(fanout.ends_with("environment variable MESH__GOSSIP__FANOUT"), "{fanout}");
    assert!(line("mesh:gossip:region").contains("node.json:"), "{text}");
    assert!(line("mesh:gossip:interval").ends_with("default"), "{text}");
    assert!(line("mesh:gossip:tls:certificatePassword").contains("(redacted)"), "{text}");
    assert!(!text.contains("hunter2"));

    let text = stdout(&show(&[])?);
    assert!(!text.contains("node.json") && !text.contains("hunter2"), "{text}");
    let document: Value = serde_json::from_slice(&show(&["--origin", "--json"])?.stdout)?;
    let list = document["settings"].as_array().ok_or("a list")?;
    let fanout =
        list.iter().find(|line| line["key"] == "mesh:gossip:fanout").ok_or("it is there")?;
    assert_eq!(fanout["origin"]["variable"], "MESH__GOSSIP__FANOUT");
    assert!(!document.to_string().contains("hunter2"));
    Ok(())
}

#[test]
fn the_schema_is_printed_as_it_is_published() -> Outcome {
    let home = tempfile::tempdir()?;
    let output = omnirelay(home.path()).args(["mesh", "config", "schema"]).output()?;
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let published = std::fs::read_to_string(docs.join("mesh-gossip.schema.json"))?;
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), published));
    Ok(())
}
