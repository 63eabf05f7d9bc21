//! The units: their commands run as their users, with their capabilities and no others.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tests::honest::Honest;
use tests::load::{Crowd, Kind};
use tests::process::Process;
use tests::relay::Relay;
use tests::{http, kernel_or_skip, skip, wait};

use super::host::{Host, missing};

const BOUND: Duration = Duration::from_secs(30);

/// The first user id that systemd gives to a `DynamicUser=`.
const DYNAMIC_USER: &str = "61184";

#[tokio::test]
async fn the_observer_runs_as_its_unit_says_and_gives_a_verdict() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(missing) = missing(&["dpkg", "setpriv"]) {
        return skip(&missing);
    }
    let host = Host::new();
    host.install(&host.pack(1));
    let unit = Unit::of(&host, "plumbline-observer");
    let configuration = host.path("etc/plumbline/observer.toml");
    let default = fs::read_to_string(&configuration).expect("the configuration");

    // As it comes it has nothing to watch: it refuses, and says what to do.
    let (mut refused, _) = unit.start(&host);
    let status = refused.wait_for_exit(BOUND).await.expect("it ends");
    assert_eq!(status.code(), Some(1));
    assert!(
        refused.log().contains("error: no target"),
        "{}",
        refused.log()
    );

    let relay = Honest::start(Ipv4Addr::LOCALHOST.into())
        .await
        .expect("relay");
    let mut crowd = Crowd::new(relay.gateway(Ipv4Addr::LOCALHOST));
    crowd.open(Kind::WebSocket, 7, 4).await.expect("open");
    let target = format!(
        "\n[[target]]\nname = 'relay'\nlisten = '{}'\ngauge-url = ['{}']\ninterval = '200ms'\n",
        relay.listen(),
        relay.gauge_url()
    );
    let text = default.replace("127.0.0.1:10090", "127.0.0.1:0") + &target;
    fs::write(&configuration, text).expect("configure");

    let (mut observer, supervisor) = unit.start(&host);
    let line = observer
        .wait_for_log("message=started", BOUND)
        .await
        .expect("it starts");
    let status = fs::read_to_string(format!("/proc/{}/status", observer.id())).expect("status");
    assert!(
        status.contains(&format!("Uid:\t{DYNAMIC_USER}\t")),
        "{status}"
    );
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(line.contains("backend=ebpf"), "{line}");
    let address = line
        .split_whitespace()
        .find_map(|pair| pair.strip_prefix("web_listen_address="))
        .expect("an address");
    let url = format!("http://{address}/api/v1/targets/relay");
    wait::until_equal(
        "the verdict",
        BOUND,
        (json!("agree"), json!(7.0)),
        async || {
            let report: Value = serde_json::from_str(&http::get(&url).await?.body)?;
            Ok((report["verdict"].clone(), report["claim"].clone()))
        },
    )
    .await
    .expect("a verdict on a real service");

    let ready = format!("READY=1\nSTATUS=watching 1 target(s) by ebpf, metrics on {address}\n");
    assert_eq!(supervisor.told().await, ready);
    observer.terminate(BOUND).await.expect("it stops");
    assert_eq!(supervisor.told().await, "STOPPING=1\n");
}

#[tokio::test]
async fn the_server_runs_as_its_unit_says() {
    if let Some(missing) = missing(&["dpkg", "setpriv"]) {
        return skip(&missing);
    }
    let host = Host::new();
    host.install(&host.pack(1));
    let configuration = host.path("etc/plumbline/server.toml");
    let data = host.path("var/lib/plumbline-server");
    fs::create_dir_all(&data).expect("make a state directory");
    std::os::unix::fs::chown(&data, DYNAMIC_USER.parse().ok(), None).expect("give it away");
    let text = fs::read_to_string(&configuration).expect("the configuration");
    let text = text
        .replace("0.0.0.0:3000", "127.0.0.1:0")
        .replace("127.0.0.1:9090", "127.0.0.1:0")
        .replace("/var/lib/plumbline-server", &data.display().to_string());
    fs::write(&configuration, text).expect("configure");

    let (process, supervisor) = Unit::of(&host, "plumbline-server").start(&host);
    let mut relay = Relay::of(process).await.expect("it listens");
    let account = relay.account().await.expect("an account");
    relay
        .send(&account, &account, "kept")
        .await
        .expect("a message");
    let told = supervisor.told().await;
    assert!(
        told.starts_with("READY=1\nSTATUS=clients on 127.0.0.1:"),
        "{told}"
    );
    relay.process.terminate(BOUND).await.expect("it stops");
    assert_eq!(
        supervisor.told().await,
        "STOPPING=1\nSTATUS=closing the sessions\n"
    );
    assert!(data.join("relay.db").is_file());
}

/// Where a service says how it is, as systemd would hear it.
struct Supervisor(UnixDatagram);

/// The text of a unit.
struct Unit(String);

impl Unit {
    /// The unit of an installed package.
    fn of(host: &Host, name: &str) -> Self {
        let path = host.path(&format!("lib/systemd/system/{name}.service"));
        Self(fs::read_to_string(path).expect("the unit"))
    }

    /// Starts a unit's command as the unit's user, with the unit's capabilities only.
    fn start(&self, host: &Host) -> (Process, Supervisor) {
        assert_eq!(self.all("DynamicUser"), ["yes"]);
        assert_eq!(self.all("NoNewPrivileges"), ["yes"]);
        assert_eq!(self.all("Type"), ["notify"]);
        let ambient = capabilities(&self.all("AmbientCapabilities"));
        let bounding = capabilities(&self.all("CapabilityBoundingSet"));
        let (supervisor, socket) = Supervisor::listen(host.folder());
        let mut command = Command::new("setpriv");
        command.args([
            format!("--reuid={DYNAMIC_USER}"),
            format!("--regid={DYNAMIC_USER}"),
            "--clear-groups".to_owned(),
            "--no-new-privs".to_owned(),
            format!("--inh-caps={ambient}"),
            format!("--ambient-caps={ambient}"),
            format!("--bounding-set={bounding}"),
        ]);
        let start = self.all("ExecStart");
        let start = start.first().expect("a command");
        for word in start.split(' ') {
            match word.strip_prefix('/') {
                Some(path) => command.arg(host.path(path)),
                None => command.arg(word),
            };
        }
        command.env("NOTIFY_SOCKET", socket);
        (Process::start(&mut command).expect("start"), supervisor)
    }

    /// The values of a directive, in order.
    fn all(&self, name: &str) -> Vec<&str> {
        let value = |line: &'_ str| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        };
        let lines = self.0.lines().filter(|line| value(line));
        lines.map(|line| &line[name.len() + 1..]).collect()
    }
}

/// A list of systemd's, as setpriv wants it.
fn capabilities(values: &[&str]) -> String {
    let names = values.iter().flat_map(|value| value.split_whitespace());
    let names = names.map(|name| name.trim_start_matches("CAP_").to_lowercase());
    names.fold("-all".to_owned(), |list, name| format!("{list},+{name}"))
}

impl Supervisor {
    fn listen(folder: &Path) -> (Self, PathBuf) {
        let path = folder.join("notify");
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("bind");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("open it to all");
        socket.set_nonblocking(true).expect("do not block");
        (Self(socket), path)
    }

    /// The next message.
    async fn told(&self) -> String {
        let told = wait::until("a message to the supervisor", BOUND, async || {
            let mut buffer = [0; 4096];
            let length = self.0.recv(&mut buffer)?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
        });
        told.await.expect("a message")
    }
}
