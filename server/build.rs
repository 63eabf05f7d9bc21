//! Says which build this is, and rebuilds the crate when a migration changes: they are embedded at
//! compile time.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=migrations");
    println!("cargo::rerun-if-env-changed=SERVER_REVISION");
    // Its path is absolute in a worktree, and relative to the crate else.
    if let Some(log) = said("git", &["rev-parse", "--git-path", "logs/HEAD"])
        && Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    // Whoever builds from an archive names the revision in the environment.
    let revision = env::var("SERVER_REVISION").ok();
    let revision = revision.or_else(|| said("git", &["rev-parse", "--short=12", "HEAD"]));
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = said(&rustc, &["--version"]);
    let version = version.as_deref().and_then(|said| said.split(' ').nth(1));
    let unknown = || "unknown".to_owned();
    println!(
        "cargo::rustc-env=SERVER_REVISION={}",
        revision.unwrap_or_else(unknown)
    );
    println!(
        "cargo::rustc-env=SERVER_RUSTC={}",
        version.map_or_else(unknown, str::to_owned)
    );
}

/// What a command says, if it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !said.trim().is_empty()).then(|| said.trim().to_owned())
}
