//! `cargo xtask kernels`: the kernel tests on Debian's older kernels, in QEMU.
//!
//! The guest runs the integration tests of this workspace, the same executable as the host: what
//! holds there and here is one text. KVM is not asked for, so that every machine can do it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::build_ebpf::build_ebpf;
use crate::services::Interrupt;
use crate::setup::{self, Purpose};
use crate::step::tail;
use crate::workspace::{self, find_command};

pub(crate) mod image;
mod initramfs;
mod machine;
mod report;

use image::SERIES;
use initramfs::Tree;
use machine::{Heard, Machine, QEMU};
use report::{Ending, Report};

/// A guest runs the tests whose names begin so.
const TESTS: &[&str] = &["kernel::", "liars::", "campaigns::opens::"];

/// As a part of `cargo xtask test`, it runs these: emulated, all take a quarter of an hour on each
/// kernel.
const SHARE: &[&str] = &[
    "kernel::classes::the_most_specific_target_has_a_socket",
    "kernel::cleanup::nothing_is_left_in_the_kernel_after_sigterm",
    "liars::decrements::no_decrement_on_abort",
];

/// How cargo builds for all of them: emulated, optimised programs are several times as fast.
const RELEASE: &[&str] = &["--release", "--bins", "--test=it"];

/// And for a few: as `cargo xtask test` has built everything already.
const AS_BUILT: &[&str] = &["--bins", "--tests"];

/// A test that takes longer is killed.
const TEST_BOUND: Duration = Duration::from_secs(240);

/// A guest that takes longer is: this, and a minute for each test.
const GUEST_BOUND: Duration = Duration::from_secs(600);

/// What `cargo xtask kernels` is told.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// One series alone.
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(SERIES))]
    only: Option<String>,
    /// Only tests whose names contain this; of several, any.
    #[arg(long)]
    filter: Vec<String>,
    /// Take what is installed as it is.
    #[arg(long)]
    skip_setup: bool,
}

/// Installs, builds, and runs the tests on each kernel.
///
/// # Errors
/// A test fails, a guest does not come to its end, or something cannot be built.
pub(crate) fn kernels(options: &Options) -> Result<()> {
    if !options.skip_setup {
        setup::setup(Purpose::Test)?;
    }
    build_ebpf()?;
    let series: Vec<&str> = match &options.only {
        Some(only) => vec![only],
        None => SERIES.to_vec(),
    };
    let wanted = &options.filter;
    let is_wanted = |name: &str| wanted.iter().any(|part| name.contains(part.as_str()));
    let is_run = |name: &str| begins(name, TESTS) && (wanted.is_empty() || is_wanted(name));
    println!("{}", run(&series, &is_run, RELEASE, &|_, _| Ok(()))?);
    Ok(())
}

/// Why no guest can be booted here, if so.
pub(crate) fn obstacle() -> Option<String> {
    if std::env::consts::ARCH != "x86_64" {
        return Some("only kernels for x86-64 are booted".to_owned());
    }
    let missing: Vec<&str> = [QEMU, "busybox", "strip", "setpriv"]
        .into_iter()
        .filter(|command| find_command(command).is_none())
        .collect();
    if !missing.is_empty() {
        return Some(format!("{} is not installed", missing.join(", ")));
    }
    let absent: Vec<&str> = SERIES
        .iter()
        .copied()
        .filter(|series| !image::is_here(series))
        .collect();
    (!absent.is_empty()).then(|| format!("no kernel {} (cargo xtask setup)", absent.join(", ")))
}

/// Runs the share of `cargo xtask test` on each kernel.
///
/// # Errors
/// As [`kernels`].
pub(crate) fn share(record: &Record<'_>) -> Result<String> {
    run(SERIES, &|name| begins(name, SHARE), AS_BUILT, record)
}

fn begins(name: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| name.starts_with(start))
}

/// Takes a test that could not run, and the reason.
pub(crate) type Record<'f> = dyn Fn(&str, &str) -> Result<()> + 'f;

/// Runs the tests on each kernel; returns what they came to.
fn run(
    series: &[&str],
    is_run: &dyn Fn(&str) -> bool,
    options: &[&str],
    record: &Record<'_>,
) -> Result<String> {
    if let Some(obstacle) = obstacle() {
        bail!("{obstacle}");
    }
    let interrupt = Interrupt::listen()?;
    let built = build(options)?;
    let names = tests_of(&built.test, is_run)?;
    let folder = workspace::root().join("target/xtask/kernels");
    let tree = Tree::make(folder.join("tree"), &built.test, &built.programs)?;
    let bound = TEST_BOUND.as_secs();
    let list: String = names
        .iter()
        .map(|name| format!("{bound} {name}\n"))
        .collect();

    let mut said = Vec::new();
    let mut failed = false;
    for series in series {
        let initramfs = folder.join(format!("{series}.cpio"));
        tree.pack(&image::modules(series)?, &list, &initramfs)?;
        let started = Instant::now();
        let console = folder.join(format!("{series}.console"));
        let machine = Machine::boot(&image::kernel(series)?, &initramfs, &console)?;
        let outcome = watch(&machine, names.len(), &interrupt)
            .with_context(|| format!("the end of its console:\n{}", tail(&console, 15)));
        drop(machine);
        fs::remove_file(&initramfs).context("remove the initramfs")?;
        let took = started.elapsed().as_secs_f64();
        match outcome {
            Ok(report) => {
                let [ok, bad, skipped] = report.counts();
                let release = report.release.as_deref().unwrap_or(series);
                failed |= bad > 0;
                for (name, reason) in report.skipped() {
                    record(&format!("{name} on {release}"), reason)?;
                }
                said.push(format!(
                    "{release}: {ok} ok, {bad} failed, {skipped} skipped in {took:.0} s"
                ));
            }
            Err(error) => {
                ensure!(!interrupt.came(), "interrupted");
                failed = true;
                said.push(format!("{series}: {error:#}"));
            }
        }
    }
    let said = said.join("; ");
    ensure!(!failed, "{said}");
    Ok(said)
}

/// Listens to a guest until it is off, and shows each test as it ends.
fn watch(machine: &Machine, tests: usize, interrupt: &Interrupt) -> Result<Report> {
    let started = Instant::now();
    let mut report = Report::default();
    let bound = GUEST_BOUND + Duration::from_secs(60) * tests as u32;
    loop {
        ensure!(!interrupt.came(), "interrupted");
        let elapsed = started.elapsed();
        let run = report.tested.len();
        ensure!(
            elapsed < bound,
            "ended after {} s, with {run} of {tests} tests run",
            elapsed.as_secs()
        );
        match machine.hear(Duration::from_millis(200)) {
            Heard::Nothing => {}
            Heard::Off if report.is_complete => return Ok(report),
            Heard::Off => bail!("it went off with {run} of {tests} tests run"),
            Heard::Line(line) => {
                report.hear(&line);
                show(&report, &line, tests, elapsed);
            }
        }
    }
}

/// One line for each test, and what a failed one wrote.
fn show(report: &Report, line: &str, tests: usize, elapsed: Duration) {
    let word = line.split(' ').next().unwrap_or_default();
    let at = format!("{:>4} s", elapsed.as_secs());
    match (word, report.tested.last()) {
        ("booted", _) => {
            let release = report.release.as_deref().unwrap_or_default();
            println!("{at}  kernel {release}, {tests} tests");
        }
        ("|", Some(_)) => println!("        {}", line.trim_end()),
        (_, Some(tested)) if !report.is_complete => {
            let said = match &tested.ending {
                Ending::Ok => "ok".to_owned(),
                Ending::Failed(how) => format!("FAILED ({how})"),
                Ending::Skipped(reason) => format!("skipped ({reason})"),
            };
            println!("{at}  {:>6} s  {}: {said}", tested.seconds, tested.name);
        }
        _ => {}
    }
}

/// The executables of the workspace.
struct Built {
    /// The integration tests.
    test: PathBuf,
    /// The programs that they start.
    programs: Vec<PathBuf>,
}

fn build(options: &[&str]) -> Result<Built> {
    eprintln!("build: the workspace's programs and the tests");
    let started = Instant::now();
    // Of the whole workspace: for some packages alone, cargo would build what they depend on anew.
    let built = executables(&[&["build", "--workspace"], options].concat())?;
    eprintln!("build: {:.1} s", started.elapsed().as_secs_f64());
    let is_test = |path: &PathBuf| path.parent().is_some_and(|folder| folder.ends_with("deps"));
    let (tests, mut programs): (Vec<_>, Vec<_>) = built.into_iter().partition(is_test);
    programs.retain(|program| !program.ends_with("xtask"));
    let test = tests.into_iter().find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("it-")
    });
    Ok(Built {
        test: test.context("cargo names the test executable")?,
        programs,
    })
}

/// Runs cargo; returns the executables that it names.
fn executables(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let output = workspace::cargo()
        .args(arguments)
        .args(["--quiet", "--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("start cargo")?;
    ensure!(output.status.success(), "cargo: {}", output.status);
    let text = String::from_utf8_lossy(&output.stdout);
    let messages = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    Ok(messages
        .filter_map(|message: Value| Some(PathBuf::from(message["executable"].as_str()?)))
        .collect())
}

/// The names of the tests to run.
fn tests_of(test: &Path, is_run: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let output = Command::new(test)
        .args(["--list", "--format", "terse"])
        .output()
        .context("list the tests")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| is_run(name))
        .map(str::to_owned)
        .collect();
    ensure!(!names.is_empty(), "no test matches");
    Ok(names)
}
