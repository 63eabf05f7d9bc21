//! The configuration: what is observed, and how; its file, its defaults and its limits.
//!
//! [`Settings`] are what somebody wrote, in the file or on the command line; a [`Config`] is
//! complete and within its limits. One definition of each setting serves the file (`serde`) and
//! the flags and environment (`clap`). It reads no file and no environment itself: `args` does.

mod settings;
mod value;

use std::net::SocketAddr;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;
use url::Url;

use crate::claim::Selector;
pub use settings::{
    ConfigError, KernelSettings, LogSettings, Place, Settings, TargetProblem, TargetSettings,
    WebSettings,
};
pub use value::{
    Cgroup, Chain, HttpUrl, Listen, Name, Netns, Span, Text, ValueError, WebAddress, Within,
};

/// Most targets of one observer.
pub const MAX_TARGETS: usize = 256;

/// Most URLs whose claims are summed for one target.
pub const MAX_GAUGE_URLS: usize = 64;

/// Everything that the observer is told, complete and within its limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The observer's own HTTP.
    pub web: Web,
    /// How the kernel is observed.
    pub kernel: Kernel,
    /// What is logged.
    pub log: Log,
    /// At least one, at most [`MAX_TARGETS`], with unique names.
    pub targets: Vec<Target>,
}

/// The observer's own HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Where it listens.
    pub listen_address: SocketAddr,
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

/// One service: where its sockets are and where its claim is.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Unique; the label `target`.
    pub name: String,
    /// What it listens on.
    pub listen: Listen,
    /// The network namespace of its sockets.
    pub netns: Netns,
    /// Where it publishes its gauge: at least one; the claims are summed.
    pub gauge_url: Vec<Url>,
    /// Which series are the claim.
    pub gauge: Selector,
    /// What the gauge claims to count.
    pub counts: Counts,
    /// Between two checks.
    pub interval: Duration,
    /// How far from the kernel's moment the service may count an opening or a closing.
    pub settle: Duration,
    /// Checks in a row that a violation must stand before it is a verdict.
    pub confirm: u32,
    /// Most time for one scrape, from connecting to the last byte; at most `interval`.
    pub scrape_timeout: Duration,
    /// Where the service lists its connections, if it does.
    pub connections_url: Option<Url>,
}

/// What a gauge claims to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// Upgraded connections, from the server's `101` to the end.
    Websocket,
    /// TCP connections in the state ESTABLISHED.
    Established,
    /// ESTABLISHED connections, less those still in the accept queue.
    Accepted,
}

/// The witness in the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// The best that works here.
    Auto,
    /// The eBPF programs, or nothing.
    Ebpf,
    /// `sock_diag` alone: TCP states only, at points in time.
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
    /// `key=value` pairs.
    Logfmt,
    /// One JSON object a line.
    Json,
}
