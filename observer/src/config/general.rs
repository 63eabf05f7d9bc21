//! The settings beside the targets: `[web]`, `[kernel]` and `[log]`.
//!
//! Each is defined here once: its key, flag, environment variable, help and default.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::value::{Cgroup, Text, WebAddress, Within};
use super::{Backend, Kernel, Level, Log, LogFormat, Web};

/// Up to 4 Mi = 2²² records.
type MaxSockets = Within<1, 4_194_304>;

/// Where the observer's HTTP listens unless told otherwise.
const LISTEN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10090);
/// 2¹⁸ records.
const MAX_SOCKETS: u32 = 262_144;

/// `[web]`, or `--web.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct WebSettings {
    /// Where the observer's own HTTP listens: ADDRESS:PORT, or :PORT for every address
    /// [default: 127.0.0.1:10090]
    #[arg(long = "web.listen-address", value_name = "ADDRESS:PORT")]
    #[arg(env = "OBSERVER_WEB_LISTEN_ADDRESS", help_heading = "Observer")]
    pub listen_address: Option<Text<WebAddress>>,
    /// File that guards it, in the format of Prometheus' web.config.file: TLS and basic authentication; read
    /// again when it has changed [default: none]
    #[arg(long = "web.config-file", value_name = "FILE")]
    #[arg(env = "OBSERVER_WEB_CONFIG_FILE", help_heading = "Observer")]
    pub config_file: Option<PathBuf>,
}

/// `[kernel]`, or `--kernel.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct KernelSettings {
    /// Witness in the kernel; auto takes the best that works here [default: auto]
    #[arg(long = "kernel.backend", value_name = "BACKEND")]
    #[arg(env = "OBSERVER_KERNEL_BACKEND", help_heading = "Observer")]
    pub backend: Option<Backend>,
    /// How many sockets there is room for at once, over all targets [default: 262144]
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

impl WebSettings {
    /// These settings, and `other` where they are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            listen_address: self.listen_address.or(other.listen_address),
            config_file: self.config_file.or(other.config_file),
        }
    }

    /// These settings, and the defaults where they are silent.
    #[must_use]
    pub fn into_web(self) -> Web {
        Web {
            listen_address: self
                .listen_address
                .map_or(LISTEN_ADDRESS, |Text(address)| address.0),
            config_file: self.config_file,
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

    pub(super) fn into_kernel(self) -> Kernel {
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

    pub(super) fn into_log(self) -> Log {
        Log {
            level: self.level.unwrap_or(Level::Info),
            format: self.format.unwrap_or(LogFormat::Logfmt),
        }
    }
}
