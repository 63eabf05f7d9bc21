//! `cargo xtask fuzz`: coverage-guided bytes for what the observer reads of others, for a while.
//!
//! The targets are in `observer/fuzz`, on libFuzzer. Stable Rust instruments them: LLVM's pass needs
//! no nightly, only a sanitizer's runtime would. What is found interesting is kept in
//! `target/fuzz/corpus` for the next run, what fails in `target/fuzz`.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::workspace;

/// What `cargo fuzz` gives the compiler, less the sanitizer.
const INSTRUMENTED: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg",
    "fuzzing",
];

/// What `cargo xtask fuzz` is told.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Options {
    /// For how long. Unit: seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// Fuzzes for as long as it is told.
///
/// # Errors
/// The targets cannot be built, or an input makes one of them fail.
pub(crate) fn fuzz(options: Options) -> Result<()> {
    println!("{}", run(options.seconds)?);
    Ok(())
}

/// Builds the targets, fuzzes for so many seconds, and tells how many inputs were tried.
///
/// # Errors
/// As [`fuzz`].
pub(crate) fn run(seconds: u32) -> Result<String> {
    let (sources, built) = (
        workspace::root().join("observer/fuzz"),
        workspace::root().join("target/fuzz"),
    );
    let corpus = built.join("corpus");
    fs::create_dir_all(&corpus).with_context(|| format!("create {}", corpus.display()))?;
    // The dependencies are those that are tested: cargo adds libFuzzer's to the workspace's.
    let locks = ["Cargo.lock", "observer/fuzz/Cargo.lock"].map(|lock| workspace::root().join(lock));
    fs::copy(&locks[0], &locks[1]).context("copy Cargo.lock to observer/fuzz")?;
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    // A target keeps the flags from build scripts, which have no fuzzer's runtime.
    let status = workspace::cargo()
        .current_dir(&sources)
        .args(["build", "--quiet", "--release", "--target", &target])
        .arg("--target-dir")
        .arg(&built)
        .env("CARGO_ENCODED_RUSTFLAGS", INSTRUMENTED.join("\u{1f}"))
        .status()
        .context("start cargo")?;
    ensure!(status.success(), "build observer/fuzz: {status}");

    let output = Command::new(built.join(target).join("release/readers"))
        .arg(format!("-max_total_time={seconds}"))
        .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024"])
        .arg(format!("-artifact_prefix={}/", built.display()))
        .args([&corpus, &sources.join("seeds")])
        .output()
        .context("start the fuzzer")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = said.lines().rev().take(30).collect();
    let told: String = last.iter().rev().map(|line| format!("{line}\n")).collect();
    ensure!(output.status.success(), "an input fails:\n{told}");
    // `Done 123456 runs in 21 second(s)`
    let done = said
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("Done "));
    Ok(done.context("the fuzzer told no end")?.to_owned())
}
