//! `cargo xtask campaign`: a long test in full, and what it came to, written into `CAMPAIGNS.md`.
//!
//! A campaign is a module of the integration tests in `tests/tests/it/campaigns/`: `cargo xtask test`
//! runs a share of it. What it claims stands there; here it is run, and its figures are kept.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::build_ebpf::build_ebpf;
use crate::page::{Page, circumstances};
use crate::setup::{self, Purpose};
use crate::{test, workspace};

const PAGE: Page = Page {
    file: "CAMPAIGNS.md",
    head: "# Campaigns\n\n\
        Long tests, run in full. Each section is written by `cargo xtask campaign NAME`, at the last\n\
        run; `cargo xtask test` runs a share of each.\n",
};

/// The campaign that watches services which no other test needs.
const PACKAGES: &str = "packages";

/// What `cargo xtask campaign` is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// The campaign; without it, their names are listed.
    name: Option<String>,
    /// Take what is installed as it is.
    #[arg(long)]
    skip_setup: bool,
}

/// Runs a campaign and writes down what it came to; lists them all where none is named.
///
/// # Errors
/// There is no such campaign, something cannot be built, or a claim did not hold.
pub(crate) fn campaign(options: &Options) -> Result<()> {
    let names = names(&workspace::root().join("tests/tests/it/campaigns"))?;
    let Some(name) = &options.name else {
        println!("{}", names.join("\n"));
        return Ok(());
    };
    ensure!(
        names.contains(name),
        "there is no campaign {name}; there are {}",
        names.join(", ")
    );
    if !options.skip_setup {
        setup::setup(match name.as_str() {
            PACKAGES => Purpose::Services,
            _ => Purpose::Test,
        })?;
    }
    build_ebpf()?;
    // As they are delivered: how many connections a second a campaign makes is part of its claim.
    test::quiet(test::cargo(&[
        "build",
        "--release",
        "--workspace",
        "--bins",
        // In one build: cargo chooses features by what is built together.
        "--test=it",
    ])?)?;
    run(name)
}

/// The modules of a folder, in order.
fn names(folder: &Path) -> Result<Vec<String>> {
    let context = || format!("read {}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let stem = path.file_stem().and_then(|stem| stem.to_str());
        if let Some(stem) = stem.filter(|stem| *stem != "mod") {
            names.push(stem.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn run(name: &str) -> Result<()> {
    let folder = workspace::root().join("target/xtask/campaigns");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let figures = folder.join(name);
    fs::write(&figures, "").with_context(|| format!("empty {}", figures.display()))?;

    let skips = test::prepare_skips()?;

    let mut nextest = test::nextest_command(&skips)?;
    nextest
        .args(["--release", "--workspace", "--test", "it"])
        .args(["--profile", "campaign"])
        .args(["--no-capture", "-E"])
        .arg(format!("test(/^campaigns::{name}::/)"))
        .env("PLUMBLINE_CAMPAIGN", &figures);
    let started = Instant::now();
    let status = nextest.status().context("start cargo")?;
    let took = started.elapsed().as_secs();

    let figures = fs::read_to_string(&figures).context("read the figures")?;
    let skipped = test::read_skips(&skips);
    // What cannot run has not held.
    let has_held = status.success() && skipped.is_empty();
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let today = today.split('T').next().unwrap_or_default();
    let result = if has_held { "held" } else { "DID NOT HOLD" };
    let mut section = format!(
        "## {name}: {result}\n\n`cargo xtask campaign {name}`, {today}, {took} s. {}.\n\n",
        circumstances()
    );
    section += "| what | figure |\n|---|---|\n";
    for (what, figure) in figures.lines().filter_map(|line| line.split_once('\t')) {
        writeln!(section, "| {} | {} |", cell(what), cell(figure))?;
    }
    for (test, reason) in &skipped {
        writeln!(section, "| {} | skipped: {} |", cell(test), cell(reason))?;
    }
    PAGE.publish(name, &section)?;
    ensure!(
        has_held,
        "campaign {name}: {status}, {} skipped",
        skipped.len()
    );
    Ok(())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_campaign_is_a_module() {
        let folder = tempfile::tempdir().expect("a folder");
        for file in ["mod.rs", "opens.rs", "accuracy.rs"] {
            fs::write(folder.path().join(file), "").expect("write");
        }
        assert_eq!(names(folder.path()).expect("names"), ["accuracy", "opens"]);
        names(&folder.path().join("none")).expect_err("no folder");
    }
}
