//! The claim: what a service says of its own connections, at which moment it said so, and why
//! there is none when there is none.
//!
//! `listed` is the service's own list of its connections, where it has one. `fetch`, `connection`,
//! `resolve`, `access`, `command`, `user` and `warden` do the I/O; everything else here is pure. Nothing here knows
//! the kernel or the check: a failure is a [`Reading`] like any other.

mod access;
mod answer;
mod body;
mod claimed;
mod command;
mod connection;
mod counters;
mod exposition;
mod expression;
mod fetch;
mod gauge;
mod head;
mod hints;
mod json;
mod lexer;
mod listed;
mod number;
mod offers;
#[cfg(test)]
mod properties;
mod query;
mod resolve;
mod scanner;
mod selection;
mod selector;
#[cfg(test)]
mod tests;
mod text;
mod trust;
mod user;
mod warden;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use url::Url;

use crate::chain::Chain;
use crate::netns::Entrance;
use command::Runner;

pub use access::{Access, Authorization, SecretError};
pub use answer::read_answer;
pub use body::{BodyError, Form};
pub use claimed::{Claim, ClaimError, MAX_VALUE, Stamps};
pub use command::{Command, CommandError, MAX_OUTPUT, Surroundings};
pub use connection::ConnectError;
pub use counters::Counters;
pub use exposition::{Format, Kind};
pub use expression::{Expression, ExpressionError, MAX_TERMS};
pub use fetch::{FetchError, Fetcher, Limits, Scrape, Stage};
pub use gauge::{MAX_SERIES, read_claim, read_counters};
pub use hints::{Instead, NoExposition};
pub use json::{MAX_DOCUMENT, Path, PathError, read_json};
pub use lexer::Spot;
pub use listed::{ListError, Listed, Lister, MAX_LISTED, read_list};
pub use offers::{Offer, offers};
pub use query::{MAX_QUERY, Query, QueryError};
pub use scanner::{Problem, SyntaxError};
pub use selection::{Expected, Selection};
pub use selector::{Selector, SelectorError};
pub use text::{Pattern, PatternError, read_text};
pub use user::{User, UserError};
pub use warden::guard_if_asked;

/// Longest that a time stamp of a page is fresh, however long the interval: the kernel's counts are
/// kept for as long.
pub const MAX_AGE: Duration = Duration::from_secs(60);

/// Longest that a sample of a Prometheus server is fresh: a minute from scrape to scrape, as is its
/// default, and the time that a slow scrape takes. The kernel's counts are kept for as long.
pub const MAX_AGE_OF_SAMPLE: Duration = Duration::from_secs(75);

/// Reads the claim of one target from all of its URLs, or from its command.
pub struct Claimant {
    sources: Vec<Source>,
    selection: Arc<Selection>,
    freshness: Freshness,
}

/// Who is asked for a page.
enum Source {
    /// Whoever answers at a URL.
    Url(Box<Fetcher>),
    /// A command.
    Command(Box<Runner>),
}

impl Source {
    /// What it is, without what may be secret in it.
    fn shown(&self) -> String {
        match self {
            Self::Url(fetcher) => shown(fetcher.url()),
            Self::Command(runner) => runner.shown(),
        }
    }

    async fn ask(&mut self) -> Result<Scrape, Reason> {
        match self {
            Self::Url(fetcher) => fetcher.fetch().await.map_err(Reason::Fetch),
            Self::Command(runner) => runner.run().await.map_err(Reason::Command),
        }
    }
}

/// How far from now a time stamp of a page may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Before now.
    pub age: Duration,
    /// After now: how far two clocks may differ.
    pub ahead: Duration,
}

/// What came of one attempt to read a claim: always a value, never an error.
#[derive(Debug)]
pub struct Reading {
    /// Before this the claim was not made: when the first request was about to be sent, connecting
    /// included, or the earliest time stamp on a page: the check's `t0`.
    pub started: Instant,
    /// After this the claim was not made: when the last byte of the last answer was read, or the
    /// attempt was given up, or the latest time stamp, where every series has one: `t1`.
    pub finished: Instant,
    /// How long asking took.
    took: Duration,
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

/// Which URL or command failed, and why.
#[derive(Debug)]
pub struct Failure {
    /// The URL, without its user information; or the command's program.
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
    /// The command has no output that counts.
    #[error("gives no page")]
    Command(#[source] CommandError),
    /// The exposition came, and holds no claim.
    #[error("holds no usable claim")]
    Claim(#[source] ClaimError),
}

impl Claimant {
    /// A claimant for what `selection` is of each page, summed over `urls`.
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
        selection: Selection,
        deadline: Duration,
        freshness: Freshness,
    ) -> Result<Self, FetchError> {
        let pages = urls.iter().map(|url| (url, None));
        Self::of_pages(pages, access, selection, deadline, freshness)
    }

    /// The same, where each page may be in another network namespace.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_pages<'a>(
        pages: impl Iterator<Item = (&'a Url, Option<Entrance>)>,
        access: &Access,
        selection: Selection,
        deadline: Duration,
        freshness: Freshness,
    ) -> Result<Self, FetchError> {
        let limits = Limits {
            deadline,
            ..Limits::default()
        };
        let expected = selection.expected();
        let sources = pages.map(|(url, entrance)| {
            let url = selection.url(url, deadline);
            let fetcher = Fetcher::new(&url, access, limits)?;
            let fetcher = fetcher.expecting(expected).behind(entrance);
            Ok::<_, FetchError>(Source::Url(Box::new(fetcher)))
        });
        Ok(Self {
            sources: sources.collect::<Result<_, _>>()?,
            selection: Arc::new(selection),
            freshness,
        })
    }

    /// A claimant for what `selection` is of the output of a command.
    ///
    /// # Errors
    /// When it cannot be run as the user that is configured.
    pub fn of_command(
        command: Command,
        surroundings: Surroundings,
        selection: Selection,
        deadline: Duration,
        freshness: Freshness,
    ) -> Result<Self, CommandError> {
        let runner = Runner::new(command, surroundings, deadline)?;
        Ok(Self {
            sources: vec![Source::Command(Box::new(runner))],
            selection: Arc::new(selection),
            freshness,
        })
    }

    /// Reads the claim once, from all URLs at the same time, and adds up what they say.
    ///
    /// It ends by the deadline, plus the time that parsing takes. Dropping the future gives up the
    /// connections that are in use, nothing else.
    pub async fn read(&mut self) -> Reading {
        let selection = &self.selection;
        let freshness = self.freshness;
        let parts = self
            .sources
            .iter_mut()
            .map(|source| read_part(source, selection, freshness));
        let parts = join_all(parts).await.into_iter();
        parts
            .reduce(Reading::and)
            .expect("a claimant has at least one URL")
    }
}

/// How exact a time stamp is.
const ROUNDED: Duration = Duration::from_millis(1);

/// Largest body that is parsed where it was read, because another thread takes longer to wake than
/// this takes to parse. Unit: bytes.
const PARSED_AT_ONCE: usize = 16 * 1024;

/// Reads what one URL or command says.
async fn read_part(
    source: &mut Source,
    selection: &Arc<Selection>,
    freshness: Freshness,
) -> Reading {
    let started = Instant::now();
    let url = source.shown();
    let failure = |reason| Failure { url, reason };
    let scrape = match source.ask().await {
        Ok(scrape) => scrape,
        Err(reason) => {
            let outcome = Outcome::Down(failure(reason));
            return Reading::between(started, Instant::now(), outcome);
        }
    };
    let Scrape {
        body,
        format,
        started,
        finished,
    } = scrape;
    let parsed = if body.len() <= PARSED_AT_ONCE {
        selection.read(&body, format)
    } else {
        let selection = Arc::clone(selection);
        // Up to 16 MiB are parsed: too long to hold up a thread of the runtime.
        let parsed = tokio::task::spawn_blocking(move || selection.read(&body, format));
        parsed.await.expect("a parser does not panic")
    };
    let took = finished - started;
    let placed = parsed.and_then(|claim| {
        let moments = moments(claim.stamps, freshness, (started, finished))?;
        Ok((moments, Outcome::Claimed(claim)))
    });
    let ((started, finished), outcome) = placed.unwrap_or_else(|error| {
        let is_of_page = error.is_of_page();
        let failure = failure(Reason::Claim(error));
        let outcome = match is_of_page {
            true => Outcome::Down(failure),
            false => Outcome::Missing(failure),
        };
        ((started, finished), outcome)
    });
    Reading {
        started,
        finished,
        took,
        outcome,
    }
}

/// Between which moments a claim was true, of a page that came between `asked`.
fn moments(
    stamps: Option<Stamps>,
    freshness: Freshness,
    asked: (Instant, Instant),
) -> Result<(Instant, Instant), ClaimError> {
    let Some(stamps) = stamps else {
        return Ok(asked);
    };
    let now = Instant::now();
    let (oldest, youngest) = stamps.ages(SystemTime::now(), freshness)?;
    let ago = |age: Duration, limit| now.checked_sub(age).ok_or(ClaimError::Stale { age, limit });
    // A time stamp is rounded to a millisecond, one way or the other.
    let earliest = ago(oldest + ROUNDED, freshness.age)?;
    let latest = ago(youngest.saturating_sub(ROUNDED), freshness.age)?.min(asked.1);
    let (earliest, latest) = match stamps.ages_then() {
        None => (earliest, latest),
        // Whoever made the page says how old they were, whatever its clock is: both clocks are
        // believed, and where they differ there is more that may be.
        Some((oldest, youngest)) => {
            let limit = freshness.age;
            if oldest > limit {
                return Err(ClaimError::Stale { age: oldest, limit });
            }
            let before =
                |at: Instant, age| at.checked_sub(age).ok_or(ClaimError::Stale { age, limit });
            (
                earliest.min(before(asked.0, oldest + ROUNDED)?),
                latest.max(before(asked.1, youngest.saturating_sub(ROUNDED))?),
            )
        }
    };
    Ok(match stamps.are_of_all {
        true => (earliest.min(latest), latest),
        false => (earliest.min(asked.0), asked.1),
    })
}

/// A URL without what may be secret in it.
fn shown(url: &Url) -> String {
    url[..url::Position::BeforeUsername].to_owned()
        + &url[url::Position::BeforeHost..url::Position::AfterPath]
}

impl Reading {
    /// When the samples of a Prometheus server were true that the claim is made of, by their own time
    /// stamps. Unit: ms since 1970.
    pub fn sampled(&self) -> Option<(i64, i64)> {
        let Outcome::Claimed(claim) = &self.outcome else {
            return None;
        };
        let stamps = claim.stamps.filter(|stamps| stamps.at.is_some())?;
        Some((stamps.earliest, stamps.latest))
    }

    /// How long it took: `observer_scrape_duration_seconds`.
    pub fn duration(&self) -> Duration {
        self.took
    }

    fn between(started: Instant, finished: Instant, outcome: Outcome) -> Self {
        Self {
            started,
            finished,
            took: finished - started,
            outcome,
        }
    }

    /// Both together: the sum of two claims, or the worse of two failures.
    fn and(self, other: Self) -> Self {
        let outcome = match (self.outcome, other.outcome) {
            (Outcome::Claimed(one), Outcome::Claimed(two)) => Outcome::Claimed(one.and(two)),
            (down @ Outcome::Down(_), _) | (_, down @ Outcome::Down(_)) => down,
            (missing @ Outcome::Missing(_), _) | (_, missing) => missing,
        };
        Self {
            started: self.started.min(other.started),
            finished: self.finished.max(other.finished),
            // All are asked at once.
            took: self.took.max(other.took),
            outcome,
        }
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
            Self::Command(error) => error.name(),
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
