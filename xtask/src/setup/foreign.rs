//! Packages of other languages, for tests: services that are not ours, a browser and its driver.
//!
//! They are kept in the cache of tools, and the tests are told where: they install nothing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::{make_environment, run_logged};
use crate::workspace;

const PYTHON_PACKAGES: [&str; 2] = ["websockets==17.4", "prometheus_client==0.26.0"];
const NODE_PACKAGES: [&str; 5] = [
    "ws@8",
    "prom-client@15",
    // They drive a browser and look at what it shows; the chart is compared with what was published.
    "playwright-core@1.65.1",
    "axe-core@4.14.1",
    "uplot@1.6.32",
];

/// Where they are: `python` is a virtual environment, `node` has `node_modules`.
pub(crate) fn folder() -> Result<PathBuf> {
    Ok(workspace::tools_dir()?.join("foreign"))
}

/// Whether the Python packages are here.
pub(crate) fn has_python() -> bool {
    let module = "import websockets, prometheus_client";
    folder().is_ok_and(|folder| {
        super::needs::succeeds(Command::new(folder.join("python/bin/python")).args(["-c", module]))
    })
}

/// Whether the Node packages are here.
pub(crate) fn has_node() -> bool {
    folder().is_ok_and(|folder| {
        let modules = folder.join("node/node_modules");
        NODE_PACKAGES.iter().all(|package| {
            let name = package.split('@').next().unwrap_or(package);
            modules.join(name).is_dir()
        })
    })
}

/// Installs the Python packages.
pub(crate) fn install_python() -> Result<()> {
    make_environment(
        "services in tests",
        &folder()?.join("python"),
        &PYTHON_PACKAGES,
    )
}

/// Installs the Node packages.
pub(crate) fn install_node() -> Result<()> {
    let node = folder()?.join("node");
    std::fs::create_dir_all(&node)?;
    run_logged(
        "install Node packages for tests",
        Command::new("npm")
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(&node)
            .args(NODE_PACKAGES),
    )
}
