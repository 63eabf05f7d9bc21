//! Why the programs cannot be loaded or their maps read, in words that say what to do.

use std::{io, path::PathBuf};

use aya::maps::MapError;

use super::offsets::OffsetsError;

/// Why there is no witness in the kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The observer was built without the BPF object.
    #[error("this observer was built without its BPF programs")]
    NotBuilt,
    /// A capability is missing from the effective set.
    #[error("{capability} is missing")]
    Capability {
        /// Its name, as in capabilities(7).
        capability: &'static str,
    },
    /// The kernel describes no types.
    #[error("the kernel has no BTF (/sys/kernel/btf/vmlinux, CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] io::Error),
    /// The kernel's types lack something that the programs read.
    #[error("the kernel's BTF lacks what the programs read")]
    Offsets(#[from] OffsetsError),
    /// The kernel refused the maps or a program.
    #[error("the kernel refused {what}")]
    Refused {
        /// Which map or program.
        what: &'static str,
        /// What aya made of it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The cgroup to attach at cannot be opened.
    #[error("cannot open the cgroup {}", path.display())]
    Cgroup {
        /// Its folder.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No cgroup2 file system is mounted.
    #[error("no cgroup2 is mounted")]
    NoCgroup2,
}

impl LoadError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotBuilt => "run `cargo xtask build-ebpf` and build the observer again",
            Self::Capability { .. } => {
                "grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (see README, Privileges)"
            }
            Self::NoBtf(_) | Self::Offsets(_) => {
                "a kernel with CONFIG_DEBUG_INFO_BTF is needed; Debian's have it"
            }
            Self::Refused { .. } => {
                "if the capabilities are there, look at kernel lockdown and at LSM policies"
            }
            Self::Cgroup { .. } | Self::NoCgroup2 => {
                "mount cgroup2, or name its folder with --kernel.cgroup"
            }
        }
    }
}

/// A map could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot access the BPF map {map}")]
pub struct MapAccessError {
    map: &'static str,
    #[source]
    source: MapError,
}

/// An error with its causes, in one line; of a verifier's log only what it refused.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&one_line(&error.to_string()));
        cause = error.source();
    }
    text
}

pub(super) fn refused<E: std::error::Error + Send + Sync + 'static>(
    what: &'static str,
) -> impl Fn(E) -> LoadError {
    move |error| LoadError::Refused {
        what,
        source: Box::new(error),
    }
}

pub(super) fn access(map: &'static str) -> impl Fn(MapError) -> MapAccessError {
    move |source| MapAccessError { map, source }
}

/// A verifier's log tells every step, then what it refused, then statistics.
fn one_line(text: &str) -> String {
    const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    let refused = lines.rfind(|line| {
        !line.trim().is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word))
    });
    match (first.split_once("Verifier output: "), refused) {
        (Some((call, _)), Some(refused)) => format!("{call}Verifier output: {refused}"),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_verifiers_log_is_told_by_what_it_refused() {
        let log = "it returned EINVAL. Verifier output: 0: R1=ctx() R10=fp0\n\
                   177: (dc) r7 = be16 r7\n\
                   math with unbounded min value is not allowed\n\
                   verification time 89210 usec\nstack depth 176+0\nprocessed 3808 insns\n\n";
        assert_eq!(
            one_line(log),
            "it returned EINVAL. Verifier output: math with unbounded min value is not allowed"
        );
        assert_eq!(one_line("no such file"), "no such file");
        assert_eq!(one_line(""), "");
    }
}
