//! The claim: what a service says of its own connections, at which moment it said so, and why
//! there is none when there is none.
//!
//! `listed` is the service's own list of its connections, where it has one. `fetch`, `connection`
//! and `access` do the I/O; everything else here is pure. Nothing here knows
//! the kernel or the check: a failure is a [`Reading`] like any other.

mod access;
mod body;
mod connection;
mod exposition;
mod fetch;
mod gauge;
mod listed;
mod number;
#[cfg(test)]
mod properties;
mod scanner;
mod selector;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use url::Url;

use crate::chain::Chain;

pub use access::{Access, Authorization, SecretError};
pub use body::{BodyError, Form};
pub use connection::ConnectError;
pub use exposition::{Format, Kind};
pub use fetch::{FetchError, Fetcher, Limits, Scrape, Stage};
pub use gauge::{Claim, ClaimError, MAX_SERIES, MAX_VALUE, read_claim};
pub use listed::{ListError, Listed, Lister, MAX_LISTED, read_list};
pub use scanner::{Problem, SyntaxError};
pub use selector::{Selector, SelectorError};

/// Reads the claim of one target from all of its URLs.
pub struct Claimant {
    fetchers: Vec<Fetcher>,
    selector: Arc<Selector>,
}

/// What came of one attempt to read a claim: always a value, never an error.
#[derive(Debug)]
pub struct Reading {
    /// Before the first request was sent, connecting included: the check's `t0`.
    pub started: Instant,
    /// After the last byte of the last answer was read, or the attempt was given up: `t1`.
    pub finished: Instant,
    /// The claim, or why there is none.
    pub outcome: Outcome,
}

/// The claim, or which of two ways it is lacking.
#[derive(Debug)]
pub enum Outcome {
    /// Every URL answered, and the selected series add up to this.
    Claimed(Claim),
    /// A URL gave no exposition that can be read: as for Prometheus, the target is down.
    Down(Failure),
    /// Every URL gave a readable exposition, but one of them holds no claim that can be used.
    Missing(Failure),
}

/// Which URL failed, and why.
#[derive(Debug)]
pub struct Failure {
    /// The URL, without its user information.
    pub url: String,
    /// Why there is no claim.
    pub reason: Reason,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// The exposition could not be fetched.
    #[error("cannot be scraped")]
    Fetch(#[source] FetchError),
    /// The exposition came, and holds no claim.
    #[error("holds no usable claim")]
    Claim(#[source] ClaimError),
}

impl Claimant {
    /// A claimant for the gauge that `selector` selects, summed over `urls`.
    ///
    /// `deadline` bounds each reading from connecting to the last byte.
    ///
    /// # Errors
    /// When a URL leads nowhere, or is `https` and there is no certificate authority to trust.
    ///
    /// # Panics
    /// [`Self::read`] panics if `urls` is empty; a [`Target`](crate::config::Target) has one.
    pub fn new(
        urls: &[Url],
        access: &Access,
        selector: Selector,
        deadline: Duration,
    ) -> Result<Self, FetchError> {
        let limits = Limits {
            deadline,
            ..Limits::default()
        };
        let fetchers = urls.iter().map(|url| Fetcher::new(url, access, limits));
        Ok(Self {
            fetchers: fetchers.collect::<Result<_, _>>()?,
            selector: Arc::new(selector),
        })
    }

    /// Reads the claim once, from all URLs at the same time, and adds up what they say.
    ///
    /// It ends by the deadline, plus the time that parsing takes. Dropping the future gives up the
    /// connections that are in use, nothing else.
    pub async fn read(&mut self) -> Reading {
        let selector = &self.selector;
        let parts = self
            .fetchers
            .iter_mut()
            .map(|fetcher| read_part(fetcher, selector));
        let mut parts = join_all(parts).await.into_iter();
        let first = parts.next().expect("a claimant has at least one URL");
        parts.fold(first, Reading::and)
    }
}

/// Largest body that is parsed where it was read, because another thread takes longer to wake than
/// this takes to parse. Unit: bytes.
const PARSED_AT_ONCE: usize = 16 * 1024;

/// Reads what one URL says.
async fn read_part(fetcher: &mut Fetcher, selector: &Arc<Selector>) -> Reading {
    let started = Instant::now();
    let url = shown(fetcher.url());
    let failure = |reason| Failure { url, reason };
    let scrape = match fetcher.fetch().await {
        Ok(scrape) => scrape,
        Err(error) => {
            let outcome = Outcome::Down(failure(Reason::Fetch(error)));
            return Reading {
                started,
                finished: Instant::now(),
                outcome,
            };
        }
    };
    let Scrape {
        body,
        format,
        started,
        finished,
    } = scrape;
    let parsed = if body.len() <= PARSED_AT_ONCE {
        read_claim(&body, format, selector)
    } else {
        let selector = Arc::clone(selector);
        // Up to 16 MiB are parsed: too long to hold up a thread of the runtime.
        let parsed = tokio::task::spawn_blocking(move || read_claim(&body, format, &selector));
        parsed.await.expect("a parser does not panic")
    };
    let outcome = match parsed {
        Ok(claim) => Outcome::Claimed(claim),
        Err(error @ ClaimError::Syntax(_)) => Outcome::Down(failure(Reason::Claim(error))),
        Err(error) => Outcome::Missing(failure(Reason::Claim(error))),
    };
    Reading {
        started,
        finished,
        outcome,
    }
}

/// A URL without what may be secret in it.
fn shown(url: &Url) -> String {
    url[..url::Position::BeforeUsername].to_owned()
        + &url[url::Position::BeforeHost..url::Position::AfterPath]
}

impl Reading {
    /// Both together: the sum of two claims, or the worse of two failures.
    fn and(self, other: Self) -> Self {
        let outcome = match (self.outcome, other.outcome) {
            (Outcome::Claimed(one), Outcome::Claimed(two)) => Outcome::Claimed(Claim {
                value: one.value + two.value,
                series: one.series + two.series,
            }),
            (down @ Outcome::Down(_), _) | (_, down @ Outcome::Down(_)) => down,
            (missing @ Outcome::Missing(_), _) | (_, missing) => missing,
        };
        Self {
            started: self.started.min(other.started),
            finished: self.finished.max(other.finished),
            outcome,
        }
    }

    /// How long it took: `observer_scrape_duration_seconds`.
    pub fn duration(&self) -> Duration {
        self.finished - self.started
    }
}

impl Outcome {
    /// Whether every URL gave an exposition that can be read: `observer_target_up`.
    pub fn is_up(&self) -> bool {
        !matches!(self, Self::Down(_))
    }
}

impl Reason {
    /// A stable name for the label `reason`: one of a closed set, never text of the target.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.name(),
            Self::Claim(error) => error.name(),
        }
    }
}

impl fmt::Display for Failure {
    /// One sentence with the whole chain of causes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.url, Chain(&self.reason))
    }
}
