//! The data directory: made if missing, and claimed, so that no two servers write into one.
//!
//! Knows who holds a claim. The claim is a lock of the kernel's: it ends with the process, however that
//! ends, and the file that stays behind holds up nobody. Deliberately does not know what is kept there.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    process,
};

/// The file that is locked, in which the process that holds it has written its id.
const LOCK: &str = "lock";

/// Why the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// It cannot be made.
    #[error("cannot create the data directory {}", path.display())]
    Create {
        /// The directory as configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its lock cannot be opened or had.
    #[error("cannot lock the data directory {}", path.display())]
    Lock {
        /// The directory as configured.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "the data directory {} is in use by {holder}: stop that server, or give this one a directory \
         of its own with --data-dir",
        path.display()
    )]
    InUse {
        /// The directory as configured.
        path: PathBuf,
        /// Who has it, as far as is known.
        holder: String,
    },
}

/// A claim to a data directory, until dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing, and claims it.
    pub(crate) fn claim(path: &Path) -> Result<Self, DataDirError> {
        fs::create_dir_all(path).map_err(|source| DataDirError::Create {
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| DataDirError::Lock {
            path: path.to_owned(),
            source,
        };
        // What another process has written there is still to be read.
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut lock = options.open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    holder: holder(&mut lock),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        // The lock is what counts: on a full disk it merely does not say whose it is.
        if let Err(error) = sign(&mut lock) {
            tracing::debug!(%error, "cannot write into the data directory's lock");
        }
        Ok(Self { _lock: lock })
    }
}

fn sign(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", process::id())
}

/// Who wrote into a lock.
fn holder(lock: &mut File) -> String {
    let mut written = String::new();
    // A process id is far shorter than that.
    let read = lock.take(32).read_to_string(&mut written);
    match written.trim().parse::<u32>() {
        Ok(id) if read.is_ok() => format!("process {id}"),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_claimed_once_and_free_again_when_its_claim_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/of/folders");
        let claim = DataDir::claim(&path).unwrap();
        // A lock belongs to the open file: it holds within a process as well.
        let said = DataDir::claim(&path).unwrap_err().to_string();
        let holder = format!("is in use by process {}: stop that server", process::id());
        assert!(said.contains(&holder), "{said}");
        drop(claim);
        drop(DataDir::claim(&path).unwrap());
        fs::write(path.join(LOCK), "somebody's text\n").unwrap();
        DataDir::claim(&path).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let said = DataDir::claim(Path::new("/proc/nothing")).unwrap_err();
        assert!(said.to_string().contains("/proc/nothing"), "{said}");
    }
}
