//! `cargo xtask build-ebpf`: compiles the BPF programs and puts the object where the observer's
//! build script embeds it.
//!
//! It does not choose the compiler (`bpf_toolchain`) and does not install one (`setup`).

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::bpf_toolchain::{self, TARGET, Toolchain};
use crate::workspace;

#[path = "../../observer-ebpf/sources.rs"]
mod sources;

/// Where Debian's LLVM is; its major must be that of the compiler.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Programs that do nothing, beside the object: only `bench` loads them.
pub(crate) const EMPTY: &str = "target/ebpf/empty";

/// Builds the object, unless the one that is there was built from the same sources.
///
/// # Errors
/// No compiler, no linker, or the programs do not compile.
pub(crate) fn build_ebpf() -> Result<()> {
    let root = workspace::root();
    let object = root.join(sources::OBJECT);
    let object_sources = root.join(sources::OBJECT_SOURCES);
    let fingerprint = sources::fingerprint(root).context("read the BPF programs' sources")?;

    let empty = root.join(EMPTY);
    let are_there = object.is_file() && empty.is_file();
    if are_there && fs::read_to_string(&object_sources).is_ok_and(|old| old == fingerprint) {
        eprintln!("build-ebpf: {} is up to date", sources::OBJECT);
        return Ok(());
    }

    let toolchain = bpf_toolchain::choose(&bpf_toolchain::find())
        .map_err(|missing| anyhow!("{missing}"))
        .context("no compiler for the BPF programs")?;
    ensure!(
        workspace::find_command("bpf-linker").is_some(),
        "bpf-linker is missing\nhint: cargo xtask setup"
    );
    eprintln!("build-ebpf: using {toolchain}");

    let started = Instant::now();
    let built = compile(root, &toolchain)?;

    // The fingerprint goes last and the old one first: a build that was cut short leaves none.
    let folder = object.parent().context("the object is in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    if object_sources.exists() {
        fs::remove_file(&object_sources).context("remove the old fingerprint")?;
    }
    let size = fs::copy(&built, &object)
        .with_context(|| format!("copy {} to {}", built.display(), object.display()))?;
    fs::copy(built.with_file_name("empty"), &empty)
        .with_context(|| format!("copy to {}", empty.display()))?;
    fs::write(&object_sources, fingerprint).context("write the fingerprint")?;
    eprintln!(
        "build-ebpf: {}, {size} bytes, in {:.1} s",
        sources::OBJECT,
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Runs cargo for the target and returns where the object is.
fn compile(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let target_dir = root.join("target/ebpf-build");
    let mut cargo = match toolchain {
        Toolchain::Prebuilt(rustc) => {
            let mut cargo = workspace::cargo();
            // aya-ebpf uses `asm_experimental_arch`: a stable compiler has to be told to allow it.
            cargo.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
            cargo
        }
        Toolchain::Nightly => {
            let mut cargo = Command::new("rustup");
            // What rustup's proxy set for the stable toolchain would win over the choice of nightly.
            cargo
                .args(["run", "nightly", "cargo"])
                .env_remove("RUSTC")
                .env_remove("RUSTUP_TOOLCHAIN")
                .env_remove("CARGO");
            cargo
        }
    };
    cargo
        .current_dir(root)
        .args(["build", "--package", "observer-ebpf", "--bins"])
        .args(["--features", "programs", "--release", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(std::env::consts::ARCH))
        .env(
            "PATH",
            workspace::search_path(&[&Path::new(LLVM_PREFIX).join("bin")])?,
        )
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER");
    if *toolchain == Toolchain::Nightly {
        cargo.args(["-Z", "build-std=core"]);
    }
    let status = cargo.status().with_context(|| {
        format!(
            "start {}",
            OsStr::to_string_lossy(cargo.get_program()).into_owned()
        )
    })?;
    ensure!(status.success(), "the BPF programs do not build ({status})");
    Ok(target_dir.join(TARGET).join("release/observer-ebpf"))
}

/// The compiler's flags, in cargo's encoding: separated by 0x1f.
fn rustflags(arch: &str) -> String {
    [
        "-Clinker=bpf-linker",
        // BTF is made from debug information; the loader needs it.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // bpf-linker's default has LLVM call a byte-wise memset for every few zeroes.
        "-Clink-arg=--disable-expand-memcpy-in-order",
        // The instruction set of kernel 5.12 and later; rustc hands it on to bpf-linker.
        "-Ctarget-cpu=v3",
        // What a newer compiler merely warns of must not stop the build.
        "--cap-lints=warn",
        &format!("--cfg=bpf_target_arch=\"{arch}\""),
    ]
    .join("\u{1f}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_name_the_host_architecture() {
        assert!(rustflags("aarch64").ends_with("\u{1f}--cfg=bpf_target_arch=\"aarch64\""));
    }

    #[test]
    fn the_fingerprint_follows_the_sources() {
        let root = workspace::root();
        let one = sources::fingerprint(root).expect("read the sources");
        assert_eq!(one, sources::fingerprint(root).expect("read them again"));
        assert_eq!(one.len(), 16);
    }
}
