//! The tree that becomes a package: files with their modes, below a folder of its own.
//!
//! It knows how files are put; not which.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

/// A tree in the making.
pub(super) struct Staging {
    root: PathBuf,
    bytes: u64,
}

impl Staging {
    /// An empty one, in place of whatever was there.
    pub(super) fn new(root: &Path) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(root).with_context(|| format!("empty {}", root.display()))?;
        }
        fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
        set_mode(root, 0o755)?;
        Ok(Self {
            root: root.to_owned(),
            bytes: 0,
        })
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What the files take.
    pub(super) fn kibibytes(&self) -> u64 {
        self.bytes.div_ceil(1024)
    }

    /// A program, without what debuggers need.
    pub(super) fn program(&mut self, from: &Path, to: &str) -> Result<PathBuf> {
        let path = self.place(to)?;
        let status = Command::new("strip")
            .args(["--strip-unneeded", "--remove-section=.comment", "-o"])
            .arg(&path)
            .arg(from)
            .status()
            .context("start strip")?;
        ensure!(status.success(), "strip {}: {status}", from.display());
        self.seal(&path, 0o755)?;
        Ok(path)
    }

    /// A text.
    pub(super) fn text(&mut self, to: &str, text: &str) -> Result<()> {
        let path = self.place(to)?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        self.seal(&path, 0o644)
    }

    /// A file that is kept compressed, without the time of the compression in it.
    pub(super) fn compressed(&mut self, to: &str, content: &[u8]) -> Result<()> {
        let path = self.place(to)?;
        let file = fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        let mut gzip = Command::new("gzip")
            .args(["-9", "--no-name"])
            .stdin(Stdio::piped())
            .stdout(file)
            .spawn()
            .context("start gzip")?;
        let mut stdin = gzip.stdin.take().context("its stdin is a pipe")?;
        stdin.write_all(content).context("write to gzip")?;
        drop(stdin);
        let status = gzip.wait().context("wait for gzip")?;
        ensure!(status.success(), "gzip {}: {status}", path.display());
        self.seal(&path, 0o644)
    }

    /// A file of the package's own, beside the tree.
    pub(super) fn control(&mut self, name: &str, text: &str, mode: u32) -> Result<()> {
        let path = self.place(&format!("DEBIAN/{name}"))?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        set_mode(&path, mode)
    }

    /// Removes the tree: it is packed.
    pub(super) fn remove(self) -> Result<()> {
        fs::remove_dir_all(&self.root).with_context(|| format!("remove {}", self.root.display()))
    }

    /// The path of a file, whose folders are there and open to all, whatever the umask is.
    fn place(&self, to: &str) -> Result<PathBuf> {
        let path = self.root.join(to);
        let folders: Vec<&Path> = path
            .ancestors()
            .skip(1)
            .take_while(|folder| *folder != self.root)
            .collect();
        for folder in folders.into_iter().rev().filter(|folder| !folder.exists()) {
            fs::create_dir(folder).with_context(|| format!("create {}", folder.display()))?;
            set_mode(folder, 0o755)?;
        }
        Ok(path)
    }

    fn seal(&mut self, path: &Path, mode: u32) -> Result<()> {
        set_mode(path, mode)?;
        let metadata = fs::metadata(path).with_context(|| format!("look at {}", path.display()))?;
        self.bytes += metadata.len();
        Ok(())
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}
