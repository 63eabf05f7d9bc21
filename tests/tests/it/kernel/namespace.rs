//! Network namespaces, with services and clients inside.

use std::net::SocketAddr;
use std::process::Command;

use tests::observer::BOUND;
use tests::process::{Process, binary};
use tests::wait;

/// Why none can be made here; `None` if they can.
pub(super) fn obstacle() -> Option<&'static str> {
    let can = rustix::process::geteuid().is_root() && ip(&["netns", "list"]);
    (!can).then_some("needs root and ip (iproute2), to make network namespaces")
}

/// A network namespace with its loopback up, gone when it is dropped.
pub(super) struct Namespace(String);

impl Namespace {
    /// Makes one; `name` is the test's own for it.
    pub(super) fn add(name: &str) -> Self {
        let namespace = Self(format!("plumbline-{}-{name}", std::process::id()));
        let status = ip(&["netns", "add", &namespace.0]);
        assert!(status, "ip netns add");
        assert!(ip(&["-n", &namespace.0, "link", "set", "lo", "up"]), "lo");
        namespace
    }

    /// A command that runs the workspace's program `name` inside; its process is the program's.
    pub(super) fn run(&self, name: &str, arguments: &[String]) -> Process {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]);
        command.arg(binary(name).expect("built")).args(arguments);
        Process::start(&mut command).expect("start")
    }

    /// Redirects connections to a port inside to another one; whether the kernel can.
    pub(super) fn redirect(&self, from: u16, to: u16) -> bool {
        let (from, to) = (from.to_string(), to.to_string());
        let rule = ["-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", &from];
        let target = ["-j", "REDIRECT", "--to-ports", &to];
        ip(&[&["netns", "exec", &self.0, "iptables"], &rule[..], &target].concat())
    }

    /// A worker on the public address, once it listens.
    pub(super) async fn worker(&self, public: SocketAddr) -> Process {
        let management = SocketAddr::from(([127, 0, 0, 2], public.port()));
        self.worker_beside(public, management).await
    }

    /// The same, with its gauge on that address.
    pub(super) async fn worker_beside(
        &self,
        public: SocketAddr,
        management: SocketAddr,
    ) -> Process {
        let worker = self.run(
            "honest_worker",
            &[
                format!("--public-address={public}"),
                format!("--management-address={management}"),
            ],
        );
        let listens = wait::until("a listener", BOUND, async || {
            let mut ss = Command::new("ip");
            ss.args(["netns", "exec", &self.0, "ss", "-Hltn"]);
            let output = ss.output().expect("run ss");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains(&public.to_string()).then_some(()).ok_or(text)
        });
        listens.await.expect("it listens");
        worker
    }

    /// Clients that hold so many WebSockets.
    pub(super) async fn clients(&self, public: SocketAddr, count: usize) -> Process {
        let mut clients = self.run(
            "crowd",
            &[
                format!("--address={public}"),
                "--kind=websocket".to_owned(),
                format!("--count={count}"),
            ],
        );
        clients.wait_for_log("open", BOUND).await.expect("open");
        clients
    }

    /// What `ip` calls it.
    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// What the observer's configuration calls it.
    pub(super) fn netns(&self) -> String {
        format!("path:/run/netns/{}", self.0)
    }

    /// A link of the observer's namespace whose other end is in this one: it lives no longer than it.
    pub(super) fn link(&self) -> String {
        // An interface's name has at most 15 bytes.
        let link = format!("plumb{}", std::process::id());
        let pair = [
            "link", "add", &link, "type", "veth", "peer", "netns", &self.0,
        ];
        assert!(ip(&pair), "a pair of interfaces");
        link
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

/// Whether `ip` has done it.
pub(super) fn ip(arguments: &[&str]) -> bool {
    let status = Command::new("ip").args(arguments).status();
    status.is_ok_and(|status| status.success())
}
