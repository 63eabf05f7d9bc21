//! The Debian packages: packed as `cargo xtask dist` packs them, of the programs under test; checked
//! by Debian's and systemd's own tools; installed, upgraded and purged in a root of their own; and
//! run as their units say.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tests::honest::Honest;
use tests::load::{Crowd, Kind};
use tests::process::{Process, binary};
use tests::relay::Relay;
use tests::{http, kernel_or_skip, skip, wait};

use super::succeeds;

const BOUND: Duration = Duration::from_secs(30);

/// The first user id that systemd gives to a `DynamicUser=`.
const DYNAMIC_USER: &str = "61184";

/// Each service, and ten times the exposure that `systemd-analyze security` may find at most. The
/// observer's three capabilities, its netlink socket and the call of bpf are 0.7 of its own.
const SERVICES: [(&str, u32); 2] = [("plumbline-observer", 20), ("plumbline-server", 13)];

#[tokio::test]
async fn packages_are_sound_and_go_as_they_came() {
    let tools = ["dpkg", "lintian", "systemd-analyze"];
    if let Some(missing) = missing(&tools) {
        return skip(&missing);
    }
    let host = Host::new();
    let packages = host.pack(1);
    for (package, _) in &packages {
        succeeds(
            Command::new("lintian")
                .args(["--fail-on", "error"])
                .arg(package),
        );
    }
    host.install(&packages);
    host.units_are_sound();
    for name in ["observer", "plumbline-server"] {
        let program = host.path(&format!("usr/bin/{name}"));
        let mode = fs::metadata(&program)
            .expect("the program")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }
    for page in [
        "man1/observer.1",
        "man1/observer-config-check.1",
        "man8/plumbline-server.8",
    ] {
        let page = host.path(&format!("usr/share/man/{page}.gz"));
        let text = succeeds(Command::new("gzip").args(["-dc"]).arg(&page));
        assert!(text.contains("\n.SH SYNOPSIS\n"), "{page:?}: {text}");
    }

    let changed = "# Changed by the administrator.\n";
    let configuration = host.path("etc/plumbline/observer.toml");
    fs::write(&configuration, changed).expect("change the configuration");
    host.install(&host.pack(2));
    let versions = host.dpkg(&["--list"]);
    assert_eq!(versions.matches("-2 ").count(), 2, "{versions}");
    assert_eq!(
        fs::read_to_string(&configuration).expect("it is there"),
        changed
    );

    let state = host.path("var/lib/private/plumbline-server");
    fs::create_dir_all(&state).expect("make a state directory");
    let names = SERVICES.map(|(name, _)| name);
    host.dpkg(&[&["--remove"], &names[..]].concat());
    assert!(state.is_dir(), "a removal keeps the data");
    assert!(configuration.is_file(), "a removal keeps the configuration");
    host.dpkg(&[&["--purge"], &names[..]].concat());
    assert!(!state.exists(), "a purge removes the data");
    assert_eq!(host.files(), Vec::<PathBuf>::new(), "nothing else is left");
}

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
    let unit = host.unit("plumbline-observer");
    let configuration = host.path("etc/plumbline/observer.toml");
    let default = fs::read_to_string(&configuration).expect("the configuration");

    // As it comes it has nothing to watch: it refuses, and says what to do.
    let (mut refused, _) = host.start(&unit);
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

    let (mut observer, supervisor) = host.start(&unit);
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

    let (process, supervisor) = host.start(&host.unit("plumbline-server"));
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

/// Why a test cannot run here, if it cannot.
fn missing(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root, to install packages and to become another user".to_owned());
    }
    let is_missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
    let tool = tools.iter().find(is_missing)?;
    Some(format!("{tool} is not installed: cargo xtask setup"))
}

/// A root directory that packages are installed into.
struct Host {
    folder: TempDir,
}

/// Where a service says how it is, as systemd would hear it.
struct Supervisor(UnixDatagram);

impl Host {
    fn new() -> Self {
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

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("root").join(path)
    }

    /// The packages of the programs that are tested here, each with its name.
    fn pack(&self, revision: u32) -> Vec<(PathBuf, &'static str)> {
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
        let packages = SERVICES.map(|(name, _)| {
            let file = said
                .lines()
                .find(|line| line.contains(&format!("/{name}_")));
            (
                PathBuf::from(file.unwrap_or_else(|| panic!("{name}: {said}"))),
                name,
            )
        });
        packages.into()
    }

    fn install(&self, packages: &[(PathBuf, &str)]) {
        let files = packages
            .iter()
            .map(|(file, _)| file.to_str().expect("a path"));
        let arguments: Vec<&str> = ["--install"].into_iter().chain(files).collect();
        self.dpkg(&arguments);
    }

    /// The libraries of the host serve: the root has none, so that nothing is downloaded.
    fn dpkg(&self, arguments: &[&str]) -> String {
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

    fn units_are_sound(&self) {
        let units = self.path("lib/systemd/system");
        // What every unit depends on without saying so.
        for entry in fs::read_dir("/lib/systemd/system").expect("systemd's units") {
            let path = entry.expect("an entry").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "target")
            {
                fs::copy(&path, units.join(path.file_name().expect("a name"))).expect("copy");
            }
        }
        let root = format!("--root={}", self.path("").display());
        for (name, exposure) in SERVICES {
            let unit = format!("{name}.service");
            let verify = ["verify", "--man=no", &root, &unit];
            assert_eq!(succeeds(Command::new("systemd-analyze").args(verify)), "");
            let threshold = format!("--threshold={exposure}");
            let security = ["security", "--offline=yes", &root, &threshold, &unit];
            succeeds(Command::new("systemd-analyze").args(security));
        }
        for entry in fs::read_dir(&units).expect("the units") {
            let path = entry.expect("an entry").path();
            if path
                .extension()
                .is_some_and(|extension| extension == "target")
            {
                fs::remove_file(path).expect("remove");
            }
        }
    }

    fn unit(&self, name: &str) -> Unit {
        let path = self.path(&format!("lib/systemd/system/{name}.service"));
        Unit(fs::read_to_string(path).expect("the unit"))
    }

    /// Starts a unit's command as the unit's user, with the unit's capabilities only.
    fn start(&self, unit: &Unit) -> (Process, Supervisor) {
        assert_eq!(unit.all("DynamicUser"), ["yes"]);
        assert_eq!(unit.all("NoNewPrivileges"), ["yes"]);
        assert_eq!(unit.all("Type"), ["notify"]);
        let ambient = capabilities(&unit.all("AmbientCapabilities"));
        let bounding = capabilities(&unit.all("CapabilityBoundingSet"));
        let (supervisor, socket) = Supervisor::listen(self.folder.path());
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
        let start = unit.all("ExecStart");
        let start = start.first().expect("a command");
        for word in start.split(' ') {
            match word.strip_prefix('/') {
                Some(path) => command.arg(self.path(path)),
                None => command.arg(word),
            };
        }
        command.env("NOTIFY_SOCKET", socket);
        (Process::start(&mut command).expect("start"), supervisor)
    }

    /// Every file that is not dpkg's own.
    fn files(&self) -> Vec<PathBuf> {
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

/// The text of a unit.
struct Unit(String);

impl Unit {
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
