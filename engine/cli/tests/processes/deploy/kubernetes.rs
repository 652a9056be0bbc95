//! The Kubernetes manifests, without a cluster: what they name exists, the settings in them hold,
//! and the commands in them are answered by an agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::container::{agent_with_socket, asked};
use super::yaml;
use crate::stage::{Outcome, Stage, omnirelay, skipped, stderr, stdout};

/// Goodbye and air, beside the drain.
const GOODBYE_SECONDS: u64 = 10;

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy/kubernetes")
}

/// Every object of the directory, by file.
fn objects() -> Outcome<Vec<(String, Value)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        let name = path.file_name().ok_or("a file without name")?.to_string_lossy().into_owned();
        if name.ends_with(".yaml") {
            let text = fs::read_to_string(&path)?;
            let documents = yaml::documents(&text).map_err(|error| format!("{name}: {error}"))?;
            found.extend(documents.into_iter().map(|object| (name.clone(), object)));
        }
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// Patches and further resources are for whoever wants them.
fn is_for_everybody(file: &str) -> bool {
    !file.ends_with(".patch.yaml") && !file.ends_with(".option.yaml")
}

fn of_kind(objects: &[(String, Value)], kind: &str) -> Outcome<Value> {
    let whole = objects.iter().filter(|(file, _)| is_for_everybody(file));
    let mut found = whole.filter(|(_, object)| object["kind"] == kind);
    let (_, object) = found.next().ok_or_else(|| format!("no {kind}"))?;
    assert!(found.next().is_none(), "several objects of kind {kind}");
    Ok(object.clone())
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn names(value: &Value) -> BTreeSet<&str> {
    list(value).iter().filter_map(|item| item["name"].as_str()).collect()
}

/// Containers of the pod, the initial ones first.
fn containers(pod: &Value) -> Vec<&Value> {
    list(&pod["initContainers"]).iter().chain(list(&pod["containers"])).collect()
}

fn command(probe: &Value) -> Outcome<Vec<&str>> {
    let words: Vec<&str> =
        list(&probe["exec"]["command"]).iter().filter_map(Value::as_str).collect();
    if words.is_empty() { Err(format!("no command in {probe}").into()) } else { Ok(words) }
}

#[test]
fn manifests_are_complete_and_listed() -> Outcome {
    let objects = objects()?;
    let listed = of_kind(&objects, "Kustomization")?;
    let listed: BTreeSet<&str> =
        list(&listed["resources"]).iter().filter_map(Value::as_str).collect();
    let versions = [
        ("ConfigMap", "v1"),
        ("Service", "v1"),
        ("ServiceAccount", "v1"),
        ("StatefulSet", "apps/v1"),
        ("PodDisruptionBudget", "policy/v1"),
        ("NetworkPolicy", "networking.k8s.io/v1"),
    ];
    for (kind, version) in versions {
        assert_eq!(of_kind(&objects, kind)?["apiVersion"], version, "{kind}");
    }
    for (file, object) in objects.iter().filter(|(_, object)| object["kind"] != "Kustomization") {
        if !is_for_everybody(file) {
            let readme = fs::read_to_string(directory().join("README.md"))?;
            assert!(readme.contains(&format!("`{file}`")), "{file} is not told of");
            continue;
        }
        assert!(listed.contains(file.as_str()), "{file} is not in kustomization.yaml");
        assert!(object["metadata"]["name"].is_string(), "{file}: an object without a name");
        let kind = object["kind"].as_str().ok_or("an object without a kind")?;
        assert!(versions.iter().any(|(known, _)| *known == kind), "{kind} is not checked here");
    }
    Ok(())
}

/// Selectors find the pods, ports meet, volumes are there, and what is not in the files is in the README.
#[test]
fn what_manifests_name_exists() -> Outcome {
    let objects = objects()?;
    let (set, service) = (of_kind(&objects, "StatefulSet")?, of_kind(&objects, "Service")?);
    let (template, pod) = (&set["spec"]["template"], &set["spec"]["template"]["spec"]);
    let labels = &template["metadata"]["labels"];
    let policy = of_kind(&objects, "NetworkPolicy")?;
    let budget = of_kind(&objects, "PodDisruptionBudget")?;
    for selector in [
        &set["spec"]["selector"]["matchLabels"],
        &service["spec"]["selector"],
        &policy["spec"]["podSelector"]["matchLabels"],
        &budget["spec"]["selector"]["matchLabels"],
    ] {
        assert_eq!(selector, labels);
    }
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    let headless = json!({"clusterIP": "None", "publishNotReadyAddresses": true});
    for (key, value) in headless.as_object().ok_or("an object")? {
        assert_eq!(&service["spec"][key], value, "seeds are found before they are ready");
    }
    let account = of_kind(&objects, "ServiceAccount")?;
    assert_eq!(pod["serviceAccountName"], account["metadata"]["name"]);

    let agent = &pod["containers"][0];
    let ports = |ports: &Value, number: &str| -> BTreeSet<(String, String, u64)> {
        let read = |port: &Value| {
            let text = |key: &str| port[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("protocol"), port[number].as_u64().unwrap_or_default())
        };
        list(ports).iter().map(read).collect()
    };
    let served = ports(&agent["ports"], "containerPort");
    assert_eq!(served, ports(&service["spec"]["ports"], "port"));
    assert_eq!(served.iter().map(|port| port.2).collect::<BTreeSet<_>>().len(), 1);

    let mut volumes = names(&pod["volumes"]);
    let claims = list(&set["spec"]["volumeClaimTemplates"]).iter();
    volumes.extend(claims.filter_map(|claim| claim["metadata"]["name"].as_str()));
    for container in containers(pod) {
        for volume in names(&container["volumeMounts"]) {
            assert!(volumes.contains(volume), "no volume {volume}");
        }
    }
    let readme = fs::read_to_string(directory().join("README.md"))?;
    for volume in list(&pod["volumes"]) {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            assert_eq!(of_kind(&objects, "ConfigMap")?["metadata"]["name"], name);
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            assert!(readme.contains(&format!("create secret generic {name}")), "{name}");
        }
    }
    Ok(())
}

/// Ways of one policy in one direction, as protocol and port.
fn ways(policy: &Value, direction: &str) -> BTreeSet<(String, u64)> {
    let rules = list(&policy["spec"][direction]).iter();
    let ports = rules.flat_map(|rule| list(&rule["ports"]));
    let read = |port: &Value| {
        let protocol = port["protocol"].as_str().unwrap_or_default().to_owned();
        (protocol, port["port"].as_u64().unwrap_or_default())
    };
    ports.map(read).collect()
}

/// What the README says of metrics is what the policies let through, no more and no less, and whoever
/// comes to the control port from elsewhere finds it under mutual TLS.
#[test]
fn policies_let_through_what_the_readme_says() -> Outcome {
    let objects = objects()?;
    let named = |file: &str, kind: &str| -> Outcome<Value> {
        let mut found =
            objects.iter().filter(|(from, object)| from == file && object["kind"] == kind);
        Ok(found.next().ok_or_else(|| format!("no {kind} in {file}"))?.1.clone())
    };
    let set = |ways: &[(&str, u64)]| -> BTreeSet<(String, u64)> {
        ways.iter().map(|(protocol, port)| ((*protocol).to_owned(), *port)).collect()
    };
    let gossip = [("UDP", 17_421), ("TCP", 17_421)];
    let base = named("policies.yaml", "NetworkPolicy")?;
    assert_eq!(ways(&base, "ingress"), set(&gossip), "the control port is nobody's");
    let out = [&gossip[..], &[("UDP", 53), ("TCP", 53), ("TCP", 17_420)]].concat();
    assert_eq!(ways(&base, "egress"), set(&out));

    let readme = fs::read_to_string(directory().join("README.md"))?.replace("\n  ", " ");
    let writes = named("remote-write.option.yaml", "NetworkPolicy")?;
    let scrape = named("scrape.option.yaml", "NetworkPolicy")?;
    for (policy, direction, other, peer, said) in [
        (&writes, "egress", "ingress", "to", "lets the pods out to TCP 9090"),
        (&scrape, "ingress", "egress", "from", "lets those pods in to TCP 8080"),
    ] {
        assert_eq!(policy["spec"]["podSelector"], base["spec"]["podSelector"]);
        assert!(policy["spec"].get(other).is_none(), "one direction: {policy}");
        let rule = &policy["spec"][direction][0];
        assert_eq!(
            rule[peer][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"],
            "prometheus"
        );
        let (_, port) = said.rsplit_once(' ').ok_or("a port")?;
        assert_eq!(ways(policy, direction), set(&[("TCP", port.parse()?)]));
        assert!(readme.contains(said), "the README does not say: {said}");
    }
    assert!(readme.contains("labelled `app.kubernetes.io/name: prometheus`"));

    // The settings of the ConfigMap stay on loopback; those of the patch hold, and serve under TLS.
    let map = of_kind(&objects, "ConfigMap")?;
    let text = map["data"]["node.json"].as_str().ok_or("settings")?;
    let stage = tempfile::tempdir()?;
    let path = stage.path().join("node.json");
    fs::write(&path, text)?;
    let patch = named("scrape.patch.yaml", "StatefulSet")?;
    let agent = &patch["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(agent["name"], "agent");
    let shown = |variables: &[Value]| -> Outcome<std::process::Output> {
        let mut command = omnirelay(stage.path());
        command.args(["mesh", "config", "check", "--config"]).arg(&path);
        command.env("MESH__GOSSIP__TLS__CERTIFICATEPATH", "/var/lib/mesh-gossip/tls/a.pem");
        for variable in variables {
            let part = |key: &str| variable[key].as_str().ok_or_else(|| format!("no {key}"));
            command.env(part("name")?, part("value")?);
        }
        Ok(command.output()?)
    };
    let variables = list(&agent["env"]);
    assert_eq!(shown(variables)?.status.code(), Some(0));
    let without = shown(&variables[..1])?;
    assert_eq!(without.status.code(), Some(1), "off loopback without TLS");
    assert!(stdout(&without).contains("mutual TLS"), "{}", stdout(&without));
    Ok(())
}

#[test]
fn pods_have_no_more_rights_than_they_need() -> Outcome {
    let set = of_kind(&objects()?, "StatefulSet")?;
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["enableServiceLinks"], false);
    assert!(pod["securityContext"]["seccompProfile"]["type"].is_string());
    for container in containers(pod) {
        let (name, rights) = (&container["name"], &container["securityContext"]);
        assert_eq!(rights["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(rights["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(rights["capabilities"]["drop"], json!(["ALL"]), "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
        assert!(container["resources"]["limits"].get("cpu").is_none(), "{name} is throttled");
    }
    Ok(())
}

/// The settings of the ConfigMap, with the variables that a pod has: what an agent would take.
#[test]
fn the_embedded_settings_hold() -> Outcome {
    let objects = objects()?;
    let set = of_kind(&objects, "StatefulSet")?;
    let pod = &set["spec"]["template"]["spec"];
    let map = of_kind(&objects, "ConfigMap")?;
    let agent = &pod["containers"][0];
    let arguments: Vec<&str> = list(&agent["args"]).iter().filter_map(Value::as_str).collect();
    let file = arguments.last().and_then(|path| path.strip_prefix("/etc/mesh-gossip/"));
    let file = file.ok_or("the agent reads a file of the ConfigMap")?;
    assert_eq!(arguments[..3], ["mesh", "agent", "--config"]);
    let stage = tempfile::tempdir()?;
    let path = stage.path().join(file);
    fs::write(&path, map["data"][file].as_str().ok_or("no such file in the ConfigMap")?)?;
    let shown = |verb: &str| -> Outcome<std::process::Output> {
        let mut command = omnirelay(stage.path());
        command.args(["mesh", "config", verb, "--config"]).arg(&path).arg("--json");
        for variable in list(&agent["env"]) {
            let name = variable["name"].as_str().ok_or("a variable without name")?;
            let field = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str();
            let value = match (variable["value"].as_str(), field) {
                (Some(text), _) => text.replace("$(POD_NAME)", "mesh-gossip-0"),
                (None, Some("status.podIP")) => "10.1.2.3".to_owned(),
                (None, Some("metadata.name")) => "mesh-gossip-0".to_owned(),
                (None, Some("spec.nodeName")) => "node-a".to_owned(),
                (None, other) => return Err(format!("{name} comes from {other:?}").into()),
            };
            command.env(name, value);
        }
        Ok(command.output()?)
    };
    let checked = shown("check")?;
    assert_eq!(checked.status.code(), Some(0), "{}{}", stdout(&checked), stderr(&checked));
    let all = stdout(&shown("show")?);
    for value in [
        "mesh-gossip-0",
        "10.1.2.3",
        "/var/lib/mesh-gossip/tls/mesh-gossip-0.pem",
        "/var/lib/mesh-gossip/tls/mesh-gossip-0.key",
        "mesh-gossip-seeds:17421",
        "node-a",
    ] {
        assert!(all.contains(value), "{value} is not in {all}");
    }
    // What the settings name is where a volume is.
    let mounts: Vec<&str> = list(&agent["volumeMounts"])
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    for word in all.split('"').filter(|word| word.starts_with('/')) {
        assert!(mounts.iter().any(|mount| word.starts_with(mount)), "{word} is on no volume");
    }
    Ok(())
}

/// Probes and the hook before the end are commands of this build, and an agent answers them as a kubelet wants.
#[test]
fn an_agent_answers_the_probes_and_drains_before_it_ends() -> Outcome {
    let set = of_kind(&objects()?, "StatefulSet")?;
    let pod = &set["spec"]["template"]["spec"];
    let agent = &pod["containers"][0];
    let stage = Stage::new("probed", "probed.test")?;
    let (_running, socket) = agent_with_socket(&stage, "probed-a")?;
    for kind in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let probe = &agent[kind];
        let output = asked(&stage, &command(probe)?, &socket)?.output()?;
        assert_eq!(output.status.code(), Some(0), "{kind}: {}", stderr(&output));
        let within = probe["timeoutSeconds"].as_u64().ok_or("no limit")?;
        let words = command(probe)?;
        let own = words.last().and_then(|word| word.strip_suffix('s')).ok_or("no --timeout")?;
        assert!(own.parse::<u64>()? < within, "{kind}: the command ends before it is ended");
    }
    let hook = command(&agent["lifecycle"]["preStop"])?;
    let output = asked(&stage, &hook, &socket)?.output()?;
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let drains: u64 =
        hook.last().and_then(|word| word.strip_suffix('s')).ok_or("no --timeout")?.parse()?;
    let grace = pod["terminationGracePeriodSeconds"].as_u64().ok_or("no grace")?;
    assert!(grace >= drains + GOODBYE_SECONDS, "{grace} s for a drain of {drains} s");
    let ready = asked(&stage, &command(&agent["readinessProbe"])?, &socket)?.output()?;
    assert_eq!(ready.status.code(), Some(1), "a pod that drains is given no work");
    let alive = asked(&stage, &command(&agent["livenessProbe"])?, &socket)?.output()?;
    assert_eq!(alive.status.code(), Some(0), "a pod that drains is not killed for it");
    Ok(())
}

/// The first container joins with the command's own options.
#[test]
fn the_join_names_options_that_exist() -> Outcome {
    let set = of_kind(&objects()?, "StatefulSet")?;
    let join = &set["spec"]["template"]["spec"]["initContainers"][0];
    let script = join["args"][0].as_str().ok_or("no script")?;
    let stage = tempfile::tempdir()?;
    let output = omnirelay(stage.path()).args(["mesh", "bootstrap", "join", "--help"]).output()?;
    let help = stdout(&output);
    let options: Vec<&str> =
        script.split_whitespace().filter(|word| word.starts_with("--")).collect();
    assert!(options.len() >= 5, "{script}");
    for option in options {
        assert!(help.contains(option), "{option} is no option of join");
    }
    let checked = Command::new("sh").args(["-n", "-c", script]).status()?;
    assert!(checked.success(), "{script}");
    Ok(())
}

/// As `kubectl apply -k` would send them, the patch that allows rings included.
#[test]
fn kubectl_builds_the_manifests() -> Outcome {
    let Ok(output) = Command::new("kubectl").arg("kustomize").arg(directory()).output() else {
        skipped("kubectl is not installed; the manifests were read without it");
        return Ok(());
    };
    assert!(output.status.success(), "{}", stderr(&output));
    let built = yaml::documents(&stdout(&output))?;
    assert!(built.iter().all(|object| object["metadata"]["namespace"] == "mesh"));
    let whole = objects()?.iter().filter(|(file, _)| is_for_everybody(file)).count();
    assert_eq!(built.len(), whole - 1, "all but the list itself");

    let stage = tempfile::tempdir()?;
    for entry in fs::read_dir(directory())? {
        let path = entry?.path();
        fs::copy(&path, stage.path().join(path.file_name().ok_or("a name")?))?;
    }
    let list = stage.path().join("kustomization.yaml");
    let text = fs::read_to_string(&list)?
        + "  - remote-write.option.yaml\n  - scrape.option.yaml\n"
        + "patches:\n  - path: io-uring.patch.yaml\n  - path: scrape.patch.yaml\n";
    fs::write(&list, text)?;
    let output = Command::new("kubectl").arg("kustomize").arg(stage.path()).output()?;
    assert!(output.status.success(), "{}", stderr(&output));
    let built = yaml::documents(&stdout(&output))?;
    let set = built.iter().find(|object| object["kind"] == "StatefulSet").ok_or("no set")?;
    let profile = &set["spec"]["template"]["spec"]["securityContext"]["seccompProfile"];
    assert_eq!(profile, &json!({"type": "Localhost", "localhostProfile": "mesh-gossip.json"}));
    assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["name"], "agent");
    let policies = built.iter().filter(|object| object["kind"] == "NetworkPolicy");
    assert_eq!(policies.count(), 3);
    Ok(())
}
