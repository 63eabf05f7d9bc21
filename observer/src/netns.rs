//! A network namespace: its inode, by which the BPF programs know it, and a way to act inside it.

use std::{
    fs::File,
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::PathBuf,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::config::Netns;

/// A network namespace, kept from vanishing while it is held.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
    inode: u32,
    is_own: bool,
}

/// The namespace cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the network namespace {}", path.display())]
pub struct NetnsError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

impl NetworkNamespace {
    /// Opens the namespace that the configuration names.
    ///
    /// # Errors
    /// When there is none, or it may not be opened.
    pub fn open(netns: &Netns) -> Result<Self, NetnsError> {
        let path = match netns {
            Netns::SelfNs => PathBuf::from("/proc/self/ns/net"),
            Netns::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            Netns::Path(path) => path.clone(),
        };
        let open = || {
            let file = File::open(&path)?;
            let inode = file.metadata()?.ino();
            let own = std::fs::metadata("/proc/self/ns/net")?.ino();
            let is_own = inode == own;
            // nsfs numbers its inodes from a 32-bit space: proc_alloc_inum().
            let inode = u32::try_from(inode).map_err(io::Error::other)?;
            Ok(Self {
                file,
                inode,
                is_own,
            })
        };
        open().map_err(|source| NetnsError { path, source })
    }

    /// The inode number of its `nsfs` file: `struct ns_common.inum`.
    #[must_use]
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `action` inside: what it opens stays there.
    ///
    /// # Errors
    /// Those of `action`, or that of entering, for which another namespace needs `CAP_SYS_ADMIN`.
    pub fn run<T: Send>(&self, action: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        if self.is_own {
            return action();
        }
        // A namespace is a property of a thread: this one enters, acts and ends.
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                    action()
                })
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
        })
    }
}
