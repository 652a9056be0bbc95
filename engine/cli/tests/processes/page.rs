//! The status page as a browser shows it.

use std::path::PathBuf;

use base64::Engine as _;
use serde_json::json;

use crate::browser::Browser;
use crate::stage::{Outcome, Process, Stage, skipped, until};

/// The status that the page shows of a node.
fn shown(browser: &mut Browser, node: &str) -> Outcome<String> {
    let row = format!("document.querySelector('tr[data-node={node}]')?.dataset.status ?? ''");
    Ok(browser.value(&row)?.as_str().unwrap_or_default().to_owned())
}

/// Three agents, one is killed: the page shows it, without being loaded again. Saves a picture of
/// the page where `MESH_GOSSIP_SCREENSHOT` names a file.
#[test]
fn the_status_page_shows_a_killed_agent_left_without_reload() -> Outcome {
    let Some(mut browser) = Browser::start()? else {
        skipped("chromium is not installed; the status page was not looked at");
        return Ok(());
    };
    let stage = Stage::new("page", "page.test")?;
    let mut seed = None;
    let mut start = |node: &str, role: &str| -> Outcome<Process> {
        let mut settings = stage.settings(node, role)?;
        let first = format!("127.0.0.1:{}", settings["port"]);
        settings.insert("seedPeers".into(), json!([seed.get_or_insert(first)]));
        settings.insert("region".into(), json!("eu-north"));
        stage.start(&stage.write(&format!("{node}.json"), &settings)?, &[])
    };
    let (watched, _second) = (start("page-a", "dispatcher")?, start("page-b", "gateway")?);
    let killed = start("page-c", "worker")?;
    browser.open(&watched.control)?;
    for node in ["page-a", "page-b", "page-c"] {
        until("the page shows everybody alive", || {
            Ok((shown(&mut browser, node)? == "Alive").then_some(()))
        })?;
    }
    browser.value("window.loadedOnce = true")?;
    killed.kill()?;
    until("the page shows the killed agent Left", || {
        Ok((shown(&mut browser, "page-c")? == "Left").then_some(()))
    })?;
    assert_eq!(browser.value("window.loadedOnce")?, true, "without a reload");
    let text = |browser: &mut Browser, id: &str| -> Outcome<String> {
        let told = browser.value(&format!("document.getElementById('{id}').textContent"))?;
        Ok(told.as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(text(&mut browser, "link")?, "live");
    assert_eq!(text(&mut browser, "name")?, "page-a");
    assert_eq!(text(&mut browser, "left")?, "1");
    let log = text(&mut browser, "log")?;
    assert!(log.contains("page-c") && log.contains("Left (failed)"), "{log}");
    // Figures come by the metrics, every few seconds.
    for id in ["agreement", "votes", "tests", "expiry"] {
        until("the page shows the metrics", || Ok((text(&mut browser, id)? != "–").then_some(())))?;
    }
    until("round trips are shown", || {
        let measured = "document.querySelector('tr[data-node=page-b] td.number').textContent";
        Ok(browser.value(measured)?.as_str().filter(|rtt| rtt.ends_with(" ms")).map(drop))
    })?;
    if let Some(file) = std::env::var_os("MESH_GOSSIP_SCREENSHOT") {
        let picture = browser.call("Page.captureScreenshot", &json!({ "format": "png" }))?;
        let bytes = picture["data"].as_str().ok_or("no picture")?;
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(bytes)
            .map_err(|error| error.to_string())?;
        std::fs::write(PathBuf::from(file), bytes)?;
    }
    Ok(())
}
