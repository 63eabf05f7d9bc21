//! What operators install: rules, dashboards, packages, manifests. Each is tried with the program
//! that reads it.

mod fleet;
mod guarded;
mod host;
mod kubernetes;
mod monitoring;
mod packages;
mod rules;
mod units;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of the repository.
fn of_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(of_repository(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The paths of a folder's files, from the repository's root.
fn files_in(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(of_repository(folder)).expect(folder);
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("a name");
    let mut files: Vec<String> = entries
        .map(|entry| format!("{folder}/{}", name(entry.expect("an entry"))))
        .collect();
    files.sort();
    files
}

/// The rules, a text for each file.
fn rules() -> Vec<String> {
    let files = files_in("deploy/prometheus/rules");
    files.iter().map(|file| read(file)).collect()
}

/// Every query of every dashboard, with the title of its panel.
fn dashboard_queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for file in files_in("deploy/grafana") {
        let dashboard: serde_json::Value = serde_json::from_str(&read(&file)).expect("JSON");
        for panel in dashboard["panels"].as_array().expect("panels") {
            let title = format!("{file}: {}", panel["title"]);
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().expect("a query");
                queries.push((title.clone(), query.to_owned()));
            }
        }
    }
    assert!(queries.len() > 50, "{}", queries.len());
    queries
}

/// The names of the metrics in METRICS.md.
fn catalogue() -> BTreeSet<String> {
    let page = read("METRICS.md");
    let names = page.lines().filter_map(|line| {
        let (name, _) = line.strip_prefix("| `")?.split_once('`')?;
        Some(name.to_owned())
    });
    names.collect()
}

/// What a command says, if it succeeds; a panic if not.
fn succeeds(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    said
}
