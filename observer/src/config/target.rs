//! One `[[target]]` as somebody wrote it.
//!
//! Each setting of it is defined here once: its key, flag, environment variable and help. What follows
//! from them together is `settings`'.

use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;

use super::claimed::Word;
use super::labels::WrittenLabels;
use super::listen::WrittenListen;
use super::netns::{CgroupPath, ContainerName, Netns, UnitName};
use super::peers::Peers;
use super::settle::Settle;
use super::value::{HttpUrl, Name, Percent, Span, Text, Within, one_or_more};
use super::{Bound, ClaimFormat, ClaimType, Counts};
use crate::claim::{Expression, Path, Pattern, Query, Selector, User};

/// From 10 ms, below which a check says nothing new, to an hour. Unit of the bounds: ms.
type Interval = Span<10, 3_600_000>;
/// Unit of the bounds: ms.
type ScrapeTimeout = Span<1, 60_000>;
/// From a second to a day. Unit of the bounds: ms.
type SilentAfter = Span<1_000, 86_400_000>;
type Confirm = Within<1, 100>;
/// At most an hour, which is how long a check counts. Unit of the bounds: ms.
type ConfirmFor = Span<0, 3_600_000>;

/// One `[[target]]`, or the flags of a single target.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TargetSettings {
    /// Name of the target in metrics, logs and the API [default: by where it listens, as port-PORT]
    #[arg(long, env = "OBSERVER_NAME", help_heading = "Target")]
    pub name: Option<Text<Name>>,
    /// What the service listens on: :PORT for any address, ADDRESS:PORT, NAME:PORT, unix:PATH or
    /// unix:@NAME; with --counts outgoing, what it connects to; given several times, the connections are
    /// summed
    #[arg(long, value_name = "[ADDRESS]:PORT", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_LISTEN", help_heading = "Target")]
    #[serde(deserialize_with = "one_or_more")]
    pub listen: Option<Vec<Text<WrittenListen>>>,
    /// Network namespace of the service's sockets: self, pid:NUMBER or path:FILE [default: self]
    #[arg(long, env = "OBSERVER_NETNS", help_heading = "Target")]
    pub netns: Option<Text<Netns>>,
    /// In place of --netns: the cgroup that the service is run in, as /proc/PID/cgroup shows it
    #[arg(id = "target.cgroup", long = "cgroup", value_name = "PATH")]
    #[arg(env = "OBSERVER_CGROUP", help_heading = "Target")]
    pub cgroup: Option<Text<CgroupPath>>,
    /// In place of --netns: the systemd unit that runs the service, such as chat.service
    #[arg(
        long,
        value_name = "NAME",
        env = "OBSERVER_UNIT",
        help_heading = "Target"
    )]
    pub unit: Option<Text<UnitName>>,
    /// In place of --netns: the name or the id of the container that the service is run in
    #[arg(
        long,
        value_name = "NAME",
        env = "OBSERVER_CONTAINER",
        help_heading = "Target"
    )]
    pub container: Option<Text<ContainerName>>,
    /// Where the service publishes its gauge; given several times, the claims are summed
    #[arg(long, value_name = "URL", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_GAUGE_URL", help_heading = "Target")]
    #[serde(deserialize_with = "one_or_more")]
    pub gauge_url: Option<Vec<Text<HttpUrl>>>,
    /// Network namespace in which the pages are asked for, or the command is run: self, pid:NUMBER or
    /// path:FILE [default: that of --netns for a page on a loopback address, else self]
    #[arg(long, env = "OBSERVER_GAUGE_NETNS", help_heading = "Target")]
    pub gauge_netns: Option<Text<Netns>>,
    /// In place of --gauge-url, a program by its whole path, and its arguments, whose output is the page;
    /// no shell is asked
    #[arg(
        long,
        value_name = "WORD",
        value_delimiter = ' ',
        env = "OBSERVER_CLAIM_COMMAND",
        help_heading = "Target",
        allow_hyphen_values = true
    )]
    #[serde(deserialize_with = "one_or_more")]
    pub claim_command: Option<Vec<Text<Word>>>,
    /// User as whom the command is run, or UID:GID; root has to name one
    #[arg(
        long,
        value_name = "USER",
        env = "OBSERVER_CLAIM_USER",
        help_heading = "Target"
    )]
    pub claim_user: Option<Text<User>>,
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
    /// In place of --gauge, sums and differences that the Prometheus server at --gauge-url is asked
    /// for: 'sum(active_connections{job="chat"})'
    #[arg(
        long,
        value_name = "PROMQL",
        env = "OBSERVER_CLAIM_QUERY",
        help_heading = "Target",
        allow_hyphen_values = true
    )]
    pub claim_query: Option<Text<Query>>,
    /// Whether the claim says how many connections there are, or how many were opened so far
    /// [default: gauge]
    #[arg(long, env = "OBSERVER_CLAIM_TYPE", help_heading = "Target")]
    pub claim_type: Option<ClaimType>,
    /// What the gauge claims to count [default: websocket]
    #[arg(long, env = "OBSERVER_COUNTS", help_heading = "Target")]
    pub counts: Option<Counts>,
    /// Peers whose connections are left out, as addresses or networks, such as those of a health check
    #[arg(long, value_name = "ADDRESS[/BITS]", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_IGNORE_PEERS", help_heading = "Target")]
    #[serde(deserialize_with = "one_or_more")]
    pub ignore_peers: Option<Vec<Text<Peers>>>,
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
    /// How long before or after the kernel the service may count; auto learns it [default: 1s]
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
    /// What others call it: labels that come along in what is published of it.
    #[arg(skip)]
    pub labels: WrittenLabels,
}

impl TargetSettings {
    /// Whether its sockets are in a network namespace that is named.
    pub(super) const fn is_elsewhere(&self) -> bool {
        self.netns.is_some()
            || self.cgroup.is_some()
            || self.unit.is_some()
            || self.container.is_some()
    }

    /// The keys of what is set, for messages.
    pub fn keys(&self) -> String {
        let keys = [
            ("name", self.name.is_some()),
            ("listen", self.listen.is_some()),
            ("netns", self.netns.is_some()),
            ("cgroup", self.cgroup.is_some()),
            ("unit", self.unit.is_some()),
            ("container", self.container.is_some()),
            ("gauge-url", self.gauge_url.is_some()),
            ("gauge-netns", self.gauge_netns.is_some()),
            ("claim-command", self.claim_command.is_some()),
            ("claim-user", self.claim_user.is_some()),
            ("gauge", self.gauge.is_some()),
            ("claim", self.claim.is_some()),
            ("claim-format", self.claim_format.is_some()),
            ("claim-path", self.claim_path.is_some()),
            ("claim-pattern", self.claim_pattern.is_some()),
            ("claim-query", self.claim_query.is_some()),
            ("claim-type", self.claim_type.is_some()),
            ("counts", self.counts.is_some()),
            ("ignore-peers", self.ignore_peers.is_some()),
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
            ("labels", !self.labels.is_empty()),
        ];
        let set: Vec<_> = keys
            .iter()
            .filter(|(_, is_set)| *is_set)
            .map(|(key, _)| *key)
            .collect();
        set.join(", ")
    }
}
