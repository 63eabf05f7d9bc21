//! The claim: what a service says of its own connections, at which moment it said so, and why
//! there is none when there is none.
//!
//! `fetch` is the only file here that does I/O; `exposition`, `gauge` and `selector` are pure.
//! Nothing here knows the kernel or the check: a failure is a [`Reading`] like any other.

mod exposition;
mod fetch;
mod gauge;
mod selector;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use url::Url;

pub use exposition::{Format, Kind, SyntaxError};
pub use fetch::{FetchError, Fetcher, Limits, Scrape, Stage};
pub use gauge::{Claim, ClaimError, read_claim};
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
    /// When a URL is `https` and this machine's root certificates cannot be loaded.
    pub fn new(urls: &[Url], selector: Selector, deadline: Duration) -> Result<Self, FetchError> {
        let limits = Limits {
            deadline,
            ..Limits::default()
        };
        let fetchers = urls
            .iter()
            .map(|url| Fetcher::new(url, limits))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            fetchers,
            selector: Arc::new(selector),
        })
    }

    /// Reads the claim once, from all URLs at the same time.
    pub async fn read(&mut self) -> Reading {
        unreachable!("{} {}", self.fetchers.len(), self.selector)
    }
}

impl Reading {
    /// How long it took. Unit: seconds, as `observer_scrape_duration_seconds` has it.
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
        write!(f, "{} {}", self.url, self.reason)?;
        let mut cause = std::error::Error::source(&self.reason);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
