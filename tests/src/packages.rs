//! Services of Debian's packages, each as its recipe has it: started, filled with clients, and given some
//! that make its gauge wrong.
//!
//! It knows how a service is started, who counts as a client of it, and whom its gauge counts besides.
//! What they are is the table of [`all`] of them. What is said of them is the test's.

mod databases;
mod others;
mod package;
mod web;

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use crate::foreign;
use crate::port;
use crate::process::Process;
use crate::wait;
use crate::watched::Watched;

pub use package::{Package, Wrong};

/// Every service.
pub fn all() -> impl Iterator<Item = &'static Package> {
    [databases::PACKAGES, web::PACKAGES, others::PACKAGES]
        .into_iter()
        .flatten()
}

/// For services that take a while to start.
const BOUND: Duration = Duration::from_secs(60);

/// A connection that is held.
#[derive(Debug)]
pub enum Held {
    /// Over TCP.
    Tcp(TcpStream),
    /// To a Unix socket.
    Unix(UnixStream),
}

/// A service that runs.
#[derive(Debug)]
pub struct Running {
    package: &'static Package,
    ports: [u16; 5],
    folder: TempDir,
    _processes: Vec<Process>,
}

/// The places for ports, in the order of [`Running::ports`].
const PORTS: [&str; 5] = ["$public", "$second", "$page", "$inner", "$other"];

impl Package {
    /// Why it cannot run here; `None` if it can.
    #[must_use]
    pub fn obstacle(&self) -> Option<String> {
        let is_missing = |command: &&&str| {
            let mut which = Command::new("sh");
            which.args(["-c", "command -v \"$1\"", "sh", &installed(command)]);
            let status = which.stdout(Stdio::null()).status();
            !status.is_ok_and(|status| status.success())
        };
        let missing = self.commands.iter().find(is_missing)?;
        Some(format!("{missing} is not installed"))
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Errors
    /// It does not come up; the text has its log.
    pub async fn start(&'static self) -> Result<Running> {
        let folder = tempfile::tempdir().context("make a temporary directory")?;
        let mut ports = [0; 5];
        for port in &mut ports {
            *port = port::free()?;
        }
        let mut running = Running {
            package: self,
            ports,
            folder,
            _processes: Vec::new(),
        };
        running.write_files()?;
        for command in self.prepare {
            let output = running.command(command).output().context("prepare")?;
            ensure!(output.status.success(), "{command:?}: {output:?}");
        }
        if !self.beside.is_empty() {
            let beside = Process::start(&mut running.command(self.beside))?;
            running._processes.push(beside);
        }
        let [public, _, page, ..] = ports;
        for (command, port) in self.run.iter().zip([public, page]) {
            let process = Process::start(&mut running.command(command))?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let listens = wait::until(self.name, BOUND, async || {
                let connected = TcpStream::connect(address).await;
                connected.map(drop).map_err(|error| error.to_string())
            });
            let listens = listens.await;
            listens.with_context(|| format!("{}{}", process.stdout(), process.log()))?;
            running._processes.push(process);
        }
        Ok(running)
    }
}

/// With the paths of what is installed, and of the tests' own services.
fn installed(text: &str) -> String {
    let envoy = env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned());
    text.replace("$envoy", &envoy)
        .replace("$foreign", &foreign::installed("").display().to_string())
        .replace("$scripts", concat!(env!("CARGO_MANIFEST_DIR"), "/foreign"))
}

impl Running {
    fn write_files(&self) -> Result<()> {
        for (name, text) in self.package.files {
            let path = self.folder.path().join(name);
            fs::write(&path, self.fill(text)).with_context(|| format!("write {name}"))?;
        }
        let Some(user) = self.package.user else {
            return Ok(());
        };
        let id = id_of(user)?;
        let own = |path: &Path| chown(path, Some(id), None).context("chown");
        own(self.folder.path())?;
        for (name, _) in self.package.files {
            own(&self.folder.path().join(name))?;
        }
        Ok(())
    }

    fn fill(&self, text: &str) -> String {
        let folder = self.folder.path().display().to_string();
        let mut text = installed(text).replace("$folder", &folder);
        for (place, port) in PORTS.iter().zip(self.ports) {
            text = text.replace(place, &port.to_string());
        }
        text
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = match self.package.user {
            None => Command::new("env"),
            Some(user) => {
                let mut command = Command::new("setpriv");
                command.args([format!("--reuid={user}"), format!("--regid={user}")]);
                command.args(["--clear-groups", "env"]);
                command
            }
        };
        command.arg(self.fill("HOME=$folder"));
        command.args(words.iter().map(|word| self.fill(word)));
        command.current_dir(self.folder.path());
        command
    }

    /// The target of its recipe, of which this is the text, at the ports that it has here; with another
    /// claim, if there is one.
    pub fn target(&self, recipe: &str, claim: Option<&str>) -> Watched {
        let page = self.fill("['http://127.0.0.1:$page/metrics']");
        let target = Watched::of_text(self.package.recipe, recipe)
            .with_toml("listen", &self.fill("['127.0.0.1:$public']"))
            .with_toml("gauge-url", &page)
            // An exporter that connects anew at each check is to be alone in its window.
            .with("interval", "2s")
            .with("settle", "300ms");
        let settings = self.package.settings.iter();
        let target = settings.fold(target, |target, (key, value)| match *value {
            "" => target.without(key),
            value => target.with_toml(key, &self.fill(value)),
        });
        match claim {
            None => target,
            Some(claim) => target.without("gauge").with_toml("claim", claim),
        }
    }

    /// The port of its clients.
    #[must_use]
    pub fn public_port(&self) -> u16 {
        self.ports[0]
    }

    /// Clients, as its gauge counts them.
    ///
    /// # Errors
    /// It does not accept them.
    pub async fn clients(&self, count: usize) -> Result<Vec<Held>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports[0]));
        connect(address, self.package.hello, count).await
    }

    /// Those that make it wrong, and by how much.
    ///
    /// # Errors
    /// It does not accept them.
    pub async fn wrong(&self, count: usize) -> Result<(Vec<Held>, i64)> {
        let [public, second, ..] = self.ports;
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let by = i64::try_from(count).context("few")?;
        Ok(match self.package.wrong {
            Wrong::Port(hello) => (connect(at(second), hello, count).await?, by),
            Wrong::Address(address) => {
                let other = SocketAddr::from((address, public));
                (connect(other, self.package.hello, count).await?, by)
            }
            Wrong::Unix(name) => {
                let path = self.folder.path().join(self.fill(name));
                let mut held = Vec::new();
                for _ in 0..count {
                    let stream = UnixStream::connect(&path).await;
                    held.push(Held::Unix(stream.context("connect")?));
                }
                (held, by)
            }
            Wrong::Silent => (connect(at(public), &[], count).await?, -by),
            Wrong::Claim(_, by) => (Vec::new(), by),
        })
    }
}

async fn connect(address: SocketAddr, hello: &[u8], count: usize) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for _ in 0..count {
        let stream = TcpSocket::new_v4()?.connect(address).await;
        let mut stream = stream.with_context(|| format!("connect to {address}"))?;
        stream.write_all(hello).await.context("say hello")?;
        held.push(Held::Tcp(stream));
    }
    Ok(held)
}

fn id_of(user: &str) -> Result<u32> {
    let users = fs::read_to_string("/etc/passwd").context("read the users")?;
    let fields = users
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields
        .into_iter()
        .find(|fields| fields.first() == Some(&user));
    let id = found.as_ref().and_then(|fields| fields.get(2));
    id.and_then(|id| id.parse().ok())
        .with_context(|| format!("there is no user {user}"))
}
