//! The files that a configuration comes from: what is in them, which lists there are, and whether any is
//! another than before.
//!
//! A file is told by what the kernel says of it, and not by its text: one that is replaced as a whole is
//! another, and one that is looked at each second costs a call.

use std::{
    fs::{File, Metadata},
    io::{self, Read as _},
    net::UdpSocket,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{LoadError, MAX_FILE, addresses};
use crate::config::{Config, Discovery, List, Pattern, Source};

/// Most lists that a pattern may stand for.
const MAX_LISTS: usize = 1_024;

/// Reads a file.
pub(super) fn read(path: &Path) -> Result<String, LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(failed)?;
    let mut text = String::new();
    let read = file.take(MAX_FILE + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > MAX_FILE {
        return Err(LoadError::TooLarge {
            path: path.to_owned(),
        });
    }
    Ok(text)
}

/// The lists of a pattern, in the order of their names.
pub(super) fn lists_of(pattern: &Pattern) -> Result<Vec<List>, LoadError> {
    let lists = lists(pattern).map_err(|source| LoadError::Read {
        path: pattern.path.clone(),
        source,
    })?;
    let read = |list: &PathBuf| {
        let name = list.display().to_string();
        Ok(List::of_text(&name, Source::File, &read(list)?)?)
    };
    lists.iter().map(read).collect()
}

/// The files that a pattern stands for now. One without a `*` has to be there when it is read.
fn lists(pattern: &Pattern) -> io::Result<Vec<PathBuf>> {
    if pattern.is_literal() {
        return Ok(vec![pattern.path.clone()]);
    }
    let folder = pattern.path.parent().unwrap_or(Path::new(""));
    let opened = match folder.as_os_str().is_empty() {
        true => Path::new(".").read_dir(),
        false => folder.read_dir(),
    };
    let opened = match opened {
        // It may come yet, as its lists may.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut lists = Vec::new();
    for entry in opened {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| pattern.is_of(name)) {
            lists.push(folder.join(name));
        }
        if lists.len() > MAX_LISTS {
            let text = format!("more than {MAX_LISTS} lists");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
    }
    lists.sort();
    Ok(lists)
}

/// Whether an address, or one of a name's, is this host's: only there can a socket be bound to it.
pub(super) fn is_of_host(host: &str) -> bool {
    let mut found = addresses(host).unwrap_or_default().into_iter();
    found.any(|address| UdpSocket::bind((address, 0)).is_ok())
}

/// What tells a file from another, and from itself before it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    /// Device, inode, size, and when it was written: seconds and nanoseconds. None where there is no such
    /// file, or it may not be looked at.
    what: Option<(u64, u64, u64, i64, i64)>,
}

impl Stamp {
    fn of(path: PathBuf) -> Self {
        let what = |of: Metadata| (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec());
        let what = path.metadata().ok().map(what);
        Self { path, what }
    }
}

/// Where the lists of a configuration are that are files.
fn patterns(config: &Config) -> Vec<Pattern> {
    let files = config
        .discovery
        .iter()
        .filter_map(|discovery| match discovery {
            Discovery::Files(pattern) => Some(pattern.clone()),
            Discovery::Page(_) => None,
        });
    files.collect()
}

/// The files of a configuration, as they were when it was read.
#[derive(Debug, Clone)]
pub struct Files {
    config: Option<PathBuf>,
    patterns: Vec<Pattern>,
    /// As they were taken.
    taken: Vec<Stamp>,
    /// As they were at the last look.
    last: Vec<Stamp>,
}

impl Files {
    /// Those that `config` was read of, as they are now.
    #[must_use]
    pub fn of(file: Option<&Path>, config: &Config) -> Self {
        let mut files = Self {
            config: file.map(Path::to_owned),
            patterns: patterns(config),
            taken: Vec::new(),
            last: Vec::new(),
        };
        files.take();
        files
    }

    /// Takes them as they are now: before they are read, so that no change is missed.
    pub fn take(&mut self) {
        self.taken = self.stamps();
        self.last.clone_from(&self.taken);
    }

    /// The lists are where `config` says from now on; those that are new are a change.
    pub fn follow(&mut self, config: &Config) {
        self.patterns = patterns(config);
    }

    /// Looks at them. Whether they are others than those that were taken, and as they were at the last
    /// look, so that nobody is writing them; then these are taken.
    pub fn have_changed(&mut self) -> bool {
        let now = self.stamps();
        let is_settled = now == self.last;
        self.last = now;
        let have_changed = is_settled && self.last != self.taken;
        if have_changed {
            self.taken.clone_from(&self.last);
        }
        have_changed
    }

    fn stamps(&self) -> Vec<Stamp> {
        let lists = self
            .patterns
            .iter()
            .flat_map(|pattern| lists(pattern).unwrap_or_default());
        let files = self.config.iter().cloned().chain(lists);
        files.map(Stamp::of).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn config(pattern: &str) -> Config {
        let text = format!("[[discovery]]\nkind = 'file'\npath = {pattern:?}\n");
        let settings = crate::config::Settings::from_toml("x", &text).unwrap();
        settings.into_config(&|_| Ok(Vec::new())).unwrap()
    }

    #[test]
    fn a_change_is_told_once_it_has_stood_for_a_look() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let pattern = format!("{}/*.json", folder.path().display());
        let main = file("observer.toml");
        fs::write(&main, "").unwrap();
        let mut files = Files::of(Some(&main), &config(&pattern));
        assert!(!files.have_changed());
        let looks = |files: &mut Files| [(); 3].map(|()| files.have_changed());
        fs::write(file("a.json"), "[]").unwrap();
        assert_eq!(looks(&mut files), [false, true, false], "a list has come");
        fs::write(file("new"), "[ ]").unwrap();
        assert_eq!(looks(&mut files), [false; 3], "that is no list");
        fs::rename(file("new"), file("a.json")).unwrap();
        assert_eq!(looks(&mut files), [false, true, false], "it was replaced");
        fs::write(&main, "# changed").unwrap();
        assert_eq!(looks(&mut files), [false, true, false]);
        fs::remove_file(file("a.json")).unwrap();
        assert_eq!(looks(&mut files), [false, true, false], "it has gone");
    }

    #[test]
    fn only_addresses_of_this_host_are_of_it() {
        assert!(is_of_host("127.0.0.1") && is_of_host("localhost"));
        // RFC 5737 section 3: no host has it.
        assert!(!is_of_host("192.0.2.7") && !is_of_host(""));
    }

    #[test]
    fn a_list_without_a_star_has_to_be_there() {
        let listed = |path: &Path| {
            let pattern: Pattern = path.to_str().unwrap().parse().unwrap();
            lists_of(&pattern)
        };
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("x.json");
        let error = listed(&missing).unwrap_err();
        assert!(error.to_string().starts_with("cannot read "), "{error}");
        let star = folder.path().join("*.json");
        assert_eq!(listed(&star).unwrap(), []);
    }
}
