//! The DaemonSet: what Kubernetes' schema says of it, and what it must not ask for.

use std::env;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use tests::process::binary;
use tests::skip;

use super::{of_repository, succeeds};

const MANIFEST: &str = "deploy/kubernetes/observer.yaml";

/// Versions that are maintained while this is written, the oldest and the newest.
const VERSIONS: [&str; 2] = ["1.30", "1.37"];

#[test]
fn the_manifest_is_valid() {
    let Some(validate) = validator() else {
        return;
    };
    for version in VERSIONS {
        let said = succeeds(
            Command::new(&validate)
                .args(["--strict", "-k", version])
                .arg(of_repository(MANIFEST)),
        );
        assert_eq!(said.matches(" passed ").count(), 3, "{said}");
    }
}

#[test]
fn the_container_has_the_three_capabilities_and_no_more() {
    let Some(documents) = documents() else {
        return;
    };
    let pod = &documents[2]["spec"]["template"]["spec"];
    assert_eq!(pod["hostPID"], false);
    let container = &pod["containers"][0];
    let security = &container["securityContext"];
    let capabilities = json!({"drop": ["ALL"], "add": ["BPF", "PERFMON", "NET_ADMIN"]});
    assert_eq!(security["capabilities"], capabilities);
    for (key, expected) in [
        ("privileged", false),
        ("allowPrivilegeEscalation", false),
        ("readOnlyRootFilesystem", true),
    ] {
        assert_eq!(security[key], expected, "{key}");
    }
    assert_eq!(container["ports"][0]["name"], "metrics");
    for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
        let get = json!({"path": path, "port": "metrics"});
        assert_eq!(container[probe]["httpGet"], get);
    }
}

#[test]
fn the_observer_accepts_the_configuration_of_the_config_map() {
    let Some(documents) = documents() else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("observer.toml");
    let text = documents[1]["data"]["observer.toml"]
        .as_str()
        .expect("a file");
    std::fs::write(&file, text).expect("write");
    let observer = binary("observer").expect("observer");
    let said = succeeds(
        Command::new(observer)
            .args(["config", "check", "--config"])
            .arg(&file),
    );
    assert_eq!(said, "ok: 1 target(s)\n");
}

/// `kubernetes-validate`, if it is installed; else the skip is recorded.
fn validator() -> Option<String> {
    let command = env::var("KUBERNETES_VALIDATE").ok();
    if command.is_none() {
        skip("KUBERNETES_VALIDATE names no command: cargo xtask test sets it");
    }
    command
}

/// The manifest's documents, as the validator's own YAML parser reads them.
fn documents() -> Option<Vec<Value>> {
    let validate = validator()?;
    let python = Path::new(&validate).with_file_name("python");
    let script =
        "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let text = succeeds(
        Command::new(python)
            .args(["-c", script])
            .arg(of_repository(MANIFEST)),
    );
    Some(serde_json::from_str(&text).expect("JSON"))
}
