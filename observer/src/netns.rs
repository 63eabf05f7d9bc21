//! A network namespace: its inode, by which the BPF programs know it, and a way to act inside it.
//!
//! What is opened inside a namespace keeps it alive, and names of namespaces come to mean others: who
//! follows them is in `watch`.

use std::{
    fs::File,
    io,
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::PathBuf,
    sync::mpsc,
    thread,
};

use rustix::fs::{FsWord, OFlags, fstatfs};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{config::Netns, privileges};

/// The file system of namespaces: `NSFS_MAGIC` in `linux/magic.h`.
const NSFS: FsWord = 0x6e73_6673;

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

impl NetnsError {
    /// Whether there is none, rather than one that may not be opened.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
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
            // A path that is no namespace may be a FIFO: to open it must not wait for its writer.
            let file = File::options()
                .read(true)
                .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
                .open(&path)?;
            if fstatfs(&file)?.f_type != NSFS {
                return Err(io::Error::other("this is no namespace"));
            }
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

/// What is done inside namespaces.
type Errand = Box<dyn FnOnce() + Send>;

/// The one thread that keeps the right to enter other network namespaces, and does nothing else.
///
/// Capabilities belong to threads: those that parse what services send have none.
#[derive(Clone, Debug)]
pub struct Doorkeeper {
    errands: mpsc::SyncSender<Errand>,
}

impl Doorkeeper {
    /// Starts the thread, which then has the rights of the calling one that it needs; it ends when
    /// the last clone is dropped.
    ///
    /// # Errors
    /// When the other rights cannot be dropped, or there can be no thread.
    pub fn start() -> io::Result<Self> {
        // Who has an errand waits for it: no queue is needed.
        let (errands, received) = mpsc::sync_channel::<Errand>(0);
        let (sender, dropped) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("doorkeeper".to_owned())
            .spawn(move || {
                let outcome = privileges::keep_for_namespaces();
                let is_dropped = outcome.is_ok();
                // Nobody waits only where the starter has panicked.
                let _ = sender.send(outcome);
                if is_dropped {
                    received.into_iter().for_each(|errand| errand());
                }
            })?;
        let outcome = dropped.recv().map_err(io::Error::other)?;
        let kept = outcome.map_err(io::Error::other)?;
        tracing::info!(
            kept = kept.join(","),
            "one thread keeps the right to enter network namespaces"
        );
        Ok(Self { errands })
    }

    /// Has `action` done by the thread.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let (sender, result) = mpsc::sync_channel(1);
        let errand: Errand = Box::new(move || {
            // Nobody waits only where the asking thread has panicked.
            let _ = sender.send(action());
        });
        let has_ended = |_| io::Error::other("the thread for network namespaces has ended");
        self.errands
            .send(errand)
            .map_err(|_| has_ended(mpsc::RecvError))?;
        result.recv().map_err(has_ended)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_is_no_namespace_is_refused_at_once() {
        NetworkNamespace::open(&Netns::SelfNs).expect("one's own");

        let folder = tempfile::tempdir().expect("a folder");
        let (file, fifo) = (folder.path().join("file"), folder.path().join("fifo"));
        std::fs::write(&file, "").expect("write");
        // Nobody will ever write into it.
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).expect("mkfifo");
        for path in [file, fifo] {
            let error = NetworkNamespace::open(&Netns::Path(path)).expect_err("no namespace");
            assert_eq!(error.source.to_string(), "this is no namespace");
            assert!(!error.is_absent());
        }
    }
}
