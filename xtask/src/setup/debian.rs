//! Installing on Debian 12: packages by apt, as root or by sudo.
//!
//! No service is started: tests start what they need themselves, and a Prometheus or a PostgreSQL
//! that came up by itself would hold their ports. What to install is the table's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::kernels::image;
use crate::step::run_logged;
use crate::workspace;

/// Installs the packages that it is given, while a policy forbids services to start.
///
/// 101 is "action forbidden by policy", see invoke-rc.d(8). A policy that is there already is the
/// administrator's, and is left alone. It is one script, so that the policy goes whatever happens.
const INSTALL: &str = r#"
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
apt-get --quiet --yes --no-install-recommends -o DPkg::Lock::Timeout=120 install "$@"
"#;

/// Where Debian's first cluster of PostgreSQL 15 lives.
const CLUSTER: &str = "/var/lib/postgresql/15/main";

/// Whether this is the Debian that the table is made for.
pub(crate) fn is_debian_12() -> bool {
    names_debian_12(&fs::read_to_string("/etc/os-release").unwrap_or_default())
}

fn names_debian_12(release: &str) -> bool {
    let has = |line: &str| release.lines().any(|found| found.replace('"', "") == line);
    has("ID=debian") && has("VERSION_ID=12")
}

/// Refreshes the lists of packages.
pub(crate) fn update() -> Result<()> {
    run_logged(
        "apt-get update",
        as_root("apt-get")?.args(["--quiet", "update"]),
    )
}

/// Installs packages, without those that they merely recommend and without starting a service.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let had_cluster = Path::new(CLUSTER).exists();
    run_logged(
        "apt-get install",
        as_root("env")?
            .args(["DEBIAN_FRONTEND=noninteractive", "sh", "-c", INSTALL, "sh"])
            .args(packages),
    )?;
    if !had_cluster && Path::new(CLUSTER).exists() {
        // The package makes an empty cluster that would start with the machine's next boot.
        run_logged(
            "drop the empty PostgreSQL cluster",
            as_root("pg_dropcluster")?.args(["15", "main"]),
        )?;
    }
    Ok(())
}

/// Takes files out of a package into the folder `into`, without installing the package.
pub(crate) fn extract(package: &str, files: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into).with_context(|| format!("create {}", into.display()))?;
    let scratch = unpack(package)?;
    for file in files {
        let name = Path::new(file).file_name().context("the file has a name")?;
        fs::copy(scratch.join(file), into.join(name)).with_context(|| format!("copy {file}"))?;
    }
    fs::remove_dir_all(&scratch).context("remove the scratch folder")
}

/// Puts the kernel that the package `latest` depends on into the cache of kernels.
pub(crate) fn keep_kernel(series: &str, latest: &str) -> Result<()> {
    let output = Command::new("apt-cache")
        .args(["depends", "--important", latest])
        .output()
        .context("start apt-cache")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let package = kernel_of_depends(&text)
        .with_context(|| format!("{latest} depends on no kernel: {}", text.trim()))?;
    let scratch = unpack(package)?;
    image::keep(series, &scratch)?;
    fs::remove_dir_all(&scratch).context("remove the scratch folder")
}

fn kernel_of_depends(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

/// Downloads a package and unpacks it into a folder that is the caller's to remove.
fn unpack(package: &str) -> Result<PathBuf> {
    let scratch = workspace::root().join("target/xtask/extract");
    if scratch.exists() {
        fs::remove_dir_all(&scratch).context("clear the scratch folder")?;
    }
    fs::create_dir_all(&scratch).context("create the scratch folder")?;
    run_logged(
        &format!("download {package}"),
        Command::new("apt-get")
            .current_dir(&scratch)
            .args(["--quiet", "download", package]),
    )?;
    let archive = the_only_file(&scratch)?;
    run_logged(
        &format!("unpack {package}"),
        Command::new("dpkg-deb")
            .arg("--extract")
            .arg(&archive)
            .arg(&scratch),
    )?;
    Ok(scratch)
}

fn the_only_file(folder: &Path) -> Result<PathBuf> {
    let mut entries = fs::read_dir(folder).context("read the scratch folder")?;
    match entries.next() {
        Some(entry) => Ok(entry.context("read the scratch folder")?.path()),
        None => bail!("apt-get downloaded nothing"),
    }
}

/// A command that runs as root: as it is, or by sudo.
fn as_root(program: &str) -> Result<Command> {
    if rustix::process::geteuid().is_root() {
        return Ok(Command::new(program));
    }
    let sudo = workspace::find_command("sudo")
        .context("installing packages needs root\nhint: run it as root, or install sudo")?;
    let mut command = Command::new(sudo);
    command.arg(program);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_by_what_the_latest_depends_on() {
        let text = "linux-image-6.12-cloud-amd64\n  Depends: linux-image-6.12.9-cloud-amd64\n";
        assert_eq!(
            kernel_of_depends(text),
            Some("linux-image-6.12.9-cloud-amd64")
        );
        assert_eq!(kernel_of_depends("linux-image-6.12-cloud-amd64\n"), None);
    }

    #[test]
    fn only_debian_12_is_debian_12() {
        assert!(names_debian_12(
            "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n"
        ));
        assert!(!names_debian_12("VERSION_ID=\"13\"\nID=debian\n"));
        assert!(!names_debian_12(
            "VERSION_ID=\"12\"\nID=fedora\nID_LIKE=debian\n"
        ));
        assert!(!names_debian_12(""));
    }
}
