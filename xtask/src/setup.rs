//! `cargo xtask setup`: lists what is missing, then installs it.
//!
//! The table is in `needs`, Debian's ways in `debian`. On any other system it says what to install
//! and installs nothing.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::build_ebpf::LLVM_PREFIX;
use crate::step::run_logged;
use crate::workspace;

mod debian;
pub(crate) mod foreign;
mod need;
mod needs;
mod python_tool;

pub(crate) use need::Purpose;
use need::{Install, Need};
use needs::NEEDS;
use python_tool::PythonTool;
pub(crate) use python_tool::{ENVOY, KOSOKU, KUBERNETES_VALIDATE};

/// Prints the table, and fails if something is missing.
///
/// # Errors
/// Something is missing.
pub(crate) fn check() -> Result<()> {
    let mut missing = 0;
    for need in NEEDS {
        let state = if (need.is_here)() {
            "ok"
        } else {
            // `bench` installs its own: they are no part of what must be here.
            missing += usize::from(need.purpose <= Purpose::Test);
            "missing"
        };
        println!("{state:<8} {:<20} {}", need.name, need.why);
    }
    if missing > 0 {
        bail!(
            "{missing} of {} are missing\nhint: cargo xtask setup",
            NEEDS.len()
        );
    }
    Ok(())
}

/// Installs what `purpose` needs and the machine lacks.
///
/// # Errors
/// Something cannot be installed, or this is not Debian 12.
pub(crate) fn setup(purpose: Purpose) -> Result<()> {
    let missing: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| need.purpose <= purpose)
        .filter(|need| !(need.is_here)())
        .collect();
    if missing.is_empty() {
        eprintln!("setup: nothing is missing");
        return Ok(());
    }
    eprintln!("setup: missing");
    for need in &missing {
        eprintln!("  {:<20} for {}", need.name, need.why);
    }
    if !debian::is_debian_12() {
        let what = missing.iter().map(|need| need.elsewhere);
        bail!(
            "only Debian 12 can be set up by this command; elsewhere, install:\n  {}",
            what.collect::<Vec<_>>().join("\n  ")
        );
    }

    let started = Instant::now();
    eprintln!("setup: installing");
    install(&missing)?;
    if let Some(need) = missing.iter().find(|need| !(need.is_here)()) {
        bail!("{} was installed and is still not found", need.name);
    }
    eprintln!("setup: done in {} s", started.elapsed().as_secs());
    Ok(())
}

/// Packages first, all in one go: the crates are built with them.
fn install(missing: &[&Need]) -> Result<()> {
    let by_apt = |need: &&Need| {
        matches!(
            need.install,
            Install::Packages(_) | Install::Extract { .. } | Install::Kernel { .. }
        )
    };
    if missing.iter().any(by_apt) {
        debian::update()?;
    }
    let packages: Vec<&str> = missing
        .iter()
        .filter_map(|need| match need.install {
            Install::Packages(packages) => Some(packages),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    if !packages.is_empty() {
        debian::install(&packages)?;
    }

    let tools = workspace::tools_dir()?;
    for need in missing {
        match &need.install {
            Install::Packages(_) => {}
            Install::Extract { package, files } => {
                debian::extract(package, files, &tools.join("bin"))?;
            }
            Install::Kernel { series, latest } => debian::keep_kernel(series, latest)?,
            Install::Crate {
                name,
                version,
                options,
            } => install_crate(name, version, options, &tools)?,
            Install::Python(tool) => install_python(tool)?,
            Install::Foreign(install) => install()?,
            Install::Components(components) => run_logged(
                "rustup component add",
                Command::new("rustup")
                    .args(["component", "add"])
                    .args(*components),
            )?,
        }
    }
    Ok(())
}

fn install_crate(name: &str, version: &str, options: &[&str], tools: &Path) -> Result<()> {
    let llvm = Path::new(LLVM_PREFIX);
    run_logged(
        &format!("build {name}"),
        workspace::cargo()
            .args(["install", "--locked", "--version", version])
            .args(options)
            .arg("--root")
            .arg(tools)
            .arg(name)
            .env("LLVM_PREFIX", llvm)
            .env("PATH", workspace::search_path(&[&llvm.join("bin")])?)
            // These run for seconds: it does not pay to optimise them for minutes.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            .env_remove("CARGO_TARGET_DIR"),
    )
}

fn install_python(tool: &PythonTool) -> Result<()> {
    let PythonTool { name, version, .. } = tool;
    make_environment(name, &tool.environment()?, &[&format!("{name}=={version}")])
}

/// The environment is made anew: one that was left half-made has no command, and is in the way.
fn make_environment(purpose: &str, environment: &Path, packages: &[&str]) -> Result<()> {
    run_logged(
        &format!("make a Python environment for {purpose}"),
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(environment),
    )?;
    run_logged(
        &format!("install Python packages for {purpose}"),
        Command::new(environment.join("bin/python"))
            .args(["-m", "pip", "install", "--no-input"])
            .args(packages),
    )
}
