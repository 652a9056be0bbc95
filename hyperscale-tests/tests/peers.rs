//! Ours beside others on one network, few and for a short time. Whoever is not there is left out with the
//! reason; whoever is ahead decides nothing here.

use std::process::Command;

use serde_json::Value;

const MEMBERS: u64 = 5;

#[test]
fn everybody_plays_or_is_left_out_with_the_reason() {
    let flags = "peers --nodes 5 --loss 30% --settle-s 3 --idle-s 3 --window-s 10 --json";
    let mut command = Command::new(env!("CARGO_BIN_EXE_hyperscale"));
    let output = command.args(flags.split_whitespace()).output().expect("it runs");
    let (text, said) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{said}");
    let last = text.lines().last().unwrap_or_default();
    let report: Value =
        serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {text}"));
    let list = |name: &str| report[name].as_array().cloned().unwrap_or_default();
    assert!(list("players").len() + list("left_out").len() >= 5, "{report}");
    for left in list("left_out") {
        println!("left out: {left}");
        assert!(said.contains(left[1].as_str().expect("a reason")), "{said}");
    }
    for player in list("players") {
        let (version, parameters) = (&player["version"], &player["parameters"]);
        assert!(version.as_str().is_some_and(|text| !text.is_empty()), "{player}");
        assert!(parameters.as_str().is_some_and(|text| !text.is_empty()), "{player}");
    }
    let rows = list("rows");
    if cfg!(feature = "peers") {
        assert!(rows.len() >= 4, "ours and the crates: {said}");
    }
    assert_eq!(rows.len(), list("players").len(), "a mesh each: {report}");
    for row in &rows {
        assert_eq!((&row["complete"], &row["dropped"]), (&MEMBERS.into(), &0.into()), "{row}");
        assert!(row["bytes_per_node_s"].as_f64().is_some_and(|bytes| bytes > 0.0), "{row}");
        assert!(row["proportional_bytes"].as_f64().is_some_and(|bytes| bytes > 0.0), "{row}");
        let lossy = &row["deaths"][1];
        assert!(lossy["lost"].as_u64().is_some_and(|lost| lost > 0), "{row}");
    }
    let ours = rows.iter().find(|row| row["kind"] == "ours").expect("ours plays everywhere");
    assert_eq!((&ours["complete"], &ours["nodes"]), (&MEMBERS.into(), &MEMBERS.into()), "{ours}");
    let calm = &ours["deaths"][0];
    assert_eq!((&calm["learned"], &calm["of"]), (&4.into(), &4.into()), "{ours}");
    assert_eq!((&calm["false_deaths"], &calm["lost"]), (&0.into(), &0.into()), "{ours}");
    assert!(text.contains("Where ours is behind"), "{text}");
}
