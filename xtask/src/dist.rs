//! `cargo xtask dist`: the Debian packages of the observer and of the server.
//!
//! Each is a tree that is staged file by file and packed by dpkg-deb: there is nothing to configure
//! that a packaging tool would know better. What belongs into which package is `content`'s.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::build_ebpf::build_ebpf;
use crate::step::run_logged;
use crate::workspace;

mod content;
mod staging;

use content::{PACKAGES, Package};
use staging::Staging;

/// Who answers for the packages, unless `DEBFULLNAME` and `DEBEMAIL` say otherwise.
const MAINTAINER: (&str, &str) = ("Plumbline packagers", "packagers@plumbline.invalid");

/// What `cargo xtask dist` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Take the programs that are in this folder, and build nothing.
    #[arg(long, value_name = "FOLDER")]
    programs: Option<PathBuf>,
    /// Where the packages are put.
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    into: PathBuf,
    /// Debian's revision: higher for the same version packed again.
    #[arg(long, default_value_t = 1)]
    revision: u32,
}

/// Builds the programs for release and packs them.
///
/// # Errors
/// They do not build, or a tool of Debian's is missing.
pub(crate) fn dist(options: Options) -> Result<()> {
    for tool in ["dpkg-deb", "dpkg-shlibdeps", "strip", "gzip"] {
        ensure!(
            workspace::find_command(tool).is_some(),
            "{tool} is missing\nhint: apt-get install dpkg-dev binutils"
        );
    }
    let programs = match &options.programs {
        Some(folder) => folder.clone(),
        None => build()?,
    };
    fs::create_dir_all(&options.into)
        .with_context(|| format!("create {}", options.into.display()))?;
    for package in PACKAGES {
        let file = package.pack(&programs, &options)?;
        println!("{}", file.display());
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    build_ebpf()?;
    run_logged(
        "build for release",
        workspace::cargo().args([
            "build",
            "--release",
            "--locked",
            "--package",
            "observer",
            "--package",
            "server",
        ]),
    )?;
    Ok(workspace::target_dir().join("release"))
}

impl Package {
    fn pack(&self, programs: &Path, options: &Options) -> Result<PathBuf> {
        let version = format!("{}-{}", env!("CARGO_PKG_VERSION"), options.revision);
        let architecture = architecture()?;
        let mut staging = Staging::new(&options.into.join(format!(".{}", self.name)))?;

        let program = staging.program(&programs.join(self.program), self.installed_as)?;
        let depends = shared_libraries(&program, &options.into)?;
        (self.content)(&mut staging, &programs.join(self.program))?;
        self.documents(&mut staging, &version)?;
        self.scripts(&mut staging)?;

        let (name, email) = maintainer();
        let control = format!(
            "Package: {}\nVersion: {version}\nArchitecture: {architecture}\n\
             Maintainer: {name} <{email}>\nInstalled-Size: {}\nDepends: {depends}\n{}",
            self.name,
            staging.kibibytes(),
            read(&format!("deploy/debian/{}.control", self.name))?,
        );
        staging.control("control", &control, 0o644)?;

        let file = options
            .into
            .join(format!("{}_{version}_{architecture}.deb", self.name));
        run_logged(
            &format!("pack {}", self.name),
            Command::new("dpkg-deb")
                // Ownership is root's, whoever packs. xz would save a third and take ten times as long.
                .args(["--root-owner-group", "-Zgzip", "-z6", "--build"])
                .arg(staging.root())
                .arg(&file),
        )?;
        staging.remove()?;
        Ok(file)
    }

    /// What every package has in its folder of documents.
    fn documents(&self, staging: &mut Staging, version: &str) -> Result<()> {
        let folder = format!("usr/share/doc/{}", self.name);
        let licence: String = read("LICENSE-MIT")?
            .lines()
            .map(|line| match line {
                "" => " .\n".to_owned(),
                line => format!(" {line}\n"),
            })
            .collect();
        let copyright = read("deploy/debian/copyright")?.replace("@MIT@\n", &licence);
        staging.text(&format!("{folder}/copyright"), &copyright)?;
        let (name, email) = maintainer();
        let changelog = format!(
            "{} ({version}) stable; urgency=medium\n\n  * See CHANGELOG.md of the sources.\n\n \
             -- {name} <{email}>  {}\n",
            self.name,
            commit_date()?
        );
        staging.compressed(
            &format!("{folder}/changelog.Debian.gz"),
            changelog.as_bytes(),
        )?;
        staging.text(&format!("{folder}/METRICS.md"), &read("METRICS.md")?)?;
        staging.text(&format!("{folder}/README.md"), &read(self.readme)?)?;
        staging.text(
            &format!("lib/systemd/system/{}.service", self.name),
            &read(&format!("deploy/systemd/{}.service", self.name))?,
        )
    }

    fn scripts(&self, staging: &mut Staging) -> Result<()> {
        for script in ["postinst", "prerm", "postrm"] {
            let text = read(&format!("deploy/debian/{script}"))?.replace("@PACKAGE@", self.name);
            staging.control(script, &text, 0o755)?;
        }
        staging.control("conffiles", &format!("/{}\n", self.configuration), 0o644)
    }
}

/// A file of the sources.
fn read(file: &str) -> Result<String> {
    let path = workspace::root().join(file);
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => anyhow::bail!("no packages are made for {other}"),
    }
}

/// As Debian's own tools have it.
fn maintainer() -> (String, String) {
    let variable = |name, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    (
        variable("DEBFULLNAME", MAINTAINER.0),
        variable("DEBEMAIL", MAINTAINER.1),
    )
}

/// When the packed state was committed, for the changelog: the same sources give the same package.
fn commit_date() -> Result<String> {
    let output = Command::new("git")
        .current_dir(workspace::root())
        .args(["log", "-1", "--format=%cD"])
        .output()
        .context("start git")?;
    ensure!(output.status.success(), "git log: {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The packages that a program's shared libraries come from, with the least versions.
fn shared_libraries(program: &Path, scratch: &Path) -> Result<String> {
    // The tool wants to stand in a source package.
    let folder = scratch.join(".shlibdeps");
    fs::create_dir_all(folder.join("debian")).context("make a scratch folder")?;
    fs::write(folder.join("debian/control"), "").context("make a scratch folder")?;
    let program = fs::canonicalize(program).context("find the staged program")?;
    let output = Command::new("dpkg-shlibdeps")
        .current_dir(&folder)
        .arg("-O")
        .arg(&program)
        .output()
        .context("start dpkg-shlibdeps")?;
    fs::remove_dir_all(&folder).context("remove the scratch folder")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let depends = said.trim().strip_prefix("shlibs:Depends=");
    depends.map(str::to_owned).with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("dpkg-shlibdeps: {}: {}", output.status, errors.trim())
    })
}
