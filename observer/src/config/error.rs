//! Why there is no configuration, and where the fault stands.
//!
//! Each message says what to do. What a single value may be is `value`'s to say.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use observer_ebpf::MAX_IGNORED_PEERS;

use super::{
    MAX_DISCOVERIES, MAX_GAUGE_URLS, MAX_LABELS, MAX_LISTENS, MAX_TARGETS, MAX_WORDS, Netns,
    Source, UnixName,
};

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
    /// Not a list of file_sd or http_sd.
    #[error(
        "{name}: expected a list of groups with targets and labels, as Prometheus has it: {message}"
    )]
    List {
        /// The file's name, or the page's URL.
        name: String,
        /// What the parser says.
        message: String,
    },
    /// Not what Prometheus says of its targets.
    #[error("{name}: expected what Prometheus answers: {message}: is it a Prometheus server?")]
    Server {
        /// The URL.
        name: String,
        /// What the parser says.
        message: String,
    },
    /// Each setting of a discovery is well, but not together.
    #[error("{place}: {problem}")]
    Discovery {
        /// The file and position of it, or the command line.
        place: Place,
        /// What is wrong with it.
        problem: DiscoveryProblem,
    },
    /// More sources of lists than are followed.
    #[error("{count} discoveries are more than the {MAX_DISCOVERIES} that are followed")]
    TooManyDiscoveries {
        /// How many there are.
        count: usize,
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
    #[error(
        "no target: give --listen and --gauge-url, or a file with [[target]] by --config, or lists of \
         targets by --discovery.path"
    )]
    NoTarget,
    /// More targets than are watched by one observer.
    #[error("{count} targets are more than the {MAX_TARGETS} that one observer watches")]
    TooManyTargets {
        /// How many there are.
        count: usize,
    },
    /// More addresses than are watched by one observer.
    #[error(
        "the targets listen on {count} addresses, more than the {MAX_TARGETS} that one observer watches"
    )]
    TooManyPlaces {
        /// How many there are, each counted once.
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
    #[error(
        "the target has no listen: say what the service listens on, such as :3000, or with \
         counts = \"outgoing\" what it connects to"
    )]
    NoListen,
    /// A name that stands for no address.
    #[error("the host {name:?} of listen is not known ({reason}): write an address of this host")]
    UnknownHost {
        /// The name.
        name: String,
        /// What the resolver says.
        reason: String,
    },
    /// More addresses than are summed.
    #[error(
        "{count} addresses to listen on are more than the {MAX_LISTENS} that are summed: write :PORT"
    )]
    TooManyListens {
        /// How many there are, with all addresses of each name.
        count: usize,
    },
    /// Connections that go to a Unix socket, which do not say so.
    #[error(
        "counts = \"outgoing\" is of TCP: the kernel does not say where a Unix socket is connected to \
         ({name}); count what its service has accepted instead, by counts = \"accepted\""
    )]
    OutgoingToUnix {
        /// The name of the Unix socket.
        name: UnixName,
    },
    /// WebSockets where no program sees what is sent.
    #[error(
        "no program sees what a Unix socket carries ({name}), so its WebSockets cannot be told: take \
         a gauge of all connections, with counts = \"accepted\", or leave the Unix socket out"
    )]
    WebsocketOnUnix {
        /// The name of the Unix socket.
        name: UnixName,
    },
    /// No claim to check.
    #[error(
        "the target has no gauge-url: say where its gauge is published (or by claim-command what says it)"
    )]
    NoGaugeUrl,
    /// More claims than are summed.
    #[error("{count} gauge-urls are more than the {MAX_GAUGE_URLS} that are summed")]
    TooManyGaugeUrls {
        /// How many there are.
        count: usize,
    },
    /// Two ways to say what the claim is.
    #[error(
        "gauge, claim, claim-path, claim-pattern and claim-query each say what the claim is: choose one"
    )]
    TwoClaims,
    /// The way to say what the claim is belongs to another format.
    #[error("this claim-format needs {needs}, which says what of the page is the claim")]
    OtherFormat {
        /// The setting that the format needs.
        needs: &'static str,
    },
    /// A format of what always has the same.
    #[error("claim-format is of pages, and claim-query asks a Prometheus server: leave one out")]
    FormatOfQuery,
    /// What says of a gauge how it is compared, and the claim is none.
    #[error("{setting} is of a gauge, and claim-type is \"counter\": leave one of them out")]
    OfGauges {
        /// The setting and its value.
        setting: &'static str,
    },
    /// Several servers, whose samples may be the same.
    #[error(
        "claim-query asks one Prometheus server, and there are {count} gauge-urls: two servers may \
         have scraped the same service"
    )]
    SeveralServers {
        /// How many there are.
        count: usize,
    },
    /// The page of one service where a Prometheus server is asked.
    #[error(
        "with claim-query, gauge-url is the Prometheus server, such as http://127.0.0.1:9090, \
         and not a page of metrics"
    )]
    QueryOfPage,
    /// Two sources of one claim.
    #[error("gauge-url and claim-command are two places to have the claim from: choose one")]
    TwoSources,
    /// A command that would have to be looked for.
    #[error(
        "claim-command begins with {program:?}: write the program's whole path, such as \
         /usr/bin/redis-cli; there is no shell and no PATH"
    )]
    NoPath {
        /// What stands in the place of the program.
        program: String,
    },
    /// More words than any command has.
    #[error("claim-command has {count} words, more than {MAX_WORDS}")]
    TooManyWords {
        /// How many it has.
        count: usize,
    },
    /// What says of a command how it is run, or of a server what it is asked, and there is none.
    #[error("{setting} is of use with {needs} only")]
    Needs {
        /// The setting.
        setting: &'static str,
        /// What it is of use with.
        needs: &'static str,
    },
    /// More labels than come along.
    #[error("{count} labels are more than the {MAX_LABELS} that a target may have")]
    TooManyLabels {
        /// How many there are.
        count: usize,
    },
    /// Two targets of one name, given or by default.
    #[error("a target before is named {name:?} too: give one of them another name")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// More peers than can be told to the kernel.
    #[error(
        "{count} ignore-peers are more than the {MAX_IGNORED_PEERS} there may be: write networks"
    )]
    TooManyPeers {
        /// How many there are.
        count: usize,
    },
    /// Two targets share a port, and not the peers that they leave out.
    #[error(
        "it shares port {port} with the target {other:?}, which has other ignore-peers: the \
         connections of a port are counted once"
    )]
    PeersDiffer {
        /// The port.
        port: u16,
        /// The name of the other target.
        other: String,
    },
    /// A name without a password, or the other way round.
    #[error("username and password-file need each other")]
    HalfBasic,
    /// Two ways to prove who asks.
    #[error("bearer-token-file and username are two ways to prove who asks: choose one")]
    TwoAuthorizations,
    /// Two ways to say where the sockets are.
    #[error("{one} and {other} are two places of one target: choose one")]
    TwoPlaces {
        /// The one.
        one: Netns,
        /// The other.
        other: Netns,
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

/// What is wrong with a `[[discovery]]`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryProblem {
    /// Files without a path.
    #[error("a discovery of kind file has a path, such as /etc/plumbline/targets/*.yaml")]
    NoPath,
    /// A page without a URL.
    #[error("a discovery of kind http or prometheus has a url")]
    NoUrl,
    /// A setting of another kind.
    #[error("{setting} is of another kind of discovery: kind = \"{kind}\" has none")]
    OfOtherKind {
        /// Which.
        setting: &'static str,
        /// The kind that it was written for.
        kind: &'static str,
    },
    /// No way to prove who asks.
    #[error(transparent)]
    Access(TargetProblem),
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
    /// A group in a list of targets, from 1.
    Group {
        /// The list's name.
        name: String,
        /// What kind of list.
        source: Source,
        /// Which group.
        number: usize,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("command line"),
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Group { name, number, .. } => write!(f, "{name}, group {number}"),
        }
    }
}

impl Place {
    /// Where `span` begins in the text of the file `name`.
    pub(super) fn in_file(name: &str, text: &str, span: Option<Range<usize>>) -> Self {
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
