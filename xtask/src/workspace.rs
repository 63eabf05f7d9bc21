//! Where things are: the workspace, the cache of tools, the commands on `PATH`.
//!
//! It reads the environment and looks at the disk; it makes the command for cargo and starts nothing.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

/// The folder of the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
}

/// Where cargo puts what it builds for the host.
pub(crate) fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Tools that `setup` built, outside the tree: a fresh clone finds them again.
///
/// # Errors
/// Neither `XDG_CACHE_HOME` nor `HOME` is set.
pub(crate) fn tools_dir() -> Result<PathBuf> {
    let cache = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => {
            PathBuf::from(env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
                .join(".cache")
        }
    };
    Ok(cache.join("plumbline"))
}

/// The cargo that runs this task, or the one on `PATH`, at the workspace's root.
///
/// What cargo told this task about its own package is taken away: build scripts of dependencies
/// watch such variables, and would run again at each change between `cargo xtask` and `cargo`.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
        {
            cargo.env_remove(name.as_ref());
        }
    }
    cargo
}

/// `PATH` with `first` ahead of it, then the cache of tools, and behind it the system's folders
/// that a plain user's `PATH` lacks.
pub(crate) fn search_path(first: &[&Path]) -> Result<OsString> {
    let cached = tools_dir()?.join("bin");
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = first
        .iter()
        .map(|path| path.to_path_buf())
        .chain([cached])
        .chain(env::split_paths(&inherited))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    env::join_paths(folders).context("join PATH")
}

/// The first executable called `name` in the search path.
pub(crate) fn find_command(name: &str) -> Option<PathBuf> {
    let path = search_path(&[]).ok()?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}
