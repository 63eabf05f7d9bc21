//! Capabilities: what the observer needs, and giving up what it no longer needs.
//!
//! Attaching needs CAP_BPF, CAP_PERFMON and, for the egress program, CAP_NET_ADMIN; entering another
//! network namespace needs CAP_SYS_ADMIN, and to look at another user's process CAP_SYS_PTRACE. Once
//! attached, everything is reached by file descriptors; only a namespace that is made later has to
//! be entered later, and a command is started as its own user at each check. A capability belongs to a thread: they are dropped before there are others that
//! could have them.

use caps::{CapSet, Capability, CapsHashSet};

/// The capabilities could not be dropped.
#[derive(Debug, thiserror::Error)]
#[error("cannot drop capabilities")]
pub struct DropError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// Drops every capability that is not needed any more, for good, and returns what is kept.
///
/// # Minimum kernel version
/// Up to 5.18, reading a BPF map by its file descriptor needs CAP_BPF where unprivileged BPF is
/// disabled; it is kept there. From 5.19 on (`bpf_check_unprivileged` of kernel/bpf/syscall.c)
/// nothing is.
///
/// # Errors
/// When the kernel refuses, which leaves more capabilities than intended.
pub fn drop_after_attach(has_programs: bool) -> Result<Vec<String>, DropError> {
    let mut kept = CapsHashSet::new();
    let held = caps::read(None, CapSet::Permitted).map_err(error)?;
    if has_programs && needs_bpf_for_maps() {
        let needed = [Capability::CAP_BPF, Capability::CAP_SYS_ADMIN];
        kept.extend(
            needed
                .into_iter()
                .find(|capability| held.contains(capability)),
        );
    }
    keep(&kept)
}

/// What one thread does for all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Errands {
    /// Enter other network namespaces.
    pub namespaces: bool,
    /// Start commands as other users.
    pub users: bool,
}

/// Drops, in the calling thread, every capability that its errands do not need, for good, and returns
/// what is kept.
///
/// # Errors
/// When the kernel refuses, which leaves more capabilities than intended.
pub fn keep_for(errands: Errands) -> Result<Vec<String>, DropError> {
    let held = caps::read(None, CapSet::Permitted).map_err(error)?;
    let mut needed = CapsHashSet::new();
    if errands.namespaces {
        needed.extend([Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE]);
    }
    if errands.users {
        needed.extend([Capability::CAP_SETUID, Capability::CAP_SETGID]);
    }
    keep(&held.intersection(&needed).copied().collect())
}

/// Drops every capability of the calling thread, for good; no program that it starts gets any back.
///
/// # Errors
/// When the kernel refuses.
pub fn drop_all() -> Result<(), DropError> {
    keep(&CapsHashSet::new()).map(drop)
}

/// Leaves the calling thread these capabilities and no others.
fn keep(kept: &CapsHashSet) -> Result<Vec<String>, DropError> {
    caps::clear(None, CapSet::Ambient).map_err(error)?;
    caps::set(None, CapSet::Effective, kept).map_err(error)?;
    caps::set(None, CapSet::Permitted, kept).map_err(error)?;
    caps::clear(None, CapSet::Inheritable).map_err(error)?;
    rustix::thread::set_no_new_privs(true).map_err(error)?;
    let mut names: Vec<_> = kept.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    Ok(names)
}

fn needs_bpf_for_maps() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy();
    // An unknown release counts as an old one: keeping one capability harms less than blindness.
    kernel_version(&release).is_none_or(|version| version < (5, 19))
}

/// Major and minor number of a kernel release such as `6.1.0-50-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse().ok());
    Some((numbers.next()?, numbers.next()?))
}

fn error(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> DropError {
    DropError(source.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_begins_with_its_version() {
        assert_eq!(kernel_version("6.1.0-50-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.19-rc1"), Some((5, 19)));
        assert_eq!(kernel_version("mine"), None);
    }
}
