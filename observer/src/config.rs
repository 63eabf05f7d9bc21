//! The configuration: what is observed, and how; its file, its defaults and its limits.
//!
//! [`Settings`] are what somebody wrote, in the file or on the command line; a [`Config`] is
//! complete and within its limits. One definition of each setting serves the file (`serde`) and
//! the flags and environment (`clap`). It reads no file and no environment itself: `args` does.

mod claimed;
mod discovery;
mod error;
mod file;
mod general;
mod groups;
mod labels;
mod listen;
mod netns;
mod peers;
mod settings;
mod settle;
mod target;
mod together;
mod unix;
mod value;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use ipnet::IpNet;
use serde::Deserialize;
use url::{Host, Url};

use crate::claim::{self, Access, Freshness, Selection};
pub use claimed::{Word, WordError};
pub use discovery::{Discovery, DiscoveryKind, DiscoverySettings, Page, Pattern, PatternError};
pub use error::{ConfigError, DiscoveryProblem, Place, TargetProblem};
pub use general::{KernelSettings, LogSettings, WebSettings};
pub use groups::{Group, List};
pub use labels::{LabelError, LabelName, LabelValue, MAX_LABELS, WrittenLabels};
pub use listen::{Listen, Listens, MAX_LISTENS, Resolver, TcpAddress, WrittenListen};
pub use netns::{CgroupPath, ContainerName, Netns, UnitName};
pub use settings::Settings;
pub use target::TargetSettings;
pub use unix::UnixName;
pub use value::{
    Cgroup, HttpUrl, Name, Percent, Span, Text, ValueError, WebAddress, Whole, Within,
};

/// Most targets of one observer.
pub const MAX_TARGETS: usize = 256;

/// Most places that have lists of further targets.
pub const MAX_DISCOVERIES: usize = 64;

/// Most URLs whose claims are summed for one target.
pub const MAX_GAUGE_URLS: usize = 64;

/// Most words of a command, the program among them.
pub const MAX_WORDS: usize = 64;

/// The gauge of which the claim is unless something else is said.
const GAUGE: &str = "active_connections";

/// Everything that the observer is told, complete and within its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The observer's own HTTP.
    pub web: Web,
    /// How the kernel is observed.
    pub kernel: Kernel,
    /// What is logged.
    pub log: Log,
    /// Where lists of further targets are; those that were there are among the targets.
    pub discovery: Vec<Discovery>,
    /// At most [`MAX_TARGETS`], with unique names; at least one, unless there are lists of them, or
    /// something is asked of the host.
    pub targets: Vec<Target>,
}

impl Config {
    /// A commented configuration file with every setting at its default, and a target to fill in.
    pub fn default_text() -> &'static str {
        include_str!("config/default.toml")
    }

    /// How many addresses the targets listen on, each counted once.
    fn places(&self) -> usize {
        let places = self.targets.iter().flat_map(|target| {
            let listens = target.listen.iter();
            listens.map(|listen| (&target.netns, listen))
        });
        places.collect::<HashSet<_>>().len()
    }
}

/// The observer's own HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where it listens.
    pub listen_address: SocketAddr,
    /// What guards it, if anything.
    pub config_file: Option<PathBuf>,
}

impl Web {
    /// The status page, as it is reached from this host.
    #[must_use]
    pub fn url(&self) -> Url {
        let url = format!("http://{}", self.listen_address);
        url.parse().expect("an address and a port are a URL's host")
    }
}

/// How the kernel is observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Which witness.
    pub backend: Backend,
    /// Capacity of the socket map, over all targets.
    pub max_sockets: u32,
    /// Which cgroup's sockets the egress program sees.
    pub cgroup: Cgroup,
}

/// What is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The least level that is logged.
    pub level: Level,
    /// How a line is written.
    pub format: LogFormat,
}

/// Where a target is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In the file, on the command line or in the environment.
    Config,
    /// In a file of Prometheus' file_sd.
    File,
    /// On a page of Prometheus' http_sd.
    Http,
    /// Among the targets of a Prometheus server.
    Prometheus,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Config, Self::File, Self::Http, Self::Prometheus];

    /// The label `source`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::File => "file",
            Self::Http => "http",
            Self::Prometheus => "prometheus",
        }
    }
}

/// One service: where its sockets are and where its claim is.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Unique; the label `target`.
    pub name: String,
    /// Where it is configured.
    pub source: Source,
    /// What others call it, in the order of the names.
    pub labels: Vec<(String, String)>,
    /// What it listens on, or connects to: at least one place; the connections are summed.
    pub listen: Listens,
    /// The network namespace of its sockets.
    pub netns: Netns,
    /// Where it publishes its gauge: at least one, unless there is a command; the claims are summed.
    pub gauge_url: Vec<Url>,
    /// Whose output is the claim, in place of pages.
    pub claim_command: Option<claim::Command>,
    /// The network namespace of its pages, or of its command, where that was said.
    pub gauge_netns: Option<Netns>,
    /// What of each page is the claim.
    pub claim: Selection,
    /// How far from now a time stamp of a page may be: not older than a page that is read at the
    /// interval gets, and no further ahead than the service may count early.
    pub freshness: Freshness,
    /// Whether the claim is what there is, or what there has been.
    pub claim_type: ClaimType,
    /// What the gauge claims to count.
    pub counts: Counts,
    /// Peers whose connections are on neither side: in order, each once.
    pub ignore_peers: Vec<IpNet>,
    /// Whether it claims to count all of them.
    pub bound: Bound,
    /// Between two checks.
    pub interval: Duration,
    /// How far from the kernel's moment the service may count an opening or a closing.
    pub settle: Duration,
    /// Whether `settle` is the longest that there may be, and a shorter one is learnt.
    pub learns_settle: bool,
    /// Checks in a row that a violation must stand before it is a verdict.
    pub confirm: u32,
    /// How long it must stand before it is a verdict.
    pub confirm_for: Duration,
    /// Widest drift that an agreement may have missed, as a share of what is open: 0.5 is half.
    pub too_wide: f64,
    /// Most time for one scrape, from connecting to the last byte; at most `interval`.
    pub scrape_timeout: Duration,
    /// How the service wants to be asked, at `gauge_url` and `connections_url` alike.
    pub access: Access,
    /// Where the service lists its connections, if it does.
    pub connections_url: Option<Url>,
    /// How long nothing may come from a peer before its connection is suspected.
    pub silent_after: Duration,
}

impl Target {
    /// In which network namespace a page of it is asked for. A loopback address is one of the service's
    /// own namespace, unless something else was said.
    #[must_use]
    pub fn netns_of(&self, page: &Url) -> &Netns {
        let is_loopback = match page.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match &self.gauge_netns {
            Some(netns) => netns,
            None if is_loopback => &self.netns,
            None => &Netns::SelfNs,
        }
    }

    /// Whether the claim is all of the connections that there are: only then does it tell, by what it
    /// says while they come and go, how late the service counts.
    #[must_use]
    pub fn is_level(&self) -> bool {
        (self.claim_type, self.bound) == (ClaimType::Gauge, Bound::Exact)
    }

    /// In which network namespace its command is run: the observer's own, unless something else was said.
    #[must_use]
    pub fn netns_of_command(&self) -> &Netns {
        self.gauge_netns.as_ref().unwrap_or(&Netns::SelfNs)
    }

    /// Whether something of it is in another network namespace than the observer.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let said = [Some(&self.netns), self.gauge_netns.as_ref()];
        said.into_iter()
            .flatten()
            .any(|netns| *netns != Netns::SelfNs)
    }
}

/// What a gauge claims to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// Upgraded connections, from the server's 101 to the end.
    Websocket,
    /// TCP connections in the state ESTABLISHED.
    Established,
    /// ESTABLISHED connections, less those still in the accept queue.
    Accepted,
    /// ESTABLISHED connections that go out to the addresses, as those of a pool.
    Outgoing,
}

/// Whether a claim goes down as well, as Prometheus has it of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimType {
    /// The connections that there are.
    Gauge,
    /// The connections that were opened since the service was started.
    Counter,
}

/// What a claim is of what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bound {
    /// As many as there are.
    Exact,
    /// Some of them: requests in flight, authenticated sessions. It can only be too high.
    AtMost,
}

/// What a page is that holds the claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimFormat {
    /// An exposition of Prometheus' or OpenMetrics.
    Prometheus,
    /// A JSON document.
    Json,
    /// Lines of text.
    Text,
}

/// The witness in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The best that works here.
    Auto,
    /// The eBPF programs, or nothing.
    Ebpf,
    /// sock_diag alone: TCP states only, at points in time.
    SockDiag,
}

/// The least level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// A person must act.
    Error,
    /// Unexpected, carried on.
    Warn,
    /// Changes of state.
    Info,
    /// For the observer's developers.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// key=value pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claim::Authorization;

    const TARGET: &str = "[[target]]\nlisten = \":3000\"\ngauge-url = [\"http://h/metrics\"]\n";

    fn read(text: &str) -> Result<Config, ConfigError> {
        Settings::from_toml("observer.toml", text)?.into_config(&nobody)
    }

    /// Who knows no name.
    fn nobody(name: &str) -> std::io::Result<Vec<std::net::IpAddr>> {
        Err(std::io::Error::other(format!("nobody knows {name}")))
    }

    /// The message for one line that is added to a good target.
    fn refuse(line: &str) -> String {
        read(&format!("{TARGET}{line}\n")).unwrap_err().to_string()
    }

    #[test]
    fn the_default_file_says_the_defaults() {
        let settings = Settings::from_toml("default", Config::default_text()).unwrap();
        assert_eq!(
            settings.clone().into_config(&nobody),
            Err(ConfigError::NoTarget)
        );
        let bare = read(TARGET).unwrap();
        let target = Settings::from_toml("bare", TARGET).unwrap().targets;
        let said = Settings {
            targets: target,
            ..settings
        }
        .into_config(&nobody)
        .unwrap();
        assert_eq!(said, bare);
    }

    #[test]
    fn the_example_target_of_the_default_file_says_the_defaults_too() {
        let (_, example) = Config::default_text()
            .split_once("#\n# [[target]]")
            .unwrap();
        let example: String = example
            .lines()
            .map(|line| line.trim_start_matches('#').trim_start().to_owned() + "\n")
            .filter(|line| {
                let is_one_of_several = [
                    "username",
                    "claim = ",
                    "claim-path",
                    "claim-pattern",
                    "ignore-peers",
                    "claim-query",
                    "claim-command",
                    "claim-user",
                    "gauge-netns",
                    "cgroup",
                    "unit",
                    "container",
                    "labels",
                ];
                let is_one_of_several = is_one_of_several.iter().any(|key| line.starts_with(key));
                line.contains(" = ") && !line.contains("/etc/") && !is_one_of_several
            })
            .collect();
        let example = read(&format!("[[target]]\n{example}")).unwrap();
        let mut bare = read(&TARGET.replace("//h/", "//127.0.0.1:9090/")).unwrap();
        bare.targets[0].connections_url =
            Some("http://127.0.0.1:9090/connections".parse().unwrap());
        assert_eq!(example, bare);
    }

    #[test]
    fn the_contract_of_the_design_is_read() {
        let config = read(
            r#"
            [web]
            listen-address = "127.0.0.1:10090"
            [kernel]
            backend = "sock-diag"
            max-sockets = 262144
            cgroup = "/sys/fs/cgroup/x"
            [log]
            level = "warn"
            format = "json"
            [[target]]
            name = "relay"
            listen = "[::1]:3000"
            netns = "pid:1234"
            gauge-url = ["http://127.0.0.1:9090/metrics", "https://h/m?x=y"]
            gauge = 'active_connections{}'
            counts = "accepted"
            interval = "100ms"
            settle = "1m"
            confirm = 100
            connections-url = "http://127.0.0.1:9090/connections"
            [[target]]
            listen = ":3000"
            netns = "path:/run/netns/x"
            gauge-url = ["http://127.0.0.1:9090/metrics"]
            "#,
        )
        .unwrap();
        assert_eq!(
            config.kernel.cgroup,
            Cgroup::Path("/sys/fs/cgroup/x".into())
        );
        assert_eq!(
            (config.log.level, config.log.format),
            (Level::Warn, LogFormat::Json)
        );
        let [relay, other] = &config.targets[..] else {
            panic!("{config:?}")
        };
        assert_eq!(relay.listen.to_string(), "[::1]:3000");
        assert_eq!(relay.netns, Netns::Pid(1234));
        assert_eq!(relay.counts, Counts::Accepted);
        assert_eq!(relay.gauge_url.len(), 2);
        assert_eq!(
            relay.scrape_timeout,
            Duration::from_millis(100),
            "no longer than the interval"
        );
        assert_eq!(
            (relay.settle, relay.confirm),
            (Duration::from_secs(60), 100)
        );
        assert_eq!(
            (other.name.as_str(), other.listen.to_string().as_str()),
            ("port-3000", ":3000")
        );
        assert_eq!(other.netns.to_string(), "path:/run/netns/x");
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place_and_the_known_keys() {
        let error = read("[web]\nlisten-adress = \"x\"\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("observer.toml:2:1: unknown field `listen-adress`"),
            "{error}"
        );
        assert!(error.contains("`listen-address`"), "{error}");
        assert!(refuse("  intervall = \"5s\"").starts_with("observer.toml:4:3: unknown field"));
        assert!(refuse("[targets]").starts_with("observer.toml:4:2: unknown field `targets`"));
    }

    #[test]
    fn a_key_or_value_that_was_likely_meant_is_named() {
        for (line, said) in [
            (
                "gauge_url = 'x'",
                "observer.toml:4:1: unknown field `gauge_url`: did you mean `gauge-url`?",
            ),
            (
                "counts = 'websockets'",
                "observer.toml:4:10: unknown variant `websockets`: did you mean `websocket`?",
            ),
            (
                "[kernels]",
                "observer.toml:4:2: unknown field `kernels`: did you mean `kernel`?",
            ),
        ] {
            assert_eq!(refuse(line), said);
        }
        let far = refuse("frobnicate = 1");
        assert!(far.contains("expected one of `name`, `listen`"), "{far}");
    }

    #[test]
    fn one_gauge_url_needs_no_list() {
        let urls = |value: &str| {
            let text = format!("[[target]]\nlisten = ':1'\ngauge-url = {value}\n");
            read(&text).map(|config| config.targets[0].gauge_url.clone())
        };
        assert_eq!(urls("'http://h/m'"), urls("['http://h/m']"));
        assert_eq!(urls("['http://h/1', 'http://h/2']").unwrap().len(), 2);
        for value in ["7", "[7]", "'nonsense'", "['http://h/', 'nonsense']", "{}"] {
            let error = urls(value).unwrap_err().to_string();
            assert!(error.starts_with("observer.toml:3:"), "{value}: {error}");
        }
    }

    #[test]
    fn each_value_is_checked_where_it_stands() {
        let check = |line: &str, hint: &str| {
            let error = refuse(line);
            let column = line.find("= ").unwrap() + 3;
            assert!(
                error.starts_with(&format!("observer.toml:4:{column}: ")),
                "{line}: {error}"
            );
            assert!(error.contains(hint), "{line}: {error}");
        };
        for interval in [
            "0",
            "0s",
            "9ms",
            "1h1s",
            "-5s",
            "5",
            "5 s",
            "1.5s",
            "s",
            "",
            "5s5s",
            "1s1m",
            "1e99",
            "NaN",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            check(&format!("interval = \"{interval}\""), "expected a duration");
        }
        check("interval = 5", "expected a string");
        check("settle = \"61s\"", "expected a duration from 0ns to 60s");
        check("settle = \"Auto\"", "expected a duration");
        for peers in ["", "localhost", "10.0.0.0/33", "10.0.0.0/", "10.0.0"] {
            check(
                &format!("ignore-peers = \"{peers}\""),
                "expected an address or a network, such as",
            );
        }
        check("confirm = 0", "from 1 to 100");
        check("confirm = 101", "from 1 to 100");
        check("confirm = -1", "from 1 to 100");
        check("counts = \"tcp\"", "`websocket`, `established`, `accepted`");
        check("gauge = \"sum(g)\"", "expected the selector to end before");
        check("gauge = \"g{x=~'('}\"", "unclosed group");
        for name in ["", "a b", "ü", "a/b", "{}", &"n".repeat(65)] {
            check(&format!("name = \"{name}\""), "1 to 64 characters");
        }
        for netns in [
            "",
            "other",
            "pid:",
            "pid:0",
            "pid:-1",
            "pid:x",
            "path:",
            "pid:99999999999",
        ] {
            check(&format!("netns = \"{netns}\""), "pid:NUMBER");
        }
        for url in ["ftp://h/", "file:///etc/passwd", "h:80", "http://u:p@h/"] {
            check(
                &format!("connections-url = \"{url}\""),
                "expected an http:// or https:// URL",
            );
        }
        check("connections-url = \"metrics\"", "relative URL");
        check("connections-url = \"http://\"", "empty host");
    }

    #[test]
    fn settle_may_be_learnt() {
        let target = |line: &str| {
            let config = read(&format!("{TARGET}{line}\n")).unwrap();
            let target = &config.targets[0];
            (
                target.settle.as_secs(),
                target.confirm_for.as_secs(),
                target.learns_settle,
            )
        };
        assert_eq!(target(""), (1, 1, false));
        assert_eq!(target("settle = \"3s\""), (3, 3, false));
        assert_eq!(target("settle = \"auto\""), (10, 10, true));
    }

    #[test]
    fn peers_that_are_ignored_are_addresses_and_networks_each_once() {
        let peers = |value: &str| {
            let config = read(&format!("{TARGET}ignore-peers = {value}\n"));
            config.map(|config| config.targets[0].ignore_peers.clone())
        };
        let text = |value| {
            peers(value)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        };
        assert_eq!(text("\"192.0.2.7\""), ["192.0.2.7/32"]);
        assert_eq!(
            text("[\"10.1.2.3/8\", \"fd00::/8\", \"::ffff:192.0.2.7\", \"10.0.0.0/8\"]"),
            ["10.0.0.0/8", "192.0.2.7/32", "fd00::/8"]
        );
        let many: Vec<_> = (0..65).map(|last| format!("\"192.0.2.{last}\"")).collect();
        let error = peers(&format!("[{}]", many.join(", "))).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("65 ignore-peers are more than the 64")
        );
    }

    #[test]
    fn targets_that_share_a_port_ignore_the_same_peers() {
        let other = |line: &str| {
            let second = TARGET.replace("\":3000\"", "[\":81\", \"127.0.0.1:3000\"]");
            read(&format!("{TARGET}{second}name = \"other\"\n{line}\n"))
        };
        assert!(other("").is_ok());
        let error = other("ignore-peers = \"192.0.2.7\"")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("it shares port 3000 with the target \"port-3000\""),
            "{error}"
        );
        assert!(other("ignore-peers = \"192.0.2.7\"\nnetns = \"pid:7\"").is_ok());
    }

    #[test]
    fn listen_is_one_address_or_a_list_and_names_are_resolved() {
        let listen = |value: &str| {
            let text = TARGET.replace("\":3000\"", value);
            read(&text).map(|config| config.targets[0].listen.to_string())
        };
        assert_eq!(listen("\"[::]:80\"").unwrap(), ":80");
        assert_eq!(listen("[\":80\", \"*:443\"]").unwrap(), ":80, :443");
        let both = "127.0.0.1:80, [::1]:80";
        assert_eq!(listen("\"localhost:80\"").unwrap(), both);
        let refused = |value: &str, hint: &str| {
            let error = listen(value).unwrap_err().to_string();
            assert!(error.starts_with("observer.toml:"), "{value}: {error}");
            assert!(error.contains(hint), "{value}: {error}");
        };
        refused("[]", "has no listen");
        refused("80", "a string or a list of strings");
        refused("[80]", "a string");
        refused("\":65536\"", "2:10: a port is at most 65535");
        refused("[\":80\", \"localhost\"]", "2:10: add the port");
        let unknown = "the host \"chat\" of listen is not known (nobody knows chat)";
        refused("\"chat:80\"", unknown);
        let many: String = (1..=65).map(|port| format!("\":{port}\", ")).collect();
        refused(&format!("[{many}]"), "65 addresses to listen on");
        assert_eq!(":0".parse::<WebAddress>().unwrap().0.to_string(), "[::]:0");
    }

    #[test]
    fn the_addresses_of_all_targets_are_bounded() {
        let many: String = (0..65)
            .map(|n| {
                let ports: String = (1..=4)
                    .map(|port| format!("\":{}\", ", n * 4 + port))
                    .collect();
                let target = TARGET.replace("\":3000\"", &format!("[{ports}]"));
                format!("{target}name = \"n{n}\"\n")
            })
            .collect();
        let error = read(&many).unwrap_err().to_string();
        assert!(error.contains("260 addresses"), "{error}");
        // Several gauges of one place take one of them.
        let (fewer, _) = many.rsplit_once("[[target]]").unwrap();
        assert!(read(fewer).is_ok());
    }

    #[test]
    fn limits_of_the_kernel_settings_hold() {
        for (count, is_allowed) in [
            ("0", false),
            ("1", true),
            ("4194304", true),
            ("4194305", false),
        ] {
            let text = format!("[kernel]\nmax-sockets = {count}\n{TARGET}");
            assert_eq!(read(&text).is_ok(), is_allowed, "{count}");
        }
        assert!(read(&format!("[kernel]\ncgroup = \"\"\n{TARGET}")).is_err());
    }

    #[test]
    fn targets_are_judged_together() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("").starts_with("no target: "));
        assert!(error("[[target]]\n").starts_with("observer.toml:1:1: the target has no listen"));
        let bare = "[[target]]\nlisten = \":1\"\n";
        assert!(
            error(&format!("\n{bare}"))
                .starts_with("observer.toml:2:1: the target has no gauge-url")
        );
        assert!(error(&format!("{bare}gauge-url = []\n")).contains("has no gauge-url"));
        assert!(
            error(&TARGET.repeat(2))
                .starts_with("observer.toml:4:1: a target before is named \"port-3000\"")
        );
        assert!(
            refuse("interval = \"1s\"\nscrape-timeout = \"2s\"")
                .contains("longer than the interval")
        );
        let urls = "\"http://h/\", ".repeat(65);
        assert!(error(&format!("{bare}gauge-url = [{urls}]\n")).contains("65 gauge-urls"));
        let many: String = (0..257)
            .map(|n| format!("{TARGET}name = \"n{n}\"\n"))
            .collect();
        assert!(error(&many).starts_with("257 targets"));
        let (allowed, _) = many.rsplit_once("[[target]]").unwrap();
        assert_eq!(read(allowed).unwrap().targets.len(), MAX_TARGETS);
    }

    #[test]
    fn a_counter_is_neither_a_bound_nor_does_it_tell_a_lag() {
        let counter = "claim-type = 'counter'\ngauge = 'accepted_total'";
        let config = read(&format!("{TARGET}{counter}")).unwrap();
        assert!(!config.targets[0].is_level());
        let is_of_gauges = "is of a gauge, and claim-type is";
        for lines in ["bound = 'at-most'", "settle = 'auto'"] {
            let said = refuse(&format!("{counter}\n{lines}"));
            assert!(said.contains(is_of_gauges), "{said}");
        }
        let query = "[[target]]\nlisten = ':1'\ngauge-url = 'http://h/'\nclaim-type = 'counter'\n\
                     claim-query = 'a_total{job=\"a\"}'\n";
        let said = read(query).unwrap_err().to_string();
        assert!(said.contains(is_of_gauges), "{said}");
    }

    #[test]
    fn the_claim_is_said_in_one_way_that_fits_the_format() {
        let claim = |lines: &str| match read(&format!("{TARGET}{lines}")) {
            Ok(config) => Ok(config.targets[0].claim.to_string()),
            Err(error) => Err(error.to_string()),
        };
        for (lines, expected) in [
            ("", "active_connections"),
            ("gauge = 'g{}'", "g{}"),
            ("claim = ' a - b '", "a - b"),
            ("claim-format = 'prometheus'\nclaim = 'a - b'", "a - b"),
            ("claim-path = '$.open'", "$.open"),
            ("claim-format = 'json'\nclaim-path = '$.open'", "$.open"),
            (
                "claim-format = 'text'\nclaim-pattern = 'open (.*)'",
                "open (.*)",
            ),
        ] {
            assert_eq!(claim(lines).as_deref(), Ok(expected), "{lines}");
        }
        for (lines, said) in [
            ("gauge = 'g'\nclaim = 'g'", "choose one"),
            ("gauge = 'g'\nclaim-path = '$.open'", "choose one"),
            (
                "claim-path = '$.open'\nclaim-pattern = '(.*)'",
                "choose one",
            ),
            ("claim-format = 'json'", "needs claim-path"),
            (
                "claim-format = 'text'\nclaim-path = '$.open'",
                "needs claim-pattern",
            ),
            ("claim-format = 'json'\ngauge = 'g'", "needs claim-path"),
            (
                "claim-format = 'prometheus'\nclaim-pattern = '(.*)'",
                "needs gauge or claim",
            ),
            (
                "claim-format = 'xml'",
                "expected one of `prometheus`, `json`, `text`",
            ),
            (
                "claim = 'sum(g)'",
                "observer.toml:4:9: expected +, - or the end before",
            ),
            (
                "claim-path = 'open'",
                "observer.toml:4:14: expected a JSONPath",
            ),
            ("claim-pattern = 'open'", "the pattern has 0 groups"),
            ("gauge = 'g'\nclaim-query = 'g{job=\"a\"}'", "choose one"),
            (
                "claim-format = 'json'\nclaim-query = 'g{job=\"a\"}'",
                "claim-format is of pages",
            ),
            ("claim-query = 'g'", "observer.toml:4:15: g has no job"),
            (
                "claim-query = 'g{job=\"a\"}'",
                "gauge-url is the Prometheus server",
            ),
        ] {
            let error = claim(lines).unwrap_err();
            assert!(error.contains(said), "{lines}: {error}");
        }
    }

    #[test]
    fn a_command_takes_the_place_of_pages_and_has_limits() {
        let command = |lines: &str| {
            let text = format!("[[target]]\nlisten = ':1'\n{lines}");
            match read(&text) {
                Ok(config) => Ok(config.targets[0].claim_command.clone()),
                Err(error) => Err(error.to_string()),
            }
        };
        let program = "claim-command = ['/bin/x', '-a', 'b c']\nclaim-user = 'nobody'\n";
        let expected = claim::Command {
            program: "/bin/x".to_owned(),
            arguments: vec!["-a".to_owned(), "b c".to_owned()],
            user: Some("nobody".parse().unwrap()),
        };
        assert_eq!(command(program), Ok(Some(expected)));
        assert_eq!(command("gauge-url = 'http://h/'"), Ok(None));
        let many = "'x', ".repeat(MAX_WORDS);
        let long = "x".repeat(4097);
        for (lines, said) in [
            (
                "claim-command = []",
                "no gauge-url: say where its gauge is published (or by claim-",
            ),
            ("claim-command = 'x'", "write the program's whole path"),
            (
                "claim-command = [\"/x\", \"\\u0000\"]",
                "observer.toml:3:17: expected a word",
            ),
            (
                &format!("claim-command = ['/{long}']"),
                "of at most 4096 bytes",
            ),
            (
                &format!("claim-command = ['/x', {many}]"),
                "65 words, more than 64",
            ),
            (
                "claim-command = '/x'\nclaim-user = 'a b'",
                "the name of a user",
            ),
            (&format!("gauge-url = 'http://h/'\n{program}"), "choose one"),
        ] {
            let error = command(lines).unwrap_err();
            assert!(error.contains(said), "{lines}: {error}");
        }
    }

    #[test]
    fn a_page_on_a_loopback_address_is_where_the_sockets_are() {
        let netns_of = |lines: &str, url: &str| {
            let target = read(&format!("{TARGET}{lines}")).unwrap().targets.remove(0);
            target.netns_of(&url.parse().unwrap()).to_string()
        };
        let there = "netns = 'pid:7'\n";
        for url in [
            "http://127.0.0.2:1/m",
            "http://[::1]/",
            "https://localhost/m",
        ] {
            assert_eq!(netns_of("", url), "self", "{url}");
            assert_eq!(netns_of(there, url), "pid:7", "{url}");
            let said = format!("{there}gauge-netns = 'self'");
            assert_eq!(netns_of(&said, url), "self", "{url}");
        }
        assert_eq!(netns_of(there, "http://10.0.0.1/m"), "self");
        assert_eq!(netns_of(there, "http://chat.example/m"), "self");
        assert_eq!(netns_of("gauge-netns = 'pid:8'", "http://h/m"), "pid:8");
    }

    #[test]
    fn one_way_to_prove_who_asks_is_complete_and_two_are_too_many() {
        let access = |lines: &str| {
            read(&format!("{TARGET}{lines}")).map(|config| config.targets[0].access.clone())
        };
        let (token, name, password) = (
            "bearer-token-file = \"/t\"\n",
            "username = \"u\"\n",
            "password-file = \"/p\"\n",
        );
        let bearer = access(&format!("{token}ca-file = \"/c\"\n")).unwrap();
        assert_eq!(
            bearer.authorization,
            Some(Authorization::Bearer {
                token_file: "/t".into()
            })
        );
        assert_eq!(bearer.ca_file, Some("/c".into()));
        let basic = access(&format!("{name}{password}")).unwrap().authorization;
        assert!(
            matches!(basic, Some(Authorization::Basic { .. })),
            "{basic:?}"
        );
        let problem = |lines: &str| match access(lines).unwrap_err() {
            ConfigError::Target { problem, .. } => problem,
            other => panic!("{other}"),
        };
        assert_eq!(problem(name), TargetProblem::HalfBasic);
        assert_eq!(problem(password), TargetProblem::HalfBasic);
        assert_eq!(
            problem(&format!("{token}{name}{password}")),
            TargetProblem::TwoAuthorizations
        );
        assert_eq!(
            problem(&format!("{token}{name}")),
            TargetProblem::TwoAuthorizations
        );
    }

    #[test]
    fn what_is_no_toml_is_an_error_with_its_place() {
        for (text, place) in [
            ("[web", "1:5"),
            ("a", "1:2"),
            ("\n\nweb = 1", "3:7"),
            ("# ü\n\"ü\" = \u{0}", "2:7"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("observer.toml:{place}: ")),
                "{text:?}: {error}"
            );
        }
        for nested in [
            "[".repeat(1 << 20),
            "a = ".to_owned() + &"[".repeat(1 << 20),
        ] {
            assert!(read(&nested).is_err());
        }
    }
}
