//! Debian's kernels in the cache: where they are, and what is kept of their packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::workspace;

/// The series, oldest first: what Debian 12 came with, and the newest that it has.
pub(crate) const SERIES: &[&str] = &["6.1", "6.12"];

/// What is a module there, in the order in which they are loaded, and where packages have it.
const MODULES: &[(&str, &str)] = &[
    ("inet_diag", "kernel/net/ipv4"),
    ("tcp_diag", "kernel/net/ipv4"),
    ("unix_diag", "kernel/net/unix"),
    ("veth", "kernel/drivers/net"),
];

/// The kernel's file name in the cache.
const KERNEL: &str = "vmlinuz";

/// Whether a series can be booted.
pub(crate) fn is_here(series: &str) -> bool {
    kernel(series).is_ok() && modules(series).is_ok()
}

/// The kernel that is booted.
///
/// # Errors
/// It is not here.
pub(crate) fn kernel(series: &str) -> Result<PathBuf> {
    find(&folder(series)?, KERNEL)
}

/// Its modules, as they are packed.
///
/// # Errors
/// One of them is not here.
pub(crate) fn modules(series: &str) -> Result<Vec<PathBuf>> {
    let folder = folder(series)?;
    MODULES
        .iter()
        .map(|(module, _)| find(&folder, &format!("{module}.ko")))
        .collect()
}

/// Keeps what is needed of a package that is unpacked in `package`.
///
/// # Errors
/// It lacks something, or the cache cannot be written.
pub(crate) fn keep(series: &str, package: &Path) -> Result<()> {
    let folder = folder(series)?;
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let releases = package.join("lib/modules");
    let release = find(&releases, series)?;
    for (module, place) in MODULES {
        let module = find(&release.join(place), &format!("{module}.ko"))?;
        let name = module.file_name().context("a module has a name")?;
        copy(&module, &folder.join(name))?;
    }
    // Last: it is what tells that all is here.
    copy(&find(&package.join("boot"), KERNEL)?, &folder.join(KERNEL))
}

fn folder(series: &str) -> Result<PathBuf> {
    Ok(workspace::tools_dir()?.join("kernels").join(series))
}

/// The entry of `folder` whose name begins so: versions and `.xz` follow.
fn find(folder: &Path, start: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    entries
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .with_context(|| format!("no {start} in {}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    Ok(())
}
