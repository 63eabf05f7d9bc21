//! `[[discovery]]`: where the lists of targets are that others write.
//!
//! Lists are files (Prometheus' file_sd), pages (http_sd), or what a Prometheus server says that it scrapes.
//! What stands in a list is `groups`' to say; who reads and asks for it is not known here.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use url::Url;

use super::{
    Source, Text,
    claimed::access,
    error::DiscoveryProblem,
    value::{HttpUrl, Span},
};
use crate::claim::Access;

/// From a second to a day.
type RefreshInterval = Span<1_000, 86_400_000>;

/// As Prometheus has it for http_sd.
const REFRESH_INTERVAL: Duration = Duration::from_secs(60);

/// What has lists of targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiscoveryKind {
    /// Files in Prometheus' file_sd format
    File,
    /// A page in Prometheus' http_sd format
    Http,
    /// The targets that a Prometheus server scrapes
    Prometheus,
}

impl DiscoveryKind {
    const fn source(self) -> Source {
        match self {
            Self::File => Source::File,
            Self::Http => Source::Http,
            Self::Prometheus => Source::Prometheus,
        }
    }
}

/// `[[discovery]]`, or `--discovery.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct DiscoverySettings {
    /// What has lists of targets [default: file]
    #[arg(id = "discovery.kind", long = "discovery.kind", value_name = "KIND")]
    #[arg(env = "OBSERVER_DISCOVERY_KIND", help_heading = "Discovery")]
    pub kind: Option<DiscoveryKind>,
    /// Of kind file: lists in Prometheus' file_sd format, .json, .yml or .yaml; one * may stand in the last
    /// part of the path
    #[arg(id = "discovery.path", long = "discovery.path", value_name = "FILE")]
    #[arg(env = "OBSERVER_DISCOVERY_PATH", help_heading = "Discovery")]
    pub path: Option<Text<Pattern>>,
    /// Of kind http: the page that is a list; of kind prometheus: where the server is
    #[arg(id = "discovery.url", long = "discovery.url", value_name = "URL")]
    #[arg(env = "OBSERVER_DISCOVERY_URL", help_heading = "Discovery")]
    pub url: Option<Text<HttpUrl>>,
    /// Of kind prometheus: only the targets of this scrape pool, which is a job
    #[arg(id = "discovery.scrape-pool", long = "discovery.scrape-pool")]
    #[arg(value_name = "NAME")]
    #[arg(env = "OBSERVER_DISCOVERY_SCRAPE_POOL", help_heading = "Discovery")]
    pub scrape_pool: Option<String>,
    /// Of kinds http and prometheus: time between two requests [default: 1m]
    #[arg(id = "discovery.refresh-interval", long = "discovery.refresh-interval")]
    #[arg(value_name = "DURATION")]
    #[arg(
        env = "OBSERVER_DISCOVERY_REFRESH_INTERVAL",
        help_heading = "Discovery"
    )]
    pub refresh_interval: Option<Text<RefreshInterval>>,
    /// File with the token that proves who asks for the list
    #[arg(
        id = "discovery.bearer-token-file",
        long = "discovery.bearer-token-file"
    )]
    #[arg(value_name = "FILE")]
    #[arg(
        env = "OBSERVER_DISCOVERY_BEARER_TOKEN_FILE",
        help_heading = "Discovery"
    )]
    pub bearer_token_file: Option<PathBuf>,
    /// Name that proves who asks for the list, with a password-file
    #[arg(id = "discovery.username", long = "discovery.username")]
    #[arg(value_name = "NAME")]
    #[arg(env = "OBSERVER_DISCOVERY_USERNAME", help_heading = "Discovery")]
    pub username: Option<String>,
    /// File with the password of that name
    #[arg(id = "discovery.password-file", long = "discovery.password-file")]
    #[arg(value_name = "FILE")]
    #[arg(env = "OBSERVER_DISCOVERY_PASSWORD_FILE", help_heading = "Discovery")]
    pub password_file: Option<PathBuf>,
    /// PEM file of the certificate authorities to trust for https [default: this machine's]
    #[arg(id = "discovery.ca-file", long = "discovery.ca-file")]
    #[arg(value_name = "FILE")]
    #[arg(env = "OBSERVER_DISCOVERY_CA_FILE", help_heading = "Discovery")]
    pub ca_file: Option<PathBuf>,
}

/// Where lists of targets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Discovery {
    /// In files.
    Files(Pattern),
    /// On a page.
    Page(Page),
}

/// A page that is a list of targets, or a Prometheus server's account of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// [`Source::Http`] or [`Source::Prometheus`].
    pub source: Source,
    /// What is asked for.
    pub url: Url,
    /// How it wants to be asked.
    pub access: Access,
    /// Time between two requests.
    pub refresh_interval: Duration,
}

impl DiscoverySettings {
    /// What is meant by them together.
    ///
    /// # Errors
    /// When one is missing, or belongs to another kind.
    pub fn into_discovery(self) -> Result<Discovery, DiscoveryProblem> {
        let kind = self.kind.unwrap_or(DiscoveryKind::File);
        let is_file = kind == DiscoveryKind::File;
        let is_foreign = [
            ("path", self.path.is_some(), is_file),
            ("url", self.url.is_some(), !is_file),
            (
                "scrape-pool",
                self.scrape_pool.is_some(),
                kind == DiscoveryKind::Prometheus,
            ),
            (
                "refresh-interval",
                self.refresh_interval.is_some(),
                !is_file,
            ),
            (
                "bearer-token-file",
                self.bearer_token_file.is_some(),
                !is_file,
            ),
            ("username", self.username.is_some(), !is_file),
            ("password-file", self.password_file.is_some(), !is_file),
            ("ca-file", self.ca_file.is_some(), !is_file),
        ];
        let foreign = is_foreign
            .iter()
            .find(|(_, is_set, is_its)| *is_set && !*is_its);
        if let Some((setting, ..)) = foreign {
            return Err(DiscoveryProblem::OfOtherKind {
                setting,
                kind: kind.source().name(),
            });
        }
        if is_file {
            let Text(path) = self.path.ok_or(DiscoveryProblem::NoPath)?;
            return Ok(Discovery::Files(path));
        }
        let Text(HttpUrl(url)) = self.url.ok_or(DiscoveryProblem::NoUrl)?;
        let access = access(
            self.bearer_token_file,
            self.username,
            self.password_file,
            self.ca_file,
        );
        Ok(Discovery::Page(Page {
            source: kind.source(),
            url: match kind {
                DiscoveryKind::Prometheus => targets_of_server(url, self.scrape_pool.as_deref()),
                _ => url,
            },
            access: access.map_err(DiscoveryProblem::Access)?,
            refresh_interval: self
                .refresh_interval
                .map_or(REFRESH_INTERVAL, |Text(interval)| interval.0),
        }))
    }
}

/// Where a Prometheus server says what it scrapes; the server may be behind a prefix.
fn targets_of_server(mut server: Url, scrape_pool: Option<&str>) -> Url {
    let path = format!("{}/api/v1/targets", server.path().trim_end_matches('/'));
    server.set_path(&path);
    let mut query = server.query_pairs_mut();
    query.append_pair("state", "active");
    if let Some(pool) = scrape_pool {
        query.append_pair("scrapePool", pool);
    }
    drop(query);
    server
}

/// The path of a list, or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Where it is; a list by itself, unless there is a `*`.
    pub path: PathBuf,
    /// What stands before and behind the `*` of the last part.
    star: Option<(String, String)>,
}

/// A text that is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a path that ends in .json, .yml or .yaml, with at most one *, in the last part of it"
)]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (folder, last) = text.rsplit_once('/').unwrap_or(("", text));
        let is_list = [".json", ".yml", ".yaml"]
            .iter()
            .any(|ending| last.ends_with(ending));
        if !is_list || folder.contains('*') || last.matches('*').count() > 1 {
            return Err(PatternError);
        }
        Ok(Self {
            path: text.into(),
            star: last
                .split_once('*')
                .map(|(before, behind)| (before.to_owned(), behind.to_owned())),
        })
    }
}

impl Pattern {
    /// Whether it is one path alone.
    #[must_use]
    pub const fn is_literal(&self) -> bool {
        self.star.is_none()
    }

    /// Whether a file of that name, in the folder of the path, is meant.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        self.star.as_ref().is_some_and(|(before, behind)| {
            let rest = name.strip_prefix(before.as_str());
            rest.is_some_and(|rest| rest.ends_with(behind.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn discovery(text: &str) -> Result<Discovery, String> {
        let settings: DiscoverySettings =
            toml::from_str(text).map_err(|error| error.to_string())?;
        settings.into_discovery().map_err(|error| error.to_string())
    }

    #[test]
    fn a_kind_has_its_own_settings() {
        let Ok(Discovery::Files(pattern)) = discovery("path = '/etc/x/*.yaml'") else {
            panic!("files")
        };
        assert!(pattern.is_of("a.yaml"));
        let Ok(Discovery::Page(page)) = discovery("kind = 'http'\nurl = 'http://sd/x?y=z'") else {
            panic!("a page")
        };
        assert_eq!(
            (page.url.as_str(), page.source),
            ("http://sd/x?y=z", Source::Http)
        );
        assert_eq!(page.refresh_interval, Duration::from_secs(60));
        let server = "kind = 'prometheus'\nurl = 'https://p/prefix/'\nscrape-pool = 'a b'\n\
                      refresh-interval = '5s'\nusername = 'u'\npassword-file = '/p'";
        let Ok(Discovery::Page(page)) = discovery(server) else {
            panic!("a server")
        };
        let url = "https://p/prefix/api/v1/targets?state=active&scrapePool=a+b";
        assert_eq!((page.url.as_str(), page.source), (url, Source::Prometheus));
        assert!(page.access.authorization.is_some());
    }

    #[test]
    fn what_is_missing_or_of_another_kind_is_said() {
        for (text, said) in [
            ("", "has a path, such as"),
            ("kind = 'http'", "has a url"),
            ("kind = 'http'\npath = 'x.json'", "path is of another kind"),
            ("url = 'http://x/'", "url is of another kind"),
            (
                "kind = 'http'\nurl = 'http://x/'\nscrape-pool = 'y'",
                "kind = \"http\" has none",
            ),
            (
                "kind = 'http'\nurl = 'http://x/'\nusername = 'y'",
                "password-file",
            ),
            ("kind = 'consul'", "unknown variant"),
            (
                "kind = 'http'\nurl = 'http://x/'\nrefresh-interval = '1ms'",
                "expected a duration",
            ),
        ] {
            let error = discovery(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn one_star_may_stand_in_the_last_part_of_a_path() {
        let pattern: Pattern = "/etc/sd/chat-*.json".parse().unwrap();
        assert!(pattern.is_of("chat-1.json") && pattern.is_of("chat-.json"));
        assert!(!pattern.is_of("chat-1.yml") && !pattern.is_of("other.json"));
        assert!(!pattern.is_literal());
        let literal: Pattern = "sd.yaml".parse().unwrap();
        assert!(literal.is_literal() && !literal.is_of("sd.yaml"));
        for bad in ["/etc/*/x.json", "/etc/**.json", "/etc/targets", ""] {
            assert_eq!(bad.parse::<Pattern>(), Err(PatternError), "{bad}");
        }
    }
}
