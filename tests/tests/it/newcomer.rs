//! The newcomer's path: the commands of the README, as they stand there.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tests::foreign::installed;
use tests::kernel_or_skip;
use tests::port::free_address;
use tests::process::{Process, binary};

use crate::docs::blocks;
use crate::liars::foreign::is_here;

/// For a build of the programs that are built already, and a verdict.
const BOUND: Duration = Duration::from_secs(120);

/// What the tests put in the place of what a newcomer has: they install nothing, run what is built,
/// are root already, and take ports that are free.
fn adapt(line: &str, folder: &str, packages: &str, ports: [&str; 2]) -> Option<String> {
    if line == "cargo build --release --package observer" {
        return None;
    }
    let adapted = match line {
        // It fails where anything is missing that other tests need.
        "cargo xtask setup" => "cargo xtask setup --check || true".to_owned(),
        line => line.to_owned(),
    };
    let adapted = adapted
        .replace("sudo target/release", folder)
        .replace("~/.cache/plumbline/foreign", packages)
        .replace("3000", ports[0])
        .replace("9090", ports[1]);
    Some(adapted)
}

#[tokio::test]
async fn the_readme_leads_a_newcomer_to_a_verdict() {
    if !kernel_or_skip() || !is_here("python") {
        return;
    }
    if Command::new("curl").arg("--version").output().is_err() {
        tests::skip("needs curl");
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let (_, path) = readme.split_once("<!-- newcomer -->").expect("its begin");
    let (path, _) = path.split_once("<!-- /newcomer -->").expect("its end");
    let lines = blocks(path, "console").concat();
    let commands: Vec<&str> = lines
        .lines()
        .map(|line| line.strip_prefix("$ ").expect("a command"))
        .collect();
    assert!(commands.contains(&"cargo build --release --package observer"));

    let observer = binary("observer").expect("the observer");
    let folder = observer.parent().expect("its folder").display().to_string();
    let ports = [0, 1].map(|_| free_address().expect("a free port").port().to_string());
    let [public, metrics] = &ports;
    let packages = installed("").display().to_string();
    // The service ends with the shell.
    let mut script = "set -ex\ntrap 'kill $(jobs -p)' EXIT\n".to_owned();
    for command in commands {
        if let Some(command) = adapt(command, &folder, &packages, [public, metrics]) {
            script += &command;
            script.push('\n');
        }
    }
    let mut shell = Command::new("bash");
    let mut shell =
        Process::start(shell.args(["-c", &script]).current_dir(&root)).expect("start bash");
    let status = shell.wait_for_exit(BOUND).await.expect("it ends");
    let said = shell.stdout();
    assert!(status.success(), "{said}\n{}", shell.log());
    // What is needed and what is here, the gauge, and the verdict.
    for text in [
        "build-ebpf",
        "active_connections 0.0",
        "OBSERVER OK - ",
        "the gauge says 0, the kernel counts 0: they agree.",
    ] {
        assert!(said.contains(text), "no {text:?} in\n{said}");
    }
}
