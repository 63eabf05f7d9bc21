//! A root directory that the packages are installed into: packed as `cargo xtask dist` packs them, of
//! the programs under test.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use tests::process::binary;

use super::succeeds;

/// The packages, each named as its service.
pub(super) const PACKAGES: [&str; 2] = ["plumbline-observer", "plumbline-server"];

/// Why a test cannot run here, if it cannot.
pub(super) fn missing(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to install packages and to become another user".to_owned());
    }
    let is_missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    let tool = tools.iter().find(is_missing)?;
    Some(format!("{tool} is not installed: cargo xtask setup"))
}

/// A root directory, with what dpkg keeps there.
pub(super) struct Host {
    folder: TempDir,
}

impl Host {
    /// One without packages.
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(folder.path(), open).expect("open it to all");
        let host = Self { folder };
        for folder in ["info", "updates", "triggers"] {
            fs::create_dir_all(host.path(&format!("var/lib/dpkg/{folder}")))
                .expect("dpkg's folders");
        }
        fs::write(host.path("var/lib/dpkg/status"), "").expect("dpkg's list");
        host
    }

    /// Where things are that are not in the root.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path in the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// Packs the programs that are tested here.
    pub(super) fn pack(&self, revision: u32) -> Vec<PathBuf> {
        let programs = binary("observer").expect("observer");
        let into = self.folder.path().join("packages");
        let said = succeeds(
            Command::new(binary("xtask").expect("xtask"))
                .args(["dist", "--programs"])
                .arg(programs.parent().expect("a folder"))
                .arg("--into")
                .arg(&into)
                .arg(format!("--revision={revision}")),
        );
        let packages = PACKAGES.map(|name| {
            let file = said
                .lines()
                .find(|line| line.contains(&format!("/{name}_")));
            PathBuf::from(file.unwrap_or_else(|| panic!("{name}: {said}")))
        });
        packages.into()
    }

    /// Installs packages, or upgrades to them.
    pub(super) fn install(&self, packages: &[PathBuf]) {
        let files = packages.iter().map(|file| file.to_str().expect("a path"));
        let arguments: Vec<&str> = ["--install"].into_iter().chain(files).collect();
        self.dpkg(&arguments);
    }

    /// The libraries of the host serve: the root has none, so that nothing is downloaded.
    pub(super) fn dpkg(&self, arguments: &[&str]) -> String {
        succeeds(
            Command::new("dpkg")
                .arg(format!("--root={}", self.path("").display()))
                .args([
                    "--force-script-chrootless",
                    "--force-depends",
                    "--log=/dev/null",
                ])
                .args(arguments),
        )
    }

    /// Every file that is not dpkg's own.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (mut files, mut folders) = (Vec::new(), vec![self.path("")]);
        let dpkg = self.path("var/lib/dpkg");
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() && path != dpkg {
                    folders.push(path);
                } else if path != dpkg {
                    files.push(path);
                }
            }
        }
        files
    }
}
