//! What somebody wrote, in a file or on the command line, and how it becomes a [`Config`].
//!
//! Every setting is defined here once: its key, flag, environment variable and help. The text of
//! a file comes in as text; where it came from is only a name for the errors.

use std::collections::HashSet;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;
use toml::Spanned;

use super::value::{Cgroup, HttpUrl, Listen, Name, Netns, Span, Text, WebAddress, Within};
use super::{
    Backend, Config, Counts, Kernel, Level, Log, LogFormat, MAX_GAUGE_URLS, MAX_TARGETS, Target,
    Web,
};
use crate::claim::Selector;

/// From 10 ms, below which a check says nothing new, to an hour. Unit of the bounds: ms.
type Interval = Span<10, 3_600_000>;
/// At most a minute, for no service lags longer and means it. Unit of the bounds: ms.
type Settle = Span<0, 60_000>;
/// Unit of the bounds: ms.
type ScrapeTimeout = Span<1, 60_000>;
type Confirm = Within<1, 100>;
/// Up to 4 Mi = 2²² records.
type MaxSockets = Within<1, 4_194_304>;

/// Where the observer's HTTP listens unless told otherwise.
const LISTEN_ADDRESS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10090);
/// 2¹⁸ records.
const MAX_SOCKETS: u32 = 262_144;
const INTERVAL: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);
const CONFIRM: u32 = 2;
/// Longest scrape unless told otherwise, where the interval is not shorter still.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
const GAUGE: &str = "active_connections";

/// What was said; what was not is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// `[web]`.
    pub web: WebSettings,
    /// `[kernel]`.
    pub kernel: KernelSettings,
    /// `[log]`.
    pub log: LogSettings,
    /// Each `[[target]]`, with where it stands.
    pub targets: Vec<(Place, TargetSettings)>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    web: WebSettings,
    kernel: KernelSettings,
    log: LogSettings,
    target: Vec<Spanned<TargetSettings>>,
}

/// `[web]`, or `--web.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WebSettings {
    /// Where the observer's own HTTP listens: ADDRESS:PORT, or :PORT for every address
    /// [default: 127.0.0.1:10090]
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT")]
    #[arg(env = "OBSERVER_WEB_LISTEN_ADDRESS", help_heading = "Observer")]
    pub listen_address: Option<Text<WebAddress>>,
}

/// `[kernel]`, or `--kernel.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KernelSettings {
    /// Witness in the kernel; auto takes the best that works here [default: auto]
    #[arg(long = "kernel.backend", value_name = "BACKEND")]
    #[arg(env = "OBSERVER_KERNEL_BACKEND", help_heading = "Observer")]
    pub backend: Option<Backend>,
    /// Most sockets that are tracked at once, over all targets [default: 262144]
    #[arg(long = "kernel.max-sockets", value_name = "COUNT")]
    #[arg(env = "OBSERVER_KERNEL_MAX_SOCKETS", help_heading = "Observer")]
    pub max_sockets: Option<MaxSockets>,
    /// Cgroup v2 directory whose sockets are told WebSocket from HTTP; auto is the root
    /// [default: auto]
    #[arg(long = "kernel.cgroup", value_name = "auto|DIRECTORY")]
    #[arg(env = "OBSERVER_KERNEL_CGROUP", help_heading = "Observer")]
    pub cgroup: Option<Text<Cgroup>>,
}

/// `[log]`, or `--log.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LogSettings {
    /// Least level that is logged [default: info]
    #[arg(long = "log.level", value_name = "LEVEL")]
    #[arg(env = "OBSERVER_LOG_LEVEL", help_heading = "Observer")]
    pub level: Option<Level>,
    /// How a log line is written [default: logfmt]
    #[arg(long = "log.format", value_name = "FORMAT")]
    #[arg(env = "OBSERVER_LOG_FORMAT", help_heading = "Observer")]
    pub format: Option<LogFormat>,
}

/// One `[[target]]`, or the flags of a single target.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TargetSettings {
    /// Name of the target in metrics, logs and the API [default: port-PORT]
    #[arg(long, env = "OBSERVER_NAME", help_heading = "Target")]
    pub name: Option<Text<Name>>,
    /// What the service listens on: :PORT for any address, or ADDRESS:PORT
    #[arg(long, value_name = "[ADDRESS]:PORT")]
    #[arg(env = "OBSERVER_LISTEN", help_heading = "Target")]
    pub listen: Option<Text<Listen>>,
    /// Network namespace of the service's sockets: self, pid:NUMBER or path:FILE [default: self]
    #[arg(long, env = "OBSERVER_NETNS", help_heading = "Target")]
    pub netns: Option<Text<Netns>>,
    /// Where the service publishes its gauge; given several times, the claims are summed
    #[arg(long, value_name = "URL", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_GAUGE_URL", help_heading = "Target")]
    pub gauge_url: Option<Vec<Text<HttpUrl>>>,
    /// Prometheus selector of the series that are summed [default: active_connections]
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "OBSERVER_GAUGE",
        help_heading = "Target"
    )]
    pub gauge: Option<Text<Selector>>,
    /// What the gauge claims to count [default: websocket]
    #[arg(long, env = "OBSERVER_COUNTS", help_heading = "Target")]
    pub counts: Option<Counts>,
    /// Time between two checks [default: 5s]
    #[arg(
        long,
        value_name = "DURATION",
        env = "OBSERVER_INTERVAL",
        help_heading = "Target"
    )]
    pub interval: Option<Text<Interval>>,
    /// How long before or after the kernel the service may count [default: 1s]
    #[arg(
        long,
        value_name = "DURATION",
        env = "OBSERVER_SETTLE",
        help_heading = "Target"
    )]
    pub settle: Option<Text<Settle>>,
    /// Checks in a row that must agree on a drift before it is a verdict [default: 2]
    #[arg(
        long,
        value_name = "COUNT",
        env = "OBSERVER_CONFIRM",
        help_heading = "Target"
    )]
    pub confirm: Option<Confirm>,
    /// Most time for one scrape, at most the interval [default: 5s or the interval]
    #[arg(long, value_name = "DURATION", env = "OBSERVER_SCRAPE_TIMEOUT")]
    #[arg(help_heading = "Target")]
    pub scrape_timeout: Option<Text<ScrapeTimeout>>,
    /// Where the service lists its connections, to name the sockets of a drift
    #[arg(
        long,
        value_name = "URL",
        env = "OBSERVER_CONNECTIONS_URL",
        help_heading = "Target"
    )]
    pub connections_url: Option<Text<HttpUrl>>,
}

/// Why there is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML, or a key or value in it is not ours; `toml` errors have no structure.
    #[error("{place}: {message}")]
    File {
        /// Where it stands.
        place: Place,
        /// What `toml`, or the type of the value, says.
        message: String,
    },
    /// Each setting is well, but not together.
    #[error("{place}: {problem}")]
    Target {
        /// The file and position of the target, or the command line.
        place: Place,
        /// What is wrong with it.
        problem: TargetProblem,
    },
    /// Nothing to observe.
    #[error("no target: give --listen and --gauge-url, or a file with [[target]] by --config")]
    NoTarget,
    /// More targets than are watched by one observer.
    #[error("{count} targets are more than the {MAX_TARGETS} that one observer watches")]
    TooManyTargets {
        /// How many there are.
        count: usize,
    },
    /// Flags of a single target beside a file that has its own.
    #[error(
        "{file} has targets of its own: put the target of the command line or environment \
         ({settings}) into it, or leave it out"
    )]
    TargetTwice {
        /// The file's name.
        file: String,
        /// Which settings of a target were given beside the file, as flags.
        settings: String,
    },
}

/// What is wrong with a target as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetProblem {
    /// Nothing to count.
    #[error("the target has no listen: say what the service listens on, such as :3000")]
    NoListen,
    /// No claim to check.
    #[error("the target has no gauge-url: say where its gauge is published")]
    NoGaugeUrl,
    /// More claims than are summed.
    #[error("{count} gauge-urls are more than the {MAX_GAUGE_URLS} that are summed")]
    TooManyGaugeUrls {
        /// How many there are.
        count: usize,
    },
    /// Two targets of one name, given or by default.
    #[error("a target before is named {name:?} too: give one of them another name")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// A scrape that may outlast the interval.
    #[error("scrape-timeout ({timeout:?}) is longer than the interval ({interval:?})")]
    SlowScrape {
        /// The timeout.
        timeout: Duration,
        /// The interval.
        interval: Duration,
    },
}

/// Where a setting stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A flag or the environment.
    CommandLine,
    /// A file; line and column count from 1, the column in characters.
    File {
        /// The file's name.
        name: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
        }
    }
}

impl Place {
    fn in_file(name: &str, text: &str, span: Option<Range<usize>>) -> Self {
        let at = span.map_or(0, |span| span.start).min(text.len());
        let before = String::from_utf8_lossy(&text.as_bytes()[..at]);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Self::File {
            name: name.to_owned(),
            line: 1 + before.matches('\n').count(),
            column: 1 + before[line_start..].chars().count(),
        }
    }
}

impl Settings {
    /// Reads the text of a configuration file; `name` is the file's name for errors.
    ///
    /// # Errors
    /// [`ConfigError::File`], with line and column, when it is not TOML or not ours.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, ConfigError> {
        let File {
            web,
            kernel,
            log,
            target,
        } = toml::from_str(text).map_err(|error| ConfigError::File {
            place: Place::in_file(name, text, error.span()),
            message: error.message().to_owned(),
        })?;
        let placed = |target: Spanned<TargetSettings>| {
            (
                Place::in_file(name, text, Some(target.span())),
                target.into_inner(),
            )
        };
        Ok(Self {
            web,
            kernel,
            log,
            targets: target.into_iter().map(placed).collect(),
        })
    }

    /// Fills in the defaults and judges the targets together.
    ///
    /// # Errors
    /// When there is no target, or too many, or one that lacks something or clashes.
    pub fn into_config(self) -> Result<Config, ConfigError> {
        let Self {
            web,
            kernel,
            log,
            targets,
        } = self;
        if targets.is_empty() {
            return Err(ConfigError::NoTarget);
        }
        if targets.len() > MAX_TARGETS {
            return Err(ConfigError::TooManyTargets {
                count: targets.len(),
            });
        }
        let mut names = HashSet::new();
        let targets = targets.into_iter().map(|(place, settings)| {
            let target = settings.into_target().and_then(|target| {
                if names.insert(target.name.clone()) {
                    Ok(target)
                } else {
                    Err(TargetProblem::NameTwice { name: target.name })
                }
            });
            target.map_err(|problem| ConfigError::Target { place, problem })
        });
        Ok(Config {
            targets: targets.collect::<Result<_, _>>()?,
            web: web.into_web(),
            kernel: kernel.into_kernel(),
            log: log.into_log(),
        })
    }
}

impl WebSettings {
    /// These settings, and `other` where they are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen_address: self.listen_address.or(other.listen_address),
        }
    }

    fn into_web(self) -> Web {
        Web {
            listen_address: self
                .listen_address
                .map_or(LISTEN_ADDRESS, |Text(address)| address.0),
        }
    }
}

impl KernelSettings {
    /// These settings, and `other` where they are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            backend: self.backend.or(other.backend),
            max_sockets: self.max_sockets.or(other.max_sockets),
            cgroup: self.cgroup.or(other.cgroup),
        }
    }

    fn into_kernel(self) -> Kernel {
        Kernel {
            backend: self.backend.unwrap_or(Backend::Auto),
            max_sockets: self.max_sockets.map_or(MAX_SOCKETS, |count| count.0),
            cgroup: self.cgroup.map_or(Cgroup::Auto, |Text(cgroup)| cgroup),
        }
    }
}

impl LogSettings {
    /// These settings, and `other` where they are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            level: self.level.or(other.level),
            format: self.format.or(other.format),
        }
    }

    fn into_log(self) -> Log {
        Log {
            level: self.level.unwrap_or(Level::Info),
            format: self.format.unwrap_or(LogFormat::Logfmt),
        }
    }
}

impl TargetSettings {
    fn into_target(self) -> Result<Target, TargetProblem> {
        let Self {
            name,
            listen,
            netns,
            gauge_url,
            gauge,
            counts,
            interval,
            settle,
            confirm,
            scrape_timeout,
            connections_url,
        } = self;
        let Text(listen) = listen.ok_or(TargetProblem::NoListen)?;
        let gauge_url: Vec<_> = gauge_url
            .unwrap_or_default()
            .into_iter()
            .map(|Text(HttpUrl(url))| url)
            .collect();
        match gauge_url.len() {
            0 => return Err(TargetProblem::NoGaugeUrl),
            1..=MAX_GAUGE_URLS => {}
            count => return Err(TargetProblem::TooManyGaugeUrls { count }),
        }
        let interval = interval.map_or(INTERVAL, |Text(interval)| interval.0);
        let scrape_timeout = match scrape_timeout {
            None => SCRAPE_TIMEOUT.min(interval),
            Some(Text(Span(timeout))) if timeout <= interval => timeout,
            Some(Text(Span(timeout))) => {
                return Err(TargetProblem::SlowScrape { timeout, interval });
            }
        };
        Ok(Target {
            name: name.map_or_else(|| format!("port-{}", listen.port), |Text(Name(name))| name),
            listen,
            netns: netns.map_or(Netns::SelfNs, |Text(netns)| netns),
            gauge_url,
            gauge: gauge.map_or_else(default_gauge, |Text(gauge)| gauge),
            counts: counts.unwrap_or(Counts::Websocket),
            interval,
            settle: settle.map_or(SETTLE, |Text(settle)| settle.0),
            confirm: confirm.map_or(CONFIRM, |confirm| confirm.0),
            scrape_timeout,
            connections_url: connections_url.map(|Text(HttpUrl(url))| url),
        })
    }
}

fn default_gauge() -> Selector {
    Selector::parse(GAUGE).expect("a bare metric name is a selector")
}
