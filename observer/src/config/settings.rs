//! What somebody wrote, in a file or on the command line, and how it becomes a [`Target`].

use std::time::Duration;

use super::claimed::{Said, access, check_server, command, selection};
use super::discovery::DiscoverySettings;
use super::error::{Place, TargetProblem};
use super::general::{KernelSettings, LogSettings, WebSettings};
use super::labels::labels;
use super::listen::{Listens, Resolver};
use super::netns::Where;
use super::peers::networks;
use super::settle::Settle;
use super::target::TargetSettings;
use super::value::{HttpUrl, Name, Percent, Span, Text};
use super::{Bound, ClaimType, Counts, MAX_GAUGE_URLS, Source, Target};
use crate::claim::{Freshness, MAX_AGE, MAX_AGE_OF_SAMPLE, Selection};

const INTERVAL: Duration = Duration::from_secs(5);
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
    /// Each `[[discovery]]`, with where it stands.
    pub discovery: Vec<(Place, DiscoverySettings)>,
    /// Each `[[target]]`, and each target of a list, with where it stands.
    pub targets: Vec<(Place, TargetSettings)>,
}

impl TargetSettings {
    pub(super) fn into_target(
        self,
        source: Source,
        resolver: Resolver<'_>,
    ) -> Result<Target, TargetProblem> {
        let Self {
            name,
            listen,
            netns,
            cgroup,
            unit,
            container,
            gauge_url,
            gauge_netns,
            claim_command,
            claim_user,
            gauge,
            claim,
            claim_format,
            claim_path,
            claim_pattern,
            claim_query,
            claim_type,
            counts,
            ignore_peers,
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
            labels: written_labels,
        } = self;
        let counts = counts.unwrap_or(Counts::Websocket);
        let listen = Listens::of(listen.unwrap_or_default(), counts, resolver)?;
        let gauge_url: Vec<_> = gauge_url
            .unwrap_or_default()
            .into_iter()
            .map(|Text(HttpUrl(url))| url)
            .collect();
        if gauge_url.len() > MAX_GAUGE_URLS {
            let count = gauge_url.len();
            return Err(TargetProblem::TooManyGaugeUrls { count });
        }
        let said = Said {
            gauge,
            claim,
            path: claim_path,
            pattern: claim_pattern,
            query: claim_query,
        };
        let place = Where {
            netns,
            cgroup,
            unit,
            container,
        };
        let claim_type = claim_type.unwrap_or(ClaimType::Gauge);
        let mut claim = selection(claim_format, said)?;
        if claim_type == ClaimType::Counter {
            claim = claim.of_counters();
        }
        check_server(&claim, &gauge_url)?;
        let claim_command = command(claim_command, claim_user, !gauge_url.is_empty(), &claim)?;
        let access = access(bearer_token_file, username, password_file, ca_file)?;
        let interval = interval.map_or(INTERVAL, |Text(interval)| interval.0);
        let scrape_timeout = match scrape_timeout {
            None => SCRAPE_TIMEOUT.min(interval),
            Some(Text(Span(timeout))) if timeout <= interval => timeout,
            Some(Text(Span(timeout))) => {
                return Err(TargetProblem::SlowScrape { timeout, interval });
            }
        };
        let written = settle.map_or(Settle::DEFAULT, |Text(settle)| settle);
        let settle = written.longest();
        let bound = bound.unwrap_or(Bound::Exact);
        if claim_type == ClaimType::Counter {
            let of_gauges = [
                ("claim-query", matches!(claim, Selection::Query(_))),
                ("bound = \"at-most\"", bound == Bound::AtMost),
                ("settle = \"auto\"", written == Settle::Auto),
            ];
            if let Some((setting, _)) = of_gauges.into_iter().find(|(_, is_set)| *is_set) {
                return Err(TargetProblem::OfGauges { setting });
            }
        }
        Ok(Target {
            name: name.map_or_else(|| listen.name(), |Text(Name(name))| name),
            source,
            labels: labels(written_labels)?,
            listen,
            netns: place.netns()?,
            gauge_url,
            claim_command,
            gauge_netns: gauge_netns.map(|Text(netns)| netns),
            freshness: Freshness {
                age: match claim {
                    Selection::Query(_) => MAX_AGE_OF_SAMPLE,
                    _ => interval.min(MAX_AGE),
                },
                ahead: settle,
            },
            claim,
            claim_type,
            counts,
            ignore_peers: networks(ignore_peers.unwrap_or_default())?,
            bound,
            interval,
            settle,
            learns_settle: written == Settle::Auto,
            confirm: confirm.map_or(CONFIRM, |confirm| confirm.0),
            confirm_for: confirm_for.map_or(settle, |Text(time)| time.0),
            too_wide: too_wide.map_or(TOO_WIDE, |Text(percent)| percent).share(),
            scrape_timeout,
            access,
            connections_url: connections_url.map(|Text(HttpUrl(url))| url),
            silent_after: silent_after.map_or(SILENT_AFTER, |Text(silent)| silent.0),
        })
    }
}
