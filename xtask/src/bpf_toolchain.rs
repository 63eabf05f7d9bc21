//! Which compiler builds the BPF programs.
//!
//! Two kinds can: a rustc whose sysroot holds a prebuilt `core` for `bpfel-unknown-none`, and a
//! nightly with `rust-src`, which compiles `core` itself. The choice is a pure function of what was
//! found; it knows nothing of flags, linkers or cargo.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target of the programs: BPF, little endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Names a rustc to use before any other.
pub(crate) const RUSTC_VARIABLE: &str = "PLUMBLINE_BPF_RUSTC";

/// A compiler that can build the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Toolchain {
    /// This rustc has `core` for the target.
    Prebuilt(PathBuf),
    /// rustup's nightly, which has `core`'s sources.
    Nightly,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prebuilt(rustc) => {
                write!(f, "{} with its prebuilt core for {TARGET}", rustc.display())
            }
            Self::Nightly => f.write_str("rustup's nightly with -Z build-std=core"),
        }
    }
}

/// Why there is no compiler.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The compiler that the user named cannot do it: no other is taken in its place.
    Named(PathBuf),
    /// None was found.
    Any,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(rustc) => write!(
                f,
                "{RUSTC_VARIABLE} names {}, which has no {TARGET}",
                rustc.display()
            ),
            Self::Any => write!(
                f,
                "no rustc has {TARGET}, and there is no nightly with rust-src\n\
                 hint: on Debian 12 `cargo xtask setup` installs one; elsewhere: \
                 rustup toolchain install nightly --component rust-src"
            ),
        }
    }
}

/// A rustc, and whether its sysroot holds the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    rustc: PathBuf,
    has_target: bool,
}

/// What the machine has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// The rustc that the user named.
    named: Option<Candidate>,
    /// The rustc on `PATH`, then the distribution's.
    installed: Vec<Candidate>,
    /// rustup's nightly has the component `rust-src`.
    nightly_has_sources: bool,
}

/// Looks for compilers: starts each once, to ask for its sysroot.
pub(crate) fn find() -> Found {
    let candidate = |rustc: PathBuf| Candidate {
        has_target: sysroot(&mut Command::new(&rustc))
            .is_some_and(|sysroot| sysroot.join("lib/rustlib").join(TARGET).is_dir()),
        rustc,
    };
    Found {
        named: env::var_os(RUSTC_VARIABLE).map(|rustc| candidate(rustc.into())),
        installed: ["rustc", "/usr/bin/rustc"]
            .map(|rustc| candidate(rustc.into()))
            .into(),
        // Asking for a toolchain that is absent must not make rustup download it.
        nightly_has_sources: sysroot(
            Command::new("rustup")
                .args(["run", "nightly", "rustc"])
                .env("RUSTUP_AUTO_INSTALL", "0"),
        )
        .is_some_and(|sysroot| sysroot.join("lib/rustlib/src/rust/library/core").is_dir()),
    }
}

/// Prefers what the user named, then a prebuilt `core`, then nightly.
pub(crate) fn choose(found: &Found) -> Result<Toolchain, Missing> {
    let Found {
        named,
        installed,
        nightly_has_sources,
    } = found;
    if let Some(named) = named {
        return if named.has_target {
            Ok(Toolchain::Prebuilt(named.rustc.clone()))
        } else {
            Err(Missing::Named(named.rustc.clone()))
        };
    }
    if let Some(prebuilt) = installed.iter().find(|candidate| candidate.has_target) {
        return Ok(Toolchain::Prebuilt(prebuilt.rustc.clone()));
    }
    if *nightly_has_sources {
        return Ok(Toolchain::Nightly);
    }
    Err(Missing::Any)
}

fn sysroot(rustc: &mut Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output
        .status
        .success()
        .then(|| Path::new(text.trim()).to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(rustc: &str, has_target: bool) -> Candidate {
        Candidate {
            rustc: rustc.into(),
            has_target,
        }
    }

    #[test]
    fn a_prebuilt_core_is_preferred_to_nightly() {
        let found = Found {
            named: None,
            installed: vec![candidate("rustc", false), candidate("/usr/bin/rustc", true)],
            nightly_has_sources: true,
        };
        assert_eq!(
            choose(&found),
            Ok(Toolchain::Prebuilt("/usr/bin/rustc".into()))
        );
    }

    #[test]
    fn nightly_serves_where_no_core_is_prebuilt() {
        let found = Found {
            named: None,
            installed: vec![candidate("rustc", false)],
            nightly_has_sources: true,
        };
        assert_eq!(choose(&found), Ok(Toolchain::Nightly));
    }

    #[test]
    fn the_named_one_comes_first() {
        let found = Found {
            named: Some(candidate("mine", true)),
            installed: vec![candidate("rustc", true)],
            nightly_has_sources: true,
        };
        assert_eq!(choose(&found), Ok(Toolchain::Prebuilt("mine".into())));
    }

    #[test]
    fn a_named_one_that_cannot_is_an_error_and_not_passed_over() {
        let found = Found {
            named: Some(candidate("mine", false)),
            installed: vec![candidate("rustc", true)],
            nightly_has_sources: true,
        };
        assert_eq!(choose(&found), Err(Missing::Named("mine".into())));
    }

    #[test]
    fn nothing_found_says_what_to_install() {
        let missing = choose(&Found::default()).expect_err("there is none");
        assert_eq!(missing, Missing::Any);
        assert!(missing.to_string().contains("hint: "));
    }
}
