//! What somebody wrote, in a file or on the command line, and how it becomes a [`Config`].
//!
//! Every setting is defined here once: its key, flag, environment variable and help.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::claimed::{Said, selection};
use super::error::{ConfigError, Place, TargetProblem};
use super::general::{KernelSettings, LogSettings, WebSettings};
use super::listen::{Listens, Resolver, WrittenListen};
use super::value::{HttpUrl, Name, Netns, Percent, Span, Text, Within, one_or_more};
use super::{Bound, ClaimFormat, Config, Counts, MAX_GAUGE_URLS, MAX_TARGETS, Target};
use crate::claim::{
    Access, Authorization, Expression, Freshness, MAX_AGE, Path, Pattern, Selector,
};

/// From 10 ms, below which a check says nothing new, to an hour. Unit of the bounds: ms.
type Interval = Span<10, 3_600_000>;
/// At most a minute, for no service lags longer and means it. Unit of the bounds: ms.
type Settle = Span<0, 60_000>;
/// Unit of the bounds: ms.
type ScrapeTimeout = Span<1, 60_000>;
/// From a second to a day. Unit of the bounds: ms.
type SilentAfter = Span<1_000, 86_400_000>;
type Confirm = Within<1, 100>;
/// At most an hour, which is how long a check counts. Unit of the bounds: ms.
type ConfirmFor = Span<0, 3_600_000>;

const INTERVAL: Duration = Duration::from_secs(5);
const SETTLE: Duration = Duration::from_secs(1);
const CONFIRM: u32 = 2;
/// An agreement that would have missed half of what is open has hardly looked.
const TOO_WIDE: Percent = Percent(50);
/// Longest scrape unless told otherwise, where the interval is not shorter still.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most services that ping do so at least every 30 s.
const SILENT_AFTER: Duration = Duration::from_secs(60);

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

/// One `[[target]]`, or the flags of a single target.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TargetSettings {
    /// Name of the target in metrics, logs and the API [default: port-PORT]
    #[arg(long, env = "OBSERVER_NAME", help_heading = "Target")]
    pub name: Option<Text<Name>>,
    /// What the service listens on: :PORT for any address, ADDRESS:PORT or NAME:PORT; given several
    /// times, the connections are summed
    #[arg(long, value_name = "[ADDRESS]:PORT", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_LISTEN", help_heading = "Target")]
    #[serde(deserialize_with = "one_or_more")]
    pub listen: Option<Vec<Text<WrittenListen>>>,
    /// Network namespace of the service's sockets: self, pid:NUMBER or path:FILE [default: self]
    #[arg(long, env = "OBSERVER_NETNS", help_heading = "Target")]
    pub netns: Option<Text<Netns>>,
    /// Where the service publishes its gauge; given several times, the claims are summed
    #[arg(long, value_name = "URL", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_GAUGE_URL", help_heading = "Target")]
    #[serde(deserialize_with = "one_or_more")]
    pub gauge_url: Option<Vec<Text<HttpUrl>>>,
    /// Prometheus selector of the series that are summed [default: active_connections]
    #[arg(
        long,
        value_name = "SELECTOR",
        env = "OBSERVER_GAUGE",
        help_heading = "Target"
    )]
    pub gauge: Option<Text<Selector>>,
    /// Sum and difference of selectors and numbers, in place of --gauge, evaluated on each page:
    /// 'accepted_total - closed_total - 1'
    #[arg(
        long,
        value_name = "EXPRESSION",
        env = "OBSERVER_CLAIM",
        help_heading = "Target",
        allow_hyphen_values = true
    )]
    pub claim: Option<Text<Expression>>,
    /// What the page at --gauge-url is [default: what the other settings need]
    #[arg(
        long,
        value_name = "FORMAT",
        env = "OBSERVER_CLAIM_FORMAT",
        help_heading = "Target"
    )]
    pub claim_format: Option<ClaimFormat>,
    /// JSONPath (RFC 9535) of the claim in a JSON page, such as $.connections; numbers are summed
    #[arg(
        long,
        value_name = "PATH",
        env = "OBSERVER_CLAIM_PATH",
        help_heading = "Target"
    )]
    pub claim_path: Option<Text<Path>>,
    /// Pattern with one group, the claim, that matches once in a text page
    #[arg(
        long,
        value_name = "REGEX",
        env = "OBSERVER_CLAIM_PATTERN",
        help_heading = "Target",
        allow_hyphen_values = true
    )]
    pub claim_pattern: Option<Text<Pattern>>,
    /// What the gauge claims to count [default: websocket]
    #[arg(long, env = "OBSERVER_COUNTS", help_heading = "Target")]
    pub counts: Option<Counts>,
    /// Whether the claim is all of these connections, or at most as many, as requests in flight are
    /// [default: exact]
    #[arg(long, env = "OBSERVER_BOUND", help_heading = "Target")]
    pub bound: Option<Bound>,
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
    /// How long a drift must stand before it is a verdict [default: settle]
    #[arg(
        long,
        value_name = "DURATION",
        env = "OBSERVER_CONFIRM_FOR",
        help_heading = "Target"
    )]
    pub confirm_for: Option<Text<ConfirmFor>>,
    /// Widest drift that may go unseen, of what is open; an agreement beyond it is blind [default: 50%]
    #[arg(
        long,
        value_name = "PERCENT",
        env = "OBSERVER_TOO_WIDE",
        help_heading = "Target"
    )]
    pub too_wide: Option<Text<Percent>>,
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
    /// How long nothing may come from a peer before its connection is suspected [default: 1m]
    #[arg(
        long,
        value_name = "DURATION",
        env = "OBSERVER_SILENT_AFTER",
        help_heading = "Target"
    )]
    pub silent_after: Option<Text<SilentAfter>>,
    /// File with the token that proves who asks the service
    #[arg(
        long,
        value_name = "FILE",
        env = "OBSERVER_BEARER_TOKEN_FILE",
        help_heading = "Target"
    )]
    pub bearer_token_file: Option<PathBuf>,
    /// Name that proves who asks the service, with --password-file
    #[arg(long, env = "OBSERVER_USERNAME", help_heading = "Target")]
    pub username: Option<String>,
    /// File with the password of --username
    #[arg(
        long,
        value_name = "FILE",
        env = "OBSERVER_PASSWORD_FILE",
        help_heading = "Target"
    )]
    pub password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities to trust for https [default: this machine's]
    #[arg(
        long,
        value_name = "FILE",
        env = "OBSERVER_CA_FILE",
        help_heading = "Target"
    )]
    pub ca_file: Option<PathBuf>,
}

impl Settings {
    /// Fills in the defaults, has the names of hosts resolved, and judges the targets together.
    ///
    /// # Errors
    /// When there is no target, or too many, or one that lacks something or clashes.
    pub fn into_config(self, resolver: Resolver<'_>) -> Result<Config, ConfigError> {
        if self.targets.is_empty() {
            return Err(ConfigError::NoTarget);
        }
        self.into_config_of_host(resolver)
    }

    /// The same, where there need not be a target.
    ///
    /// # Errors
    /// When there are too many targets, or one that lacks something or clashes.
    pub fn into_config_of_host(self, resolver: Resolver<'_>) -> Result<Config, ConfigError> {
        let Self {
            web,
            kernel,
            log,
            targets,
        } = self;
        if targets.len() > MAX_TARGETS {
            return Err(ConfigError::TooManyTargets {
                count: targets.len(),
            });
        }
        let mut names = HashSet::new();
        let targets = targets.into_iter().map(|(place, settings)| {
            let target = settings.into_target(resolver).and_then(|target| {
                if names.insert(target.name.clone()) {
                    Ok(target)
                } else {
                    Err(TargetProblem::NameTwice { name: target.name })
                }
            });
            target.map_err(|problem| ConfigError::Target { place, problem })
        });
        let targets = targets.collect::<Result<Vec<_>, _>>()?;
        let config = Config {
            targets,
            web: web.into_web(),
            kernel: kernel.into_kernel(),
            log: log.into_log(),
        };
        match config.places() {
            0..=MAX_TARGETS => Ok(config),
            count => Err(ConfigError::TooManyPlaces { count }),
        }
    }
}

impl TargetSettings {
    /// The keys of what is set, for messages.
    pub fn keys(&self) -> String {
        let keys = [
            ("name", self.name.is_some()),
            ("listen", self.listen.is_some()),
            ("netns", self.netns.is_some()),
            ("gauge-url", self.gauge_url.is_some()),
            ("gauge", self.gauge.is_some()),
            ("claim", self.claim.is_some()),
            ("claim-format", self.claim_format.is_some()),
            ("claim-path", self.claim_path.is_some()),
            ("claim-pattern", self.claim_pattern.is_some()),
            ("counts", self.counts.is_some()),
            ("bound", self.bound.is_some()),
            ("interval", self.interval.is_some()),
            ("settle", self.settle.is_some()),
            ("confirm", self.confirm.is_some()),
            ("confirm-for", self.confirm_for.is_some()),
            ("too-wide", self.too_wide.is_some()),
            ("scrape-timeout", self.scrape_timeout.is_some()),
            ("connections-url", self.connections_url.is_some()),
            ("silent-after", self.silent_after.is_some()),
            ("bearer-token-file", self.bearer_token_file.is_some()),
            ("username", self.username.is_some()),
            ("password-file", self.password_file.is_some()),
            ("ca-file", self.ca_file.is_some()),
        ];
        let set: Vec<_> = keys
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(key, _)| *key)
            .collect();
        set.join(", ")
    }

    fn into_target(self, resolver: Resolver<'_>) -> Result<Target, TargetProblem> {
        let Self {
            name,
            listen,
            netns,
            gauge_url,
            gauge,
            claim,
            claim_format,
            claim_path,
            claim_pattern,
            counts,
            bound,
            interval,
            settle,
            confirm,
            confirm_for,
            too_wide,
            scrape_timeout,
            connections_url,
            silent_after,
            bearer_token_file,
            username,
            password_file,
            ca_file,
        } = self;
        let listen = Listens::of(listen.unwrap_or_default(), resolver)?;
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
        let said = Said {
            gauge,
            claim,
            path: claim_path,
            pattern: claim_pattern,
        };
        let claim = selection(claim_format, said)?;
        let authorization = match (bearer_token_file, username, password_file) {
            (None, None, None) => None,
            (Some(token_file), None, None) => Some(Authorization::Bearer { token_file }),
            (None, Some(username), Some(password_file)) => Some(Authorization::Basic {
                username,
                password_file,
            }),
            (None, _, _) => return Err(TargetProblem::HalfBasic),
            (Some(_), _, _) => return Err(TargetProblem::TwoAuthorizations),
        };
        let interval = interval.map_or(INTERVAL, |Text(interval)| interval.0);
        let scrape_timeout = match scrape_timeout {
            None => SCRAPE_TIMEOUT.min(interval),
            Some(Text(Span(timeout))) if timeout <= interval => timeout,
            Some(Text(Span(timeout))) => {
                return Err(TargetProblem::SlowScrape { timeout, interval });
            }
        };
        let settle = settle.map_or(SETTLE, |Text(settle)| settle.0);
        Ok(Target {
            name: name.map_or_else(
                || format!("port-{}", listen.port()),
                |Text(Name(name))| name,
            ),
            listen,
            netns: netns.map_or(Netns::SelfNs, |Text(netns)| netns),
            gauge_url,
            claim,
            freshness: Freshness {
                age: interval.min(MAX_AGE),
                ahead: settle,
            },
            counts: counts.unwrap_or(Counts::Websocket),
            bound: bound.unwrap_or(Bound::Exact),
            interval,
            settle,
            confirm: confirm.map_or(CONFIRM, |confirm| confirm.0),
            confirm_for: confirm_for.map_or(settle, |Text(time)| time.0),
            too_wide: too_wide.map_or(TOO_WIDE, |Text(percent)| percent).share(),
            scrape_timeout,
            access: Access {
                authorization,
                ca_file,
            },
            connections_url: connections_url.map(|Text(HttpUrl(url))| url),
            silent_after: silent_after.map_or(SILENT_AFTER, |Text(silent)| silent.0),
        })
    }
}
