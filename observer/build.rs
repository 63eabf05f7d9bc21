//! Hands the BPF object to the observer's sources, if there is one and it is not stale.
//!
//! With it: `OUT_DIR/observer-ebpf` and `cfg(has_ebpf_object)`. Without it the crate builds all the
//! same, with a warning that names the command to run; the observer then says so at run time. This
//! script builds nothing itself: `cargo check` needs no BPF toolchain.

use std::path::{Path, PathBuf};
use std::{env, fs};

#[path = "../observer-ebpf/sources.rs"]
mod sources;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(has_ebpf_object)");

    let home = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = home
        .parent()
        .expect("the crate is a folder of the workspace");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let object = workspace.join(sources::OBJECT);

    // Cargo takes a watched file that is missing for changed, and would build the crate each time:
    // so the folder is watched, and exists. A read-only tree just builds more often.
    let folder = object.parent().expect("the object is in a folder");
    let _ = fs::create_dir_all(folder);
    for watched in [
        folder,
        &workspace.join("observer-ebpf/src"),
        &workspace.join("observer-ebpf/Cargo.toml"),
        &workspace.join("observer-ebpf/sources.rs"),
    ] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }

    match usable(workspace) {
        Ok(()) => {
            fs::copy(&object, out.join("observer-ebpf")).expect("copy the BPF object to OUT_DIR");
            println!("cargo::rustc-cfg=has_ebpf_object");
        }
        Err(reason) => println!(
            "cargo::warning=the observer is built without its BPF programs: {reason}; \
             run `cargo xtask build-ebpf`"
        ),
    }
}

/// Whether the object is there and was built from the sources that are there now.
fn usable(workspace: &Path) -> Result<(), &'static str> {
    if !workspace.join(sources::OBJECT).is_file() {
        return Err("they are not built yet");
    }
    let built_from = fs::read_to_string(workspace.join(sources::OBJECT_SOURCES)).ok();
    let now = sources::fingerprint(workspace).ok();
    if built_from.is_some() && built_from == now {
        Ok(())
    } else {
        Err("they are older than their sources")
    }
}
