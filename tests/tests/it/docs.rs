//! The documentation, as far as it can be tried: its configurations are configurations.

use std::fs;
use std::path::{Path, PathBuf};

use tests::process::Process;

use crate::liars::BOUND;

/// The pages that users read.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("read docs") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The blocks of a page that are marked with `language`.
pub(crate) fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let start = format!("```{language}\n");
    let rest = page.split(start.as_str()).skip(1);
    rest.map(|rest| rest.split_once("```").expect("an end").0)
        .collect()
}

#[test]
fn every_liar_is_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_to_string(root.join("docs/DRIFT.md")).expect("the docs");
    for entry in fs::read_dir(root.join("tests/src/bin/liar")).expect("the liars") {
        let path = entry.expect("a liar").path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // The program, those without a bug of their own, and one that is right about the sockets.
        if !matches!(&*name, "main" | "to_order" | "honest_endings" | "half_open") {
            assert!(docs.contains(&format!("| `{name}` |")), "no row of {name}");
        }
    }
}

#[tokio::test]
async fn every_configuration_in_the_docs_is_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut checked = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("read a page");
        for block in blocks(&text, "toml") {
            let file = folder.path().join("observer.toml");
            fs::write(&file, block).expect("write it");
            let file = file.display().to_string();
            let arguments = ["config", "check", "--config", &file];
            let mut observer = Process::spawn("observer", arguments).expect("start");
            let status = observer.wait_for_exit(BOUND).await.expect("it ends");
            let log = observer.log();
            assert!(status.success(), "{}: {log}\n{block}", page.display());
            checked += 1;
        }
    }
    // One for each guide at least.
    assert!(checked >= 6, "{checked} configurations");
}
