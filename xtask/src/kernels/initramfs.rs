//! The guest's file system: busybox, the test program, the workspace's programs, a few tools, and
//! the libraries of them all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::workspace::{self, find_command};

/// PID 1.
const INIT: &str = include_str!("init.sh");

/// What tests call; one that is missing makes them say so.
const TOOLS: &[&str] = &["bpftool", "curl", "ip", "setpriv", "ss"];

/// Tests make temporary directories, and drop to users who have no name otherwise.
const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// The host's own, which a client of S3 wants to find.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A folder that becomes an initramfs.
pub(crate) struct Tree {
    root: PathBuf,
    libraries: BTreeSet<PathBuf>,
}

impl Tree {
    /// What is the same for every kernel: the test executable, the programs that it starts, tools.
    pub(crate) fn make(root: PathBuf, test: &Path, programs: &[PathBuf]) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root).context("clear the guest's folder")?;
        }
        let libraries = BTreeSet::new();
        let mut tree = Self { root, libraries };
        for folder in [
            "bin",
            "dev",
            "etc",
            "modules",
            "plumbline",
            "proc",
            "sys",
            "tmp",
        ] {
            let folder = tree.root.join(folder);
            fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        }
        // What is in /bin is in /usr/bin as well, as on Debian.
        symlink(".", tree.root.join("usr")).context("link /usr")?;
        fs::set_permissions(tree.root.join("tmp"), fs::Permissions::from_mode(0o1777))
            .context("open /tmp to all")?;
        for (file, text) in FILES {
            tree.write(file, text)?;
        }
        tree.write("init", INIT)?;
        fs::set_permissions(tree.root.join("init"), fs::Permissions::from_mode(0o755))
            .context("make init executable")?;
        // Busybox is static.
        let busybox = find_command("busybox").context("find busybox")?;
        tree.copy(&busybox, Path::new("bin/busybox"))?;

        // The test finds the programs beside itself.
        tree.strip(test, Path::new("plumbline/it"))?;
        for program in programs {
            let name = program.file_name().context("a program has a name")?;
            tree.strip(program, &Path::new("plumbline").join(name))?;
        }
        for tool in TOOLS.iter().filter_map(|tool| find_command(tool)) {
            let name = tool.file_name().context("a tool has a name")?;
            tree.copy(&tool, &Path::new("bin").join(name))?;
            tree.add_libraries(&tool)?;
        }
        for library in &tree.libraries {
            let inside = library.strip_prefix("/").unwrap_or(library);
            tree.copy(library, inside)?;
        }
        let certificates = Path::new(CERTIFICATES);
        if certificates.is_file() {
            tree.copy(
                certificates,
                certificates.strip_prefix("/").unwrap_or(certificates),
            )?;
        }
        // Tests ask whether the BPF programs are built, on a path from their own package's folder.
        let object = workspace::root().join("target/ebpf/observer-ebpf");
        tree.copy(&object, object.strip_prefix("/").unwrap_or(&object))?;
        let package = workspace::root().join("tests");
        let package = tree
            .root
            .join(package.strip_prefix("/").unwrap_or(&package));
        fs::create_dir_all(&package).with_context(|| format!("create {}", package.display()))?;
        Ok(tree)
    }

    /// Packs it with a kernel's modules and the tests to run, each with its bound in seconds.
    pub(crate) fn pack(&self, modules: &[PathBuf], tests: &str, into: &Path) -> Result<()> {
        let folder = self.root.join("modules");
        fs::remove_dir_all(&folder).context("clear the modules")?;
        fs::create_dir(&folder).context("create the folder of modules")?;
        for module in modules {
            let name = module.file_name().context("a module has a name")?;
            self.copy(module, &Path::new("modules").join(name))?;
        }
        self.write("plumbline/tests", tests)?;

        let archive = File::create(into).with_context(|| format!("create {}", into.display()))?;
        let status = Command::new("sh")
            .args(["-c", "find . | busybox cpio -o -H newc"])
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(archive)
            .stderr(Stdio::null())
            .status()
            .context("start cpio")?;
        ensure!(status.success(), "cpio: {status}");
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        fs::write(self.root.join(file), text).with_context(|| format!("write the guest's {file}"))
    }

    fn copy(&self, from: &Path, inside: &Path) -> Result<()> {
        let to = self.root.join(inside);
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        }
        fs::copy(from, &to).with_context(|| format!("copy {}", from.display()))?;
        Ok(())
    }

    /// Copies a program without its debugging information, which is most of it.
    fn strip(&mut self, from: &Path, inside: &Path) -> Result<()> {
        let status = Command::new("strip")
            .arg("-o")
            .arg(self.root.join(inside))
            .arg(from)
            .status()
            .context("start strip (binutils)")?;
        ensure!(status.success(), "strip {}: {status}", from.display());
        self.add_libraries(from)
    }

    fn add_libraries(&mut self, program: &Path) -> Result<()> {
        let output = Command::new("ldd")
            .arg(program)
            .output()
            .context("start ldd")?;
        let text = String::from_utf8_lossy(&output.stdout);
        self.libraries.extend(libraries_of_ldd(&text));
        Ok(())
    }
}

/// Files named by `ldd`: `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld-linux.so.2 (0x…)`.
fn libraries_of_ldd(text: &str) -> impl Iterator<Item = PathBuf> {
    text.lines().filter_map(|line| {
        let path = line.split_whitespace().find(|word| word.starts_with('/'))?;
        Some(PathBuf::from(path))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x2)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x3)\n\tstatically linked\n";
        let found: Vec<PathBuf> = libraries_of_ldd(text).collect();
        assert_eq!(
            found,
            ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from)
        );
    }
}
