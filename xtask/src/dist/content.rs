//! What is in which package, beside what is in each.
//!
//! Manual pages, completions and the observer's configuration are what the programs print.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::read;
use super::staging::Staging;
use crate::workspace;

/// A package.
pub(super) struct Package {
    /// Its name, and its service's.
    pub(super) name: &'static str,
    /// The program as cargo builds it.
    pub(super) program: &'static str,
    /// The program as it is installed. `server` would be anybody's name.
    pub(super) installed_as: &'static str,
    /// Its configuration file, which an upgrade leaves as it is.
    pub(super) configuration: &'static str,
    /// What somebody who has just installed it reads.
    pub(super) readme: &'static str,
    /// Puts what only this package has.
    pub(super) content: fn(&mut Staging, &Path) -> Result<()>,
}

/// Both.
pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "plumbline-observer",
        program: "observer",
        installed_as: "usr/bin/observer",
        configuration: "etc/plumbline/observer.toml",
        readme: "deploy/debian/README.observer.md",
        content: observer,
    },
    Package {
        name: "plumbline-server",
        program: "server",
        installed_as: "usr/bin/plumbline-server",
        configuration: "etc/plumbline/server.toml",
        readme: "deploy/debian/README.server.md",
        content: server,
    },
];

fn observer(staging: &mut Staging, program: &Path) -> Result<()> {
    let configuration = said(program, &["config", "default"])?;
    staging.text("etc/plumbline/observer.toml", &configuration)?;
    manual_pages(staging, program, &[])?;
    for (shell, file) in [
        ("bash", "bash-completion/completions/observer"),
        ("zsh", "zsh/vendor-completions/_observer"),
        ("fish", "fish/vendor_completions.d/observer.fish"),
    ] {
        let script = said(program, &["completions", shell])?;
        staging.text(&format!("usr/share/{file}"), &script)?;
    }
    let documents = "usr/share/doc/plumbline-observer";
    for (from, to) in [
        ("deploy/prometheus/prometheus.yml", "examples/prometheus"),
        ("deploy/prometheus/rules", "examples/prometheus/rules"),
        ("deploy/grafana", "examples/grafana"),
        ("deploy/systemd/netns.conf", "examples"),
        ("deploy/runbooks", "runbooks"),
    ] {
        copy(staging, from, &format!("{documents}/{to}"))?;
    }
    Ok(())
}

fn server(staging: &mut Staging, program: &Path) -> Result<()> {
    let configuration = read("deploy/debian/server.toml")?;
    staging.text("etc/plumbline/server.toml", &configuration)?;
    let page = said(program, &["--man"])?;
    staging.compressed("usr/share/man/man8/plumbline-server.8.gz", page.as_bytes())
}

/// The manual page of a command, and those of the commands that it refers to.
fn manual_pages(staging: &mut Staging, program: &Path, command: &[&str]) -> Result<()> {
    let page = said(program, &[&["man"], command].concat())?;
    let name = [&["observer"], command].concat().join("-");
    staging.compressed(&format!("usr/share/man/man1/{name}.1.gz"), page.as_bytes())?;
    for reference in references(&page, &name) {
        if reference != "help" {
            manual_pages(staging, program, &[command, &[reference]].concat())?;
        }
    }
    Ok(())
}

/// The commands below `name` that a page refers to, as `observer\-config(1)`.
fn references<'page>(page: &'page str, name: &str) -> Vec<&'page str> {
    let start = format!("{}\\-", name.replace('-', "\\-"));
    page.lines()
        .filter_map(|line| line.strip_prefix(&start)?.strip_suffix("(1)"))
        .collect()
}

/// Copies a file, or the files of a folder, into a folder.
fn copy(staging: &mut Staging, from: &str, into: &str) -> Result<()> {
    let path = workspace::root().join(from);
    let name = path.file_name().context("it has a name")?.to_string_lossy();
    if path.is_file() {
        return staging.text(&format!("{into}/{name}"), &read(from)?);
    }
    let entries = fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("read {}", path.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        staging.text(&format!("{into}/{name}"), &read(&format!("{from}/{name}"))?)?;
    }
    Ok(())
}

/// What a program prints.
fn said(program: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} {}: {}",
        program.display(),
        arguments.join(" "),
        output.status
    );
    String::from_utf8(output.stdout).context("what it prints is text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_refers_to_the_commands_below_its_own() {
        let page = ".TP\nobserver\\-config\\-check(1)\nCheck\n.TP\nobserver\\-config\\-help(1)\n";
        assert_eq!(references(page, "observer-config"), ["check", "help"]);
        assert!(references(page, "observer-config-check").is_empty());
    }
}
