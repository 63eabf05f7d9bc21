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
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, ThreadId},
};

use rustix::fs::{FsWord, OFlags, fstatfs};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    cgroups,
    config::Netns,
    privileges::{self, Errands},
};

/// The file system of namespaces: `NSFS_MAGIC` in `linux/magic.h`.
const NSFS: FsWord = 0x6e73_6673;

/// A network namespace, kept from vanishing while it is held.
#[derive(Clone, Debug)]
pub struct NetworkNamespace {
    file: Arc<File>,
    inode: u32,
    /// Who enters it; without one, the calling thread.
    doorkeeper: Option<Doorkeeper>,
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
        match netns {
            Netns::SelfNs => Self::of_path(PathBuf::from("/proc/self/ns/net")),
            Netns::Pid(pid) => Self::of_process(*pid),
            Netns::Path(path) => Self::of_path(path.clone()),
            Netns::Cgroup(_) | Netns::Unit(_) | Netns::Container(_) => Self::of_cgroup(netns),
        }
    }

    /// That of the processes of a cgroup. What supervises a container may be beside it, in the namespace of
    /// the host: where there are two, it is the other one.
    fn of_cgroup(netns: &Netns) -> Result<Self, NetnsError> {
        let failed = |source| NetnsError {
            path: netns.to_string().into(),
            source,
        };
        let own = Self::of_path(PathBuf::from("/proc/self/ns/net"))?;
        let mut found = Err(failed(io::ErrorKind::NotFound.into()));
        for process in cgroups::processes(netns).map_err(failed)? {
            // Some may have ended by now.
            match Self::of_process(process) {
                Ok(other) if other.inode != own.inode => return Ok(other),
                Err(error) if error.is_absent() => {}
                opened => found = opened,
            }
        }
        found
    }

    fn of_process(pid: u32) -> Result<Self, NetnsError> {
        Self::of_path(PathBuf::from(format!("/proc/{pid}/ns/net")))
    }

    fn of_path(path: PathBuf) -> Result<Self, NetnsError> {
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
            // nsfs numbers its inodes from a 32-bit space: proc_alloc_inum().
            let inode = u32::try_from(inode).map_err(io::Error::other)?;
            Ok(Self {
                file: Arc::new(file),
                inode,
                doorkeeper: None,
            })
        };
        open().map_err(|source| NetnsError { path, source })
    }

    /// The inode number of its `nsfs` file: `struct ns_common.inum`.
    #[must_use]
    pub const fn inode(&self) -> u32 {
        self.inode
    }

    /// The same namespace, which this thread enters for all others.
    #[must_use]
    pub(crate) fn through(self, doorkeeper: Option<Doorkeeper>) -> Self {
        Self { doorkeeper, ..self }
    }

    /// Runs `action` inside: what it opens stays there.
    ///
    /// # Errors
    /// Those of `action`, or that of entering, for which another namespace needs `CAP_SYS_ADMIN`.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match &self.doorkeeper {
            None => act_inside(&self.file, self.inode, action),
            Some(doorkeeper) => {
                let (file, inode) = (Arc::clone(&self.file), self.inode);
                doorkeeper.run(move || act_inside(&file, inode, action))?
            }
        }
    }
}

/// Acts inside a namespace, on the calling thread, which then is again where it was.
///
/// A namespace is a property of a thread. None is started for it: where there can be no further
/// thread, nothing could be seen.
fn act_inside<T>(
    namespace: &File,
    inode: u32,
    action: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    let here = File::open("/proc/thread-self/ns/net")?;
    if here.metadata()?.ino() == u64::from(inode) {
        return action();
    }
    let enter = |namespace: &File| {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
    };
    enter(namespace)?;
    // A panic is not to leave the thread there: others use it.
    let done = catch_unwind(AssertUnwindSafe(action));
    enter(&here)?;
    done.unwrap_or_else(|panic| resume_unwind(panic))
}

/// A network namespace by its name, which may come to stand for another one: it is looked up each time.
#[derive(Clone, Debug)]
pub struct Entrance {
    netns: Netns,
    doorkeeper: Option<Doorkeeper>,
}

/// What is to be done inside a namespace cannot be done there.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// There is none, or it may not be opened.
    #[error(transparent)]
    Open(#[from] NetnsError),
    /// It cannot be entered.
    #[error("cannot enter the network namespace {netns}")]
    Enter {
        /// Its name.
        netns: Netns,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl Entrance {
    /// The way into `netns`, by this thread; without one, by whichever calls.
    #[must_use]
    pub const fn new(netns: Netns, doorkeeper: Option<Doorkeeper>) -> Self {
        Self { netns, doorkeeper }
    }

    /// Runs `action` inside the namespace that the name stands for now; returns its inode as well.
    ///
    /// # Errors
    /// When there is no such namespace, it cannot be entered, or `action` fails.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<(T, u32), EnterError> {
        let Self { netns, doorkeeper } = self.clone();
        let failed = {
            let netns = netns.clone();
            move |source| EnterError::Enter { netns, source }
        };
        let enter = move || {
            let namespace = NetworkNamespace::open(&netns)?;
            let done = namespace.run(action);
            let failed = |source| EnterError::Enter { netns, source };
            Ok((done.map_err(failed)?, namespace.inode))
        };
        match doorkeeper {
            None => enter(),
            Some(doorkeeper) => doorkeeper.run(enter).map_err(failed)?,
        }
    }
}

/// What is done inside namespaces.
type Errand = Box<dyn FnOnce() + Send>;

/// The one thread that keeps the rights to enter other network namespaces and to start commands as other
/// users, as far as either is configured, and does nothing else.
///
/// Capabilities belong to threads: those that parse what services send have none.
#[derive(Clone, Debug)]
pub struct Doorkeeper {
    thread: ThreadId,
    errands: mpsc::SyncSender<Errand>,
}

impl Doorkeeper {
    /// Starts the thread, which then has the rights of the calling one that it needs; it ends when
    /// the last clone is dropped.
    ///
    /// # Errors
    /// When the other rights cannot be dropped, or there can be no thread.
    pub fn start(of: Errands) -> io::Result<Self> {
        // Who has an errand waits for it: no queue is needed.
        let (errands, received) = mpsc::sync_channel::<Errand>(0);
        let (sender, dropped) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("doorkeeper".to_owned())
            .spawn(move || {
                let outcome = privileges::keep_for(of);
                let is_dropped = outcome.is_ok();
                // Nobody waits only where the starter has panicked.
                let _ = sender.send(outcome);
                if is_dropped {
                    received.into_iter().for_each(do_errand);
                }
            })?;
        let outcome = dropped.recv().map_err(io::Error::other)?;
        let kept = outcome.map_err(io::Error::other)?;
        tracing::info!(
            kept = kept.join(","),
            namespaces = of.namespaces,
            users = of.users,
            "one thread keeps the rights to enter network namespaces and to start commands as other users"
        );
        Ok(Self {
            thread: thread.thread().id(),
            errands,
        })
    }

    /// Has `action` done by the thread.
    ///
    /// # Errors
    /// When the thread has ended, or `action` has panicked.
    pub fn run<T: Send + 'static>(
        &self,
        action: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        if thread::current().id() == self.thread {
            return Ok(action());
        }
        let (sender, result) = mpsc::sync_channel(1);
        let errand: Errand = Box::new(move || {
            // Nobody waits only where the asking thread has panicked.
            let _ = sender.send(action());
        });
        self.errands
            .send(errand)
            .map_err(|_| io::Error::other("the thread for network namespaces has ended"))?;
        let failed = |_| io::Error::other("the thread for network namespaces panicked");
        result.recv().map_err(failed)
    }
}

/// Whoever gave the errand learns of a panic: the others still need the thread.
fn do_errand(errand: Errand) {
    let _ = catch_unwind(AssertUnwindSafe(errand));
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
