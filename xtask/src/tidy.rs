//! Rules that no compiler checks: of files, crates and what must not be committed.
//!
//! `cargo xtask test` and a test below ask for the findings; there are none in a tidy tree. It looks
//! at text only and knows nothing of what the code does.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::imports;

/// The longest source file, its tests not counted.
const LINE_LIMIT: usize = 400;

/// Folders that hold nothing written by hand.
const SKIPPED: &[&str] = &[".git", "target", "node_modules", "data"];

/// What is text and committed.
const TEXT: &[&str] = &[
    "css", "html", "js", "json", "lock", "md", "rs", "rules", "service", "sh", "sql", "toml",
    "yaml", "yml",
];

/// Crates whose files may still use each other in circles, and why. One that has none any more is a
/// finding too, so that the list only gets shorter.
const CIRCULAR: &[(&str, &str)] = &[
    (
        "observer/src",
        "the parts of `watch`, `probe`, `config`, `tui/view` and `api` use what their module keeps",
    ),
    (
        "xtask/src",
        "the parts of `bench` and `setup` use what their module keeps",
    ),
];

/// Everything untidy below `root`, a line each.
pub(crate) fn findings(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    let mut findings = circles(root, &files, CIRCULAR)?;
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            findings.push(format!("{}: is not UTF-8", file.display()));
            continue;
        };
        let name = file.strip_prefix(root).unwrap_or(&file);
        let mut found = of_file(name, &text);
        if name.extension() == Some(OsStr::new("md")) {
            found.extend(dangling_links(&text, &|target| {
                links_to(root, name, target)
            }));
        }
        findings.extend(
            found
                .into_iter()
                .map(|found| format!("{}: {found}", name.display())),
        );
    }
    Ok(findings)
}

/// Circles of imports in every crate of the tree.
fn circles(root: &Path, files: &[PathBuf], excused: &[(&str, &str)]) -> Result<Vec<String>> {
    let mut crates: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
    let is_root = |folder: &&Path| {
        let mut roots = ["lib.rs", "main.rs"]
            .map(|root| folder.join(root))
            .into_iter();
        roots.any(|root| files.binary_search(&root).is_ok())
    };
    for file in files
        .iter()
        .filter(|file| file.extension() == Some(OsStr::new("rs")))
    {
        // Each file in `bin` is a crate by itself.
        if file.parent().and_then(Path::file_name) != Some(OsStr::new("bin"))
            && let Some(folder) = file.ancestors().skip(1).find(is_root)
        {
            crates.entry(folder).or_default().push(file.clone());
        }
    }
    let name = |file: &Path| {
        file.strip_prefix(root)
            .unwrap_or(file)
            .display()
            .to_string()
    };
    let mut findings = Vec::new();
    for (folder, files) in crates {
        let circles = imports::circles(folder, &files)?;
        if let Some((folder, _)) = excused.iter().find(|(excused, _)| *excused == name(folder)) {
            if circles.is_empty() {
                findings.push(format!(
                    "{folder} has no circle any more: take it off the list"
                ));
            }
            continue;
        }
        for circle in circles {
            let circle: Vec<String> = circle.iter().map(|file| name(file)).collect();
            findings.push(format!("{} use each other in a circle", circle.join(", ")));
        }
    }
    Ok(findings)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", folder.display()))?;
        let (path, name) = (entry.path(), entry.file_name());
        let kind = entry.file_type().context("ask for a file's type")?;
        if kind.is_dir() {
            if !SKIPPED.iter().any(|skipped| name == *skipped) {
                collect(&path, files)?;
            }
        } else if kind.is_file() && is_text(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> bool {
    // Scripts in `.ci` have no extension.
    path.extension().map_or_else(
        || path.parent().and_then(Path::file_name) == Some(OsStr::new(".ci")),
        |extension| TEXT.iter().any(|text| extension == *text),
    )
}

fn of_file(name: &Path, text: &str) -> Vec<String> {
    let mut findings = machine_paths(text);
    match name.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => {
            if !text.starts_with("//!") {
                findings.push("does not open with what it knows (//!)".into());
            }
            // Integration tests, and a module's tests in a file of their own.
            let is_tests = name.starts_with("tests/tests") || name.ends_with("tests.rs");
            let length = length_without_tests(text);
            if length > LINE_LIMIT && !is_tests {
                findings.push(format!(
                    "{length} lines without tests; {LINE_LIMIT} are the limit"
                ));
            }
        }
        Some("toml") => {
            let is_crate = name.ends_with("Cargo.toml") && name.components().count() > 1;
            // A crate that is its own workspace cannot.
            let is_ours = is_crate && !text.contains("\n[workspace]\n");
            if is_ours && !text.contains("[lints]\nworkspace = true") {
                findings.push("does not take the workspace's lints".into());
            }
            findings.extend(registries(text));
        }
        Some("lock") => findings.extend(foreign_sources(text)),
        _ => {}
    }
    findings
}

/// Paths that exist on one machine only.
fn machine_paths(text: &str) -> Vec<String> {
    let paths = ["home", "root", "Users", "tmp/w", "work"].map(|folder| format!("/{folder}/"));
    numbered(text)
        .filter(|(_, line)| paths.iter().any(|path| is_absolute_in(line, path)))
        .map(|(number, _)| format!("line {number} has a machine's own path"))
        .collect()
}

/// Whether the path stands at the start of a word, and is not the middle of a longer one.
fn is_absolute_in(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|char| !(char.is_alphanumeric() || "./-_}~*".contains(char)))
    })
}

/// Settings that make cargo fetch from somewhere else than crates.io.
fn registries(text: &str) -> Vec<String> {
    let keys = ["registry", "replace-with", "index"];
    numbered(text)
        .filter(|(_, line)| {
            line.split_once('=')
                .is_some_and(|(key, _)| keys.contains(&key.trim()))
        })
        .map(|(number, _)| format!("line {number} names a registry"))
        .collect()
}

fn foreign_sources(lock: &str) -> Vec<String> {
    numbered(lock)
        .filter(|(_, line)| line.starts_with("source = ") && !line.contains("/crates.io-index"))
        .map(|(number, _)| format!("line {number} has a source other than crates.io"))
        .collect()
}

/// Links of a page to files that are not there; those to other hosts are not followed.
fn dangling_links(text: &str, is_there: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    let mut is_code = false;
    for (number, line) in numbered(text) {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        for (_, rest) in line
            .match_indices("](")
            .map(|(at, _)| line.split_at(at + 2))
        {
            let Some((target, _)) = rest.split_once(')') else {
                continue;
            };
            if !target.contains("://") && !is_there(target) {
                findings.push(format!(
                    "line {number} links to {target}, which is not there"
                ));
            }
        }
    }
    findings
}

/// Whether a link of the page `name` leads to a file, and to a heading of it where it says so.
fn links_to(root: &Path, name: &Path, target: &str) -> bool {
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let page = root.join(name);
    let file = match file {
        "" => page,
        file => page.parent().unwrap_or(root).join(file),
    };
    if heading.is_empty() {
        return file.exists();
    }
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    headings.any(|line| anchor(line) == heading)
}

/// What a heading is called in a link.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text
        .chars()
        .filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.collect::<String>().replace(' ', "-")
}

fn length_without_tests(text: &str) -> usize {
    text.lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count()
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, text: &str, expected: &[&str]) {
        assert_eq!(of_file(Path::new(name), text), expected);
    }

    #[test]
    fn the_tree_is_tidy() {
        let found = findings(crate::workspace::root()).expect("read the tree");
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    #[test]
    fn a_source_file_opens_with_what_it_knows() {
        check("a/src/b.rs", "//! Knows.\n", &[]);
        let expected = ["does not open with what it knows (//!)"];
        check("a/src/b.rs", "fn main() {}\n", &expected);
    }

    #[test]
    fn tests_do_not_count_as_length() {
        let long = format!("//! Knows.\n{}", "\n".repeat(400));
        let expected = ["401 lines without tests; 400 are the limit"];
        check("a/src/b.rs", &long, &expected);
        check("tests/tests/it/b.rs", &long, &[]);
        check("a/src/b/tests.rs", &long, &[]);
        let tested = format!("//! Knows.\n#[cfg(test)]\n{}", "\n".repeat(400));
        check("a/src/b.rs", &tested, &[]);
    }

    #[test]
    fn a_crate_takes_the_workspace_lints() {
        check("a/Cargo.toml", "[lints]\nworkspace = true\n", &[]);
        check("Cargo.toml", "[workspace]\n", &[]);
        let expected = ["does not take the workspace's lints"];
        check("a/Cargo.toml", "[package]\n", &expected);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for folder in ["home", "root", "work"] {
            let text = format!("see /{folder}/x\n");
            check("a.md", &text, &["line 1 has a machine's own path"]);
        }
        check("a.md", "the net/work/x and a~/root/x\n", &[]);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let there = |target: &str| target == "a.md";
        let text = "[a](a.md), [b](b.md) and [c](https://example.org)\n```\nx[0](y)\n```\n";
        let expected = ["line 1 links to b.md, which is not there"];
        assert_eq!(dangling_links(text, &there), expected);

        let root = crate::workspace::root();
        let leads = |target| links_to(root, Path::new("README.md"), target);
        assert!(leads("CONTRIBUTING.md") && leads("docs/guides") && leads("docs/LIMITS.md#bounds"));
        assert!(!leads("CONTRIBUTING") && !leads("docs/LIMITS.md#no-such-heading"));
        assert_eq!(
            anchor("## WebSockets over HTTP/2, at last"),
            "websockets-over-http2-at-last"
        );
    }

    #[test]
    fn circles_are_found_in_each_crate_that_is_not_excused() {
        let folder = tempfile::tempdir().expect("a folder");
        let sources = [
            ("a/src/lib.rs", "mod b; mod c; mod d;"),
            ("a/src/b.rs", "use crate::c::C;"),
            ("a/src/c.rs", "use crate::d::D;"),
            ("a/src/d.rs", "use crate::b::B;"),
            ("b/src/main.rs", "mod c;"),
            ("b/src/c.rs", "use crate::C;"),
        ];
        let mut files = Vec::new();
        for (name, text) in sources {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a parent")).expect("its folder");
            fs::write(&file, text).expect("write");
            files.push(file);
        }
        files.sort();
        let check = |excused: &[(&str, &str)], expected: &[&str]| {
            let found = circles(folder.path(), &files, excused).expect("read");
            assert_eq!(found, expected);
        };
        let circle = "a/src/c.rs, a/src/d.rs, a/src/b.rs use each other in a circle";
        check(&[], &[circle]);
        check(&[("a/src", "for this test")], &[]);
        let stale = "b/src has no circle any more: take it off the list";
        check(&[("b/src", "for this test")], &[circle, stale]);
    }

    #[test]
    fn other_registries_are_found() {
        check(
            ".cargo/config.toml",
            "registry = \"x\"\n",
            &["line 1 names a registry"],
        );
        let lock = "source = \"registry+https://example.org/index\"\n";
        check(
            "Cargo.lock",
            lock,
            &["line 1 has a source other than crates.io"],
        );
    }
}
