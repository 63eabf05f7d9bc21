//! The fingerprint of the BPF programs' sources.
//!
//! `cargo xtask build-ebpf` writes it beside the object that it built, and `observer/build.rs`
//! compares it before it embeds that object: a stale object is never embedded. Both include this
//! file, so there is one definition of "stale". It knows nothing of toolchains or flags.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};

/// Where the object is put, below the workspace's root, whatever `CARGO_TARGET_DIR` says.
pub(crate) const OBJECT: &str = "target/ebpf/observer-ebpf";

/// Where the fingerprint of the object's sources is put.
pub(crate) const OBJECT_SOURCES: &str = "target/ebpf/observer-ebpf.sources";

/// Hashes the crate's `Cargo.toml` and every file below its `src`, names included.
///
/// The hash is stable for one release of Rust; after an upgrade the object is built once more.
pub(crate) fn fingerprint(workspace: &Path) -> io::Result<String> {
    let home = workspace.join("observer-ebpf");
    let mut files = vec![home.join("Cargo.toml")];
    collect(&home.join("src"), &mut files)?;
    files.sort();

    let mut hasher = DefaultHasher::new();
    for file in files {
        let text = fs::read(&file)?;
        let name = file.strip_prefix(&home).unwrap_or(&file);
        hasher.write(name.as_os_str().as_encoded_bytes());
        // The length keeps "ab" + "c" apart from "a" + "bc".
        hasher.write_usize(text.len());
        hasher.write(&text);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
