//! A client's machine at the end of a cable that can be pulled: a network namespace behind a veth
//! pair.
//!
//! Nobody is told when the cable is pulled: packets are lost, in both directions. The namespace lives
//! no longer than its first process and its last socket, the pair no longer than either.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process::{Process, binary};

const BOUND: Duration = Duration::from_secs(20);

/// The other end, and the way to it.
#[derive(Debug)]
pub struct Cable {
    holder: Process,
    /// This end's address.
    pub here: Ipv4Addr,
    /// The other end's.
    pub there: Ipv4Addr,
}

/// The thread that entered the far end: it goes back when this is dropped.
#[derive(Debug)]
pub struct Entered {
    home: File,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // It came from there, and has the rights that it had.
        let _ = enter(&self.home);
    }
}

fn enter(namespace: &File) -> Result<()> {
    let kind = Some(LinkNameSpaceType::Network);
    move_into_link_name_space(namespace.as_fd(), kind).context("enter a network namespace")
}

/// Why there can be none here; `None` if there can.
#[must_use]
pub fn obstacle() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to make a network namespace".into());
    }
    let has = |command: &str| Command::new(command).arg("--version").output().is_ok();
    let missing = ["ip", "nsenter", "unshare"]
        .into_iter()
        .find(|command| !has(command))?;
    Some(format!("no {missing} (packages iproute2, util-linux)"))
}

impl Cable {
    /// Makes the namespace and the pair.
    ///
    /// # Errors
    /// The kernel refuses, or a program is missing: see [`obstacle`].
    pub async fn lay() -> Result<Self> {
        // Its end is certain even if the test is killed and cannot end it.
        let script = "echo made >&2; exec sleep 3600";
        let mut command = Command::new("unshare");
        let mut holder = Process::start(command.args(["--net", "sh", "-c", script]))?;
        holder.wait_for_log("made", BOUND).await?;
        // Of 198.18.0.0/15, which is for tests (RFC 2544): four addresses for each process id.
        let network = 0xc612_0000 | (holder.id() & 0x7fff) << 2;
        let [here, there] = [1, 2].map(|host| Ipv4Addr::from_bits(network | host));
        let (near, far) = (
            format!("near{}", holder.id()),
            format!("far{}", holder.id()),
        );
        let namespace = holder.id().to_string();
        let cable = Self {
            holder,
            here,
            there,
        };
        run(Command::new("ip")
            .args(["link", "add", &near, "type", "veth"])
            .args(["peer", "name", &far, "netns", &namespace]))?;
        run(Command::new("ip").args(["address", "add", &format!("{here}/30"), "dev", &near]))?;
        run(Command::new("ip").args(["link", "set", &near, "up"]))?;
        let mut address = cable.command("ip");
        run(address.args(["address", "add", &format!("{there}/30"), "dev", &far]))?;
        cable.plug()?;
        Ok(cable)
    }

    /// Loses every packet from now on.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn pull(&self) -> Result<()> {
        self.set_link("down")
    }

    /// Carries packets again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn plug(&self) -> Result<()> {
        self.set_link("up")
    }

    /// Starts the workspace's program `name` at the other end.
    ///
    /// # Errors
    /// It is not built, or cannot be started.
    pub fn spawn_there(&self, name: &str, arguments: &[String]) -> Result<Process> {
        let mut command = self.command("--");
        Process::start(command.arg(binary(name)?).args(arguments))
    }

    /// Moves this thread to the other end, with a loopback that is up: sockets that it makes and programs
    /// that it starts are there, as on a machine of their own.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn enter(&self) -> Result<Entered> {
        run(self.command("ip").args(["link", "set", "lo", "up"]))?;
        let home = File::open("/proc/thread-self/ns/net").context("open this namespace")?;
        let there = format!("/proc/{}/ns/net", self.holder.id());
        enter(&File::open(there).context("open the namespace")?)?;
        Ok(Entered { home })
    }

    /// The namespace, as the observer's configuration has it.
    #[must_use]
    pub fn netns(&self) -> String {
        format!("pid:{}", self.holder.id())
    }

    /// The far end goes down: this one keeps its address and its route, and has no carrier.
    fn set_link(&self, state: &str) -> Result<()> {
        let far = format!("far{}", self.holder.id());
        run(self.command("ip").args(["link", "set", &far, state]))
    }

    /// A program that runs in the namespace.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.id()));
        command.arg(program);
        command
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        // The clients' sockets may hold the namespace for minutes. Fails only where the pair is gone.
        let near = format!("near{}", self.holder.id());
        let _ = run(Command::new("ip").args(["link", "delete", &near]));
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().context("start it")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
