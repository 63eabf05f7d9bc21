//! `cargo xtask test`: everything that must hold before a change is merged, and what it came to.
//!
//! Every step runs, also after one has failed, and the table at the end has them all, with each test
//! that could not run here and why. What a step checks is that step's business.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::build_ebpf::build_ebpf;
use crate::setup::{self, ENVOY, KOSOKU, KUBERNETES_VALIDATE, Purpose, foreign};
use crate::{fuzz, kernels, orphans, tidy, workspace};

/// The workspace's own lints are errors already; this adds what clippy only warns of.
const DENY_WARNINGS: [&str; 3] = ["--", "-D", "warnings"];

/// How long a fuzzer has. Unit: seconds.
const FUZZING: u32 = 20;

/// What `cargo xtask test` is told.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// Fail where a kernel test cannot run, instead of listing it as skipped.
    #[arg(long)]
    require_kernel: bool,
    /// Take what is installed as it is.
    #[arg(long)]
    skip_setup: bool,
}

struct Outcome {
    step: &'static str,
    took: Duration,
    /// What there is to say: counts, or the error.
    result: Result<String>,
}

/// Runs every step and prints the table.
///
/// # Errors
/// A step failed.
pub(crate) fn test(options: Options) -> Result<()> {
    let skips = prepare_skips()?;
    let mut outcomes = Vec::new();
    let mut step = |step: &'static str, run: &dyn Fn() -> Result<String>| {
        eprintln!("\n== {step}");
        let started = Instant::now();
        let result = run();
        if let Err(error) = &result {
            eprintln!("error: {step}: {error:#}");
        }
        let took = started.elapsed();
        eprintln!("== {step}: {:.1} s", took.as_secs_f64());
        outcomes.push(Outcome { step, took, result });
    };

    if !options.skip_setup {
        step("setup", &|| {
            setup::setup(Purpose::Test).map(|()| String::new())
        });
    }
    step("build-ebpf", &|| build_ebpf().map(|()| String::new()));
    step("format", &|| quiet(cargo(&["fmt", "--all", "--check"])?));
    step("tidy", &tidy_tree);
    step("clippy", &|| {
        let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"])?;
        clippy.args(DENY_WARNINGS);
        quiet(clippy)
    });
    step("clippy, BPF programs", &|| quiet(clippy_programs()?));
    step("deny", &|| {
        quiet(cargo(&["deny", "check", "licenses", "bans", "sources"])?)
    });
    // The tests start the binaries: cargo would build them for their own package only.
    step("build", &|| {
        quiet(cargo(&["build", "--workspace", "--bins"])?)
    });
    step("tests", &|| nextest(options.require_kernel, &skips));
    step("doc tests", &doc_tests);
    step("fuzz", &|| fuzz::run(FUZZING));
    step("kernels", &|| older_kernels(options.require_kernel, &skips));

    report(&outcomes, &skips)
}

/// The file that skipped tests are recorded in, empty.
pub(crate) fn prepare_skips() -> Result<PathBuf> {
    let folder = workspace::root().join("target/xtask");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let skips = folder.join("skipped-tests");
    fs::write(&skips, "").with_context(|| format!("empty {}", skips.display()))?;
    Ok(skips)
}

pub(crate) fn cargo(arguments: &[&str]) -> Result<Command> {
    let mut cargo = workspace::cargo();
    cargo
        .args(arguments)
        .env("PATH", workspace::search_path(&[])?);
    Ok(cargo)
}

pub(crate) fn quiet(mut command: Command) -> Result<String> {
    let status = command.status().context("start cargo")?;
    ensure!(status.success(), "{status}");
    Ok(String::new())
}

fn tidy_tree() -> Result<String> {
    let findings = tidy::findings(workspace::root())?;
    ensure!(
        findings.is_empty(),
        "{} findings\n{}",
        findings.len(),
        findings.join("\n")
    );
    Ok(String::new())
}

/// The compiler that has the BPF target has no clippy: the programs are checked as if for the host.
fn clippy_programs() -> Result<Command> {
    let arch = std::env::consts::ARCH;
    let mut clippy = cargo(&[
        "clippy",
        "--package",
        "observer-ebpf",
        "--bin",
        "observer-ebpf",
    ])?;
    clippy
        .args(["--features", "programs"])
        // A target keeps these flags from the build scripts of dependencies.
        .args(["--target", &format!("{arch}-unknown-linux-gnu")])
        .arg("--target-dir")
        .arg(workspace::root().join("target/ebpf-clippy"))
        .args(DENY_WARNINGS)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            format!("-Cpanic=abort\u{1f}--cfg=bpf_target_arch=\"{arch}\""),
        );
    Ok(clippy)
}

fn nextest(require_kernel: bool, skips: &Path) -> Result<String> {
    let junit = workspace::target_dir().join("nextest/default/junit.xml");
    if junit.exists() {
        fs::remove_file(&junit).context("remove the last run's report")?;
    }
    let mut nextest = nextest_command(skips)?;
    nextest.arg("--workspace");
    if require_kernel {
        nextest.env("PLUMBLINE_REQUIRE_KERNEL", "1");
    }
    orphans::adopt()?;
    let status = nextest.status().context("start cargo")?;
    let outlived = orphans::end_them();
    let report = fs::read_to_string(&junit).unwrap_or_default();
    let Some((run, failed)) = counts_of_junit(&report) else {
        bail!("{status}, and no report");
    };
    // A test that was skipped has returned without a failure: it is not one that passed.
    let skipped = read_skips(skips).len();
    let counts = format!(
        "{run} tests: {} passed, {failed} failed, {skipped} skipped",
        run.saturating_sub(failed + skipped)
    );
    ensure!(status.success() && failed == 0, "{counts}");
    outlived?;
    Ok(counts)
}

/// `cargo nextest run`, for tests that find their tools and record what they skip in `skips`.
pub(crate) fn nextest_command(skips: &Path) -> Result<Command> {
    let mut nextest = cargo(&["nextest", "run"])?;
    nextest.env("PLUMBLINE_SKIPS", skips);
    // One that the caller names comes first.
    for (variable, tool) in [
        ("ENVOY", &ENVOY),
        ("KOSOKU", &KOSOKU),
        ("KUBERNETES_VALIDATE", &KUBERNETES_VALIDATE),
    ] {
        if env::var_os(variable).is_none()
            && let Some(command) = tool.command()
        {
            nextest.env(variable, command);
        }
    }
    if env::var_os("PLUMBLINE_FOREIGN").is_none() {
        nextest.env("PLUMBLINE_FOREIGN", foreign::folder()?);
    }
    Ok(nextest)
}

/// Tests that ran, and those that failed, from the report's outermost element.
fn counts_of_junit(report: &str) -> Option<(usize, usize)> {
    let element = report.split_once("<testsuites ")?.1.split_once('>')?.0;
    let number = |name: &str| -> Option<usize> {
        let value = element.split_once(&format!(" {name}=\""))?.1;
        value.split_once('"')?.0.parse().ok()
    };
    Some((number("tests")?, number("failures")? + number("errors")?))
}

fn doc_tests() -> Result<String> {
    let mut child = cargo(&["test", "--doc", "--workspace"])?
        .stdout(Stdio::piped())
        .spawn()
        .context("start cargo")?;
    let stdout = child.stdout.take().context("its stdout is a pipe")?;
    let mut passed = 0;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("read what the doc tests say")?;
        passed += passed_of_result(&line).unwrap_or(0);
        println!("{line}");
    }
    let status = child.wait().context("wait for cargo")?;
    ensure!(status.success(), "{status}");
    Ok(format!("{passed} passed"))
}

/// From `test result: ok. 3 passed; 0 failed; …`.
fn passed_of_result(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    counts.split_once(" passed")?.0.parse().ok()
}

/// Last, since from here on Ctrl-C is the guests' to hear of.
fn older_kernels(require_kernel: bool, skips: &Path) -> Result<String> {
    let record = |what: &str, reason: &str| {
        let file = OpenOptions::new().append(true).open(skips);
        file.and_then(|mut file| writeln!(file, "{what}\t{reason}"))
            .with_context(|| format!("write {}", skips.display()))
    };
    match kernels::obstacle() {
        None => kernels::share(&record),
        Some(obstacle) if require_kernel => bail!("{obstacle}"),
        Some(obstacle) => record("older kernels", &obstacle).map(|()| "skipped".to_owned()),
    }
}

pub(crate) fn read_skips(skips: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(skips).unwrap_or_default();
    let mut skipped: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .map(|(test, reason)| (test.to_owned(), reason.to_owned()))
        .collect();
    skipped.sort();
    skipped.dedup();
    skipped
}

fn report(outcomes: &[Outcome], skips: &Path) -> Result<()> {
    println!("\n{:<22} {:>8}  result", "step", "seconds");
    let mut failed = Vec::new();
    for Outcome { step, took, result } in outcomes {
        let result = match result {
            Ok(said) if said.is_empty() => "ok".to_owned(),
            Ok(said) => format!("ok: {said}"),
            Err(error) => {
                failed.push(*step);
                let text = format!("{error:#}");
                format!("FAILED: {}", text.lines().next().unwrap_or_default())
            }
        };
        println!("{step:<22} {:>8.1}  {result}", took.as_secs_f64());
    }
    let total: Duration = outcomes.iter().map(|outcome| outcome.took).sum();
    println!("{:<22} {:>8.1}", "all", total.as_secs_f64());

    let skipped = read_skips(skips);
    if skipped.is_empty() {
        println!("\nno test was skipped");
    } else {
        println!("\nskipped here:");
        for (test, reason) in skipped {
            println!("  {test}: {reason}");
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_report() {
        let report = "<?xml version=\"1.0\"?>\n<testsuites name=\"nextest-run\" tests=\"18\" \
                      failures=\"2\" errors=\"1\" time=\"0.4\">\n<testsuite tests=\"3\">";
        assert_eq!(counts_of_junit(report), Some((18, 3)));
        assert_eq!(counts_of_junit(""), None);
    }

    #[test]
    fn doc_tests_are_counted() {
        let line = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out";
        assert_eq!(passed_of_result(line), Some(3));
        assert_eq!(passed_of_result("running 3 tests"), None);
    }
}
