//! Pages of measurements that a task writes: a section for each, with where it was measured.
//!
//! What is measured, and what it means, is the task's business.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};

use crate::workspace;

/// A page at the workspace's root, and what it opens with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    /// The file's name.
    pub(crate) file: &'static str,
    /// What stands above the sections.
    pub(crate) head: &'static str,
}

impl Page {
    /// Prints a section and puts it into the page, in the place of the one with the same `name`.
    ///
    /// # Errors
    /// The page cannot be read or written.
    pub(crate) fn publish(&self, name: &str, section: &str) -> Result<()> {
        println!("\n{section}");
        let Self { file, head } = self;
        let page = workspace::root().join(file);
        let former = match fs::exists(&page).with_context(|| format!("look for {file}"))? {
            true => fs::read_to_string(&page).with_context(|| format!("read {file}"))?,
            false => (*head).to_owned(),
        };
        fs::write(&page, put(&former, name, section)).with_context(|| format!("write {file}"))
    }
}

fn put(page: &str, name: &str, section: &str) -> String {
    let (start, end) = (format!("<!-- {name} -->\n"), format!("<!-- /{name} -->\n"));
    let section = format!("{start}{}\n{end}", section.trim_end());
    let around = page
        .split_once(&start)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    match around {
        Some((before, after)) => format!("{before}{section}{after}"),
        None => format!("{page}\n{section}"),
    }
}

/// The machine, its kernel, the compiler and the commit, as one line.
pub(crate) fn circumstances() -> String {
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown CPU".into());
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib >> 20);
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy();
    let rustc = said(Command::new("rustc").arg("--version"));
    let commit = said(Command::new("git").current_dir(workspace::root()).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=10",
    ]));
    format!("{cpus} × {cpu}, {memory} GiB, Linux {kernel}, {rustc}, commit {commit}")
}

/// The value of the first line `key: value` of a file.
pub(crate) fn field(file: impl AsRef<Path>, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let mut pairs = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = pairs.find(|(found, _)| found.trim() == key)?;
    Some(value.trim().to_owned())
}

fn said(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout);
    String::from_utf8_lossy(&output.unwrap_or_default())
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# Measurements\n";

    #[test]
    fn a_section_is_added_once_and_then_replaced() {
        let page = put(HEAD, "a", "one");
        let page = put(&page, "b", "two");
        let page = put(&page, "a", "three");
        let sections = "\n<!-- a -->\nthree\n<!-- /a -->\n\n<!-- b -->\ntwo\n<!-- /b -->\n";
        assert_eq!(page, format!("{HEAD}{sections}"));
    }
}
