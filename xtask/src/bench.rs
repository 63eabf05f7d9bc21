//! `cargo xtask bench`: what the programs cost on this machine, written into `BENCHMARKS.md`.
//!
//! Here is what every bench shares: where it ran, and its section of the page. What is measured
//! stands in a file for each.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::workspace;

mod server;

/// What can be measured.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Bench {
    /// Resident memory of idle WebSockets, beside a plain axum server.
    Server(server::Options),
}

/// Measures, prints what was found, and writes it down.
///
/// # Errors
/// Something could not be built, started or measured, or a goal was missed.
pub(crate) fn bench(what: &Bench) -> Result<()> {
    match what {
        Bench::Server(options) => server::bench(options),
    }
}

/// Prints a section and puts it into the page, in the place of the one with the same `name`.
fn publish(name: &str, section: &str) -> Result<()> {
    println!("\n{section}");
    let page = workspace::root().join("BENCHMARKS.md");
    let former = match fs::exists(&page).context("look for BENCHMARKS.md")? {
        true => fs::read_to_string(&page).context("read BENCHMARKS.md")?,
        false => HEAD.to_owned(),
    };
    fs::write(&page, put(&former, name, section)).context("write BENCHMARKS.md")
}

const HEAD: &str = "# Benchmarks\n\n\
    What the programs cost. Each section is written by the command that it names.\n";

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
fn circumstances() -> String {
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
fn field(file: impl AsRef<Path>, key: &str) -> Option<String> {
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

    #[test]
    fn a_section_is_added_once_and_then_replaced() {
        let page = put(HEAD, "a", "one");
        let page = put(&page, "b", "two");
        let page = put(&page, "a", "three");
        let sections = "\n<!-- a -->\nthree\n<!-- /a -->\n\n<!-- b -->\ntwo\n<!-- /b -->\n";
        assert_eq!(page, format!("{HEAD}{sections}"));
    }
}
