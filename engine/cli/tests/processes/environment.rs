//! One settings file for both lives of a node; what differs is its environment.

use serde_json::json;

use crate::stage::{Outcome, Process, Stage, until};

const NODE: &str = "environment-b";

/// Role, region and the gauge of the fan-out, as `node` is seen by `observer` and by itself.
fn seen(observer: &Process, node: &Process) -> Outcome<Option<(String, String, f64)>> {
    let Some(peer) = observer.peer(NODE)?.filter(|peer| peer["status"] == "Alive") else {
        return Ok(None);
    };
    assert_eq!(node.peers()?[0]["nodeId"], NODE, "the local member comes first");
    assert_eq!(node.peers()?[0]["metadata"]["role"], peer["metadata"]["role"]);
    let text = |key: &str| peer["metadata"][key].as_str().unwrap_or_default().to_owned();
    Ok(Some((text("role"), text("region"), node.metric("mesh_gossip_fanout")?)))
}

#[test]
fn variables_alone_change_role_region_and_fanout() -> Outcome {
    let stage = Stage::new("environment", "environment.local")?;
    let first = stage.settings("environment-a", "seed")?;
    let seed = format!("127.0.0.1:{}", first["port"]);
    let seed_file = stage.write("seed.json", &first)?;
    let mut settings = stage.settings(NODE, "worker")?;
    settings.insert("region".into(), json!("from-the-file"));
    settings.insert("seedPeers".into(), json!([seed]));
    let file = stage.write("node.json", &settings)?;

    let observer = stage.start(&seed_file, &[])?;
    let mut node = stage.start(&file, &[])?;
    let found = until("the node is Alive", || seen(&observer, &node))?;
    assert_eq!(found, ("worker".into(), "from-the-file".into(), 3.0), "as the file says");
    assert_eq!(node.terminate()?.code(), Some(0));
    until("the node has left", || {
        Ok(observer.peer(NODE)?.filter(|peer| peer["status"] == "Left").map(drop))
    })?;

    // A role stands in the certificate, so that another role needs another one.
    let gateway = stage.issue(NODE, "gateway")?;
    let path = |key: &str| gateway["tls"][key].as_str().unwrap_or_default().to_owned();
    let (certificate, key) = (path("certificatePath"), path("keyPath"));
    let environment = [
        ("MESH_GOSSIP_CERT_PATH", certificate.as_str()),
        // The file names the certificate too, and a longer root is the stronger one.
        ("MESH__GOSSIP__TLS__KEYPATH", &key),
        ("MESH__GOSSIP__ROLE", "gateway"),
        ("MESH__GOSSIP__REGION", "covered-by-the-next"),
        ("MESH_GOSSIP__REGION", "from-the-environment"),
        ("OMNIRELAY__MESH__GOSSIP__ADAPTIVEFANOUT", "false"),
        ("OMNIRELAY__MESH__GOSSIP__FANOUT", "7"),
    ];
    let node = stage.start(&file, &environment)?;
    let found = until("the node is Alive again", || seen(&observer, &node))?;
    assert_eq!(found, ("gateway".into(), "from-the-environment".into(), 7.0));
    Ok(())
}
