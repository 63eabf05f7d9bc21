//! Settings: flags over environment over file, each declared once in [`settings!`].
//!
//! Knows names, types and defaults. Deliberately does not know what a setting is used for, and
//! opens nothing but the file that `--config` names.

use std::{
    collections::BTreeMap, convert::Infallible, fmt, io, net::SocketAddr, path::PathBuf,
    str::FromStr, time::Duration,
};

use serde::{Deserialize, Serialize};

mod default_file;

use default_file::Setting;

/// Declares each setting once: its manual, name, environment variable, type and default.
///
/// From it come the flag, the variable, the key of the file (kebab-case) and the field.
macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $name:ident, $env:literal: $type:ty = $default:expr;)+) => {
        /// The settings that one source gave; what it left out is `None`.
        #[derive(Clone, Debug, Default, clap::Args, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub struct Given {
            $($(#[doc = $doc])+ #[arg(long, env = $env, hide_env_values = true)] $name: Option<$type>,)+
        }

        /// Every setting, resolved.
        #[derive(Clone, Debug)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Config {
            /// Each setting with its manual and value, in their order.
            fn settings(&self) -> Result<Vec<Setting>, toml::ser::Error> {
                Ok(vec![$(Setting {
                    field: stringify!($name),
                    manual: concat!($($doc),+),
                    value: toml::Value::try_from(&self.$name)?,
                }),+])
            }
        }

        impl Given {
            /// What stands here, then what `file` says, then the default.
            #[must_use]
            pub fn over(self, file: Self) -> Config {
                Config {
                    $($name: self.$name.or(file.$name).unwrap_or_else(|| $default),)+
                }
            }
        }
    };
}

settings! {
    /// Where clients connect. `[::]:PORT` serves IPv4 as well [default: 0.0.0.0:3000]
    public_address, "SERVER_PUBLIC_ADDRESS": SocketAddr = ([0, 0, 0, 0], 3000).into();
    /// Where metrics and health are served; keep it private [default: 127.0.0.1:9090]
    management_address, "SERVER_MANAGEMENT_ADDRESS": SocketAddr = ([127, 0, 0, 1], 9090).into();
    /// File that guards the management port, in the format of Prometheus' `web.config.file`: TLS and basic
    /// authentication; read again when it has changed [default: none]
    management_config_file, "SERVER_MANAGEMENT_CONFIG_FILE": PathBuf = PathBuf::new();
    /// Directory of the default database and attachments, created if missing [default: ./data]
    data_dir, "SERVER_DATA_DIR": PathBuf = "./data".into();
    /// `sqlite:PATH` or `postgres://…` [default: relay.db in the data directory]
    database_url, "SERVER_DATABASE_URL": String = String::new();
    /// Most database connections; 0 means 1 for SQLite (one writer) and 8 for PostgreSQL [default: 0]
    database_connections, "SERVER_DATABASE_CONNECTIONS": u32 = 0;
    /// Bucket of attachments in S3, by the usual `AWS_…` variables; empty means an S3 within this
    /// process that keeps them in the data directory [default: empty]
    attachments_bucket, "SERVER_ATTACHMENTS_BUCKET": String = String::new();
    /// Largest attachment, in bytes [default: 67108864]
    attachment_limit, "SERVER_ATTACHMENT_LIMIT": u64 = 64 * 1024 * 1024;
    /// Most uploads at once; each holds up to 5 MiB of memory [default: 16]
    uploads_limit, "SERVER_UPLOADS_LIMIT": usize = 16;
    /// Most uploads at once of one account; a further one waits until one of them ends [default: 4]
    account_uploads_limit, "SERVER_ACCOUNT_UPLOADS_LIMIT": usize = 4;
    /// Longest time that one upload may take, with its wait for others to end [default: 10m]
    upload_timeout, "SERVER_UPLOAD_TIMEOUT": Span = Span::seconds(600);
    /// Failures in a row after which the database or S3 is left alone for a while [default: 5]
    breaker_failures, "SERVER_BREAKER_FAILURES": u32 = 5;
    /// How long a failing database or S3 is left alone [default: 5s]
    breaker_cool_down, "SERVER_BREAKER_COOL_DOWN": Span = Span::seconds(5);
    /// Longest wait for a database connection [default: 5s]
    database_timeout, "SERVER_DATABASE_TIMEOUT": Span = Span::seconds(5);
    /// Pending connections that the kernel holds per listener; `net.core.somaxconn` caps it [default: 4096]
    listen_backlog, "SERVER_LISTEN_BACKLOG": i32 = 4096;
    /// Most open connections on the public port; further ones wait in the accept queue [default: 100000]
    connections_limit, "SERVER_CONNECTIONS_LIMIT": usize = 100_000;
    /// Longest time for a request's headers, and for an idle keep-alive connection [default: 30s]
    header_timeout, "SERVER_HEADER_TIMEOUT": Span = Span::seconds(30);
    /// Largest JSON body of a request, in bytes [default: 131072]
    body_limit, "SERVER_BODY_LIMIT": usize = 128 * 1024;
    /// Longest wait for the next part of a request's body [default: 30s]
    body_timeout, "SERVER_BODY_TIMEOUT": Span = Span::seconds(30);
    /// Most new accounts per second and client address, with ten times that at once [default: 100]
    account_rate, "SERVER_ACCOUNT_RATE": u32 = 100;
    /// Most messages per second and sender, with ten times that at once [default: 1000]
    message_rate, "SERVER_MESSAGE_RATE": u32 = 1000;
    /// Largest text of a message, in bytes [default: 65536]
    message_limit, "SERVER_MESSAGE_LIMIT": usize = 64 * 1024;
    /// Most messages that wait for one account [default: 10000]
    pending_limit, "SERVER_PENDING_LIMIT": u32 = 10_000;
    /// Most messages of one sender that wait for one account, so that others find room; 0 means half of
    /// the pending limit [default: 0]
    sender_pending_limit, "SERVER_SENDER_PENDING_LIMIT": u32 = 0;
    /// How long a message waits for its ack before it is removed; `0s` means for ever [default: 0s]
    message_retention, "SERVER_MESSAGE_RETENTION": Span = Span::seconds(0);
    /// How long an attachment is kept, from its upload, and while a message that refers to it waits; `0s`
    /// means for ever [default: 0s]
    attachment_retention, "SERVER_ATTACHMENT_RETENTION": Span = Span::seconds(0);
    /// Longest time that sent bytes may stay unacknowledged by a client's kernel [default: 30s]
    user_timeout, "SERVER_USER_TIMEOUT": Span = Span::seconds(30);
    /// Most WebSocket sessions at once [default: 100000]
    sessions_limit, "SERVER_SESSIONS_LIMIT": usize = 100_000;
    /// Most WebSocket sessions at once of one account; one more ends the oldest [default: 100000]
    account_sessions_limit, "SERVER_ACCOUNT_SESSIONS_LIMIT": usize = 100_000;
    /// Largest WebSocket message that a client may send, in bytes [default: 65536]
    frame_limit, "SERVER_FRAME_LIMIT": usize = 64 * 1024;
    /// Most WebSocket frames per second that a session may send, with ten times that at once
    /// [default: 5000]
    frame_rate, "SERVER_FRAME_RATE": u32 = 5000;
    /// Most messages that a session is sent before it acks some [default: 256]
    unacked_limit, "SERVER_UNACKED_LIMIT": usize = 256;
    /// Messages queued for one session; what does not fit waits in the database [default: 64]
    outbound_capacity, "SERVER_OUTBOUND_CAPACITY": usize = 64;
    /// Acks queued for the database [default: 4096]
    ack_capacity, "SERVER_ACK_CAPACITY": usize = 4096;
    /// Messages queued for the database; a sender beyond that is told to try again [default: 4096]
    store_capacity, "SERVER_STORE_CAPACITY": usize = 4096;
    /// Origins whose pages may connect and send, such as `https://example.org`, separated by commas; pages of
    /// the server's own host always may, clients that are no browsers send none [default: none]
    allowed_origins, "SERVER_ALLOWED_ORIGINS": Origins = Origins::default();
    /// Time from one ping to the next [default: 20s]
    ping_interval, "SERVER_PING_INTERVAL": Span = Span::seconds(20);
    /// Longest wait for the answer to a ping [default: 10s]
    pong_timeout, "SERVER_PONG_TIMEOUT": Span = Span::seconds(10);
    /// Longest time that one frame may take to leave for a client that does not read [default: 10s]
    write_timeout, "SERVER_WRITE_TIMEOUT": Span = Span::seconds(10);
    /// After a stop signal: how long clients are still served while `/readyz` fails already, so that
    /// balancers look elsewhere before they are refused [default: 0s]
    shutdown_delay, "SERVER_SHUTDOWN_DELAY": Span = Span::seconds(0);
    /// After a stop signal: time over which the WebSockets' close frames are spread [default: 1s]
    drain_spread, "SERVER_DRAIN_SPREAD": Span = Span::seconds(1);
    /// After a stop signal: when to give up waiting for clients [default: 10s]
    drain_timeout, "SERVER_DRAIN_TIMEOUT": Span = Span::seconds(10);
    /// Buckets of histograms, in seconds: `NAME=0.1,1;NAME=…`, in the file a table of lists
    buckets, "SERVER_BUCKETS": Buckets = Buckets::default();
}

/// A length of time, written like `20s`, `500ms` or `1m 30s`.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(try_from = "String", into = "String")]
pub struct Span(Duration);

impl Span {
    /// A span of whole seconds.
    #[must_use]
    pub const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The span as the standard library's type.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = humantime::DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        humantime::parse_duration(text).map(Self)
    }
}

impl TryFrom<String> for Span {
    type Error = humantime::DurationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        span.to_string()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// Origins, as browsers write them.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Origins(pub Vec<String>);

impl FromStr for Origins {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let origins = text
            .split(',')
            .map(str::trim)
            .filter(|origin| !origin.is_empty());
        Ok(Self(origins.map(str::to_owned).collect()))
    }
}

/// Upper bounds of buckets, in seconds, by the name of a histogram.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(transparent)]
pub struct Buckets(pub BTreeMap<String, Vec<f64>>);

impl FromStr for Buckets {
    type Err = BucketsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut buckets = BTreeMap::new();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (name, bounds) = part.split_once('=').ok_or(BucketsError::NoName)?;
            let bounds = bounds.split(',').map(|bound| bound.trim().parse());
            buckets.insert(name.trim().to_owned(), bounds.collect::<Result<_, _>>()?);
        }
        Ok(Self(buckets))
    }
}

/// Why a `--buckets` value cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BucketsError {
    /// A part of the list has no `=`.
    #[error("expected NAME=BOUND,BOUND;NAME=…")]
    NoName,
    /// A bound is not a number.
    #[error("a bucket's bound is not a number")]
    Bound(#[from] std::num::ParseFloatError),
}

/// Why the file of settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read the configuration file {path}")]
    Read {
        /// The path as given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It is not valid, or names a key that does not exist.
    #[error("the configuration file {path} is not valid")]
    Parse {
        /// The path as given.
        path: PathBuf,
        /// Line, column and reason.
        source: toml::de::Error,
    },
}

impl Given {
    /// Reads the settings that a TOML file gives.
    ///
    /// # Errors
    /// When the file cannot be read, is not TOML, or has an unknown key.
    pub fn read(path: PathBuf) -> Result<Self, FileError> {
        match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|source| FileError::Parse { path, source }),
            Err(source) => Err(FileError::Read { path, source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_md_is_the_settings() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/CONFIGURATION.md");
        let page = std::fs::read_to_string(path).expect("docs/CONFIGURATION.md");
        let section = page.split_once("<!-- server -->\n").expect("a section").1;
        let section = section.split_once("<!-- /server -->").expect("its end").0;
        let mut expected = "\n| flag | variable | meaning |\n|---|---|---|\n".to_owned();
        let command = <Given as clap::Args>::augment_args(clap::Command::new("server"));
        for argument in command.get_arguments() {
            let flag = argument.get_long().expect("every setting is a flag");
            let variable = argument.get_env().expect("every setting is a variable");
            let variable = variable.to_string_lossy();
            let help = argument.get_help().expect("every setting has help");
            let help = help.to_string().replace('\n', " ").replace('|', "\\|");
            expected += &format!("| `--{flag}` | `{variable}` | {help} |\n");
        }
        expected += "\n";
        assert_eq!(
            section, expected,
            "write this into docs/CONFIGURATION.md:\n{expected}"
        );
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let given = |text: &str| toml::from_str::<Given>(text).unwrap();
        let config =
            given("ping-interval = '1s'").over(given("ping-interval = '2s'\nbody-limit = 7"));
        assert_eq!(config.ping_interval, Span::seconds(1));
        assert_eq!(config.body_limit, 7);
        assert_eq!(config.pong_timeout, Span::seconds(10));
    }

    #[test]
    fn the_file_of_the_package_says_the_defaults_and_where_its_data_is() {
        let file = include_str!("../../deploy/debian/server.toml");
        let uncommented: String = file
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(setting) if setting.contains(" = ") => setting.to_owned() + "\n",
                _ => line.to_owned() + "\n",
            })
            .collect();
        let given: Given = toml::from_str(&uncommented).unwrap();
        let default = Given::default().over(Given::default());
        let mut said = given.over(Given::default());
        assert_eq!(said.data_dir, PathBuf::from("/var/lib/plumbline-server"));
        said.data_dir.clone_from(&default.data_dir);
        assert_eq!(format!("{said:?}"), format!("{default:?}"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = toml::from_str::<Given>("body-limit = 7\nbody-limits = 8").unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("line 2") && text.contains("body-limits"),
            "{text}"
        );
    }

    #[test]
    fn buckets_are_read_from_a_flag_and_from_a_table() {
        let flag: Buckets = "a_seconds=0.1, 1;b_seconds=2".parse().unwrap();
        let file: Given =
            toml::from_str("[buckets]\na_seconds = [0.1, 1]\nb_seconds = [2]").unwrap();
        assert_eq!(Some(flag), file.buckets);
        assert!("a_seconds".parse::<Buckets>().is_err());
        assert!("a_seconds=x".parse::<Buckets>().is_err());
    }
}
