//! What of a page is the claim, in each form that pages have, and how such pages are asked for.

use std::fmt;
use std::time::Duration;

use url::Url;

use super::answer::read_answer;
use super::claimed::{Claim, ClaimError};
use super::exposition::Format;
use super::expression::Expression;
use super::gauge::{read_claim, read_counters};
use super::json::{Path, read_json};
use super::query::Query;
use super::text::{Pattern, read_text};

/// What Prometheus asks for, less its protobuf format.
const ACCEPTED: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,\
    text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// What a page is expected to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// An exposition, in either text format.
    Exposition,
    /// A JSON document, which ends where it says.
    Json,
    /// Lines of text; HTML is text, too.
    Text,
    /// What Prometheus answers to a query, also where it refuses it.
    Answer,
}

impl Expected {
    /// The `Accept` header.
    pub(super) const fn accepted(self) -> &'static str {
        match self {
            Self::Exposition => ACCEPTED,
            Self::Json | Self::Answer => "application/json,*/*;q=0.5",
            Self::Text => "text/plain,*/*;q=0.5",
        }
    }
}

/// What of a page is the claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Series of an exposition that say how many there are.
    Series(Expression),
    /// Series of an exposition that say how many there have been.
    Counters(Expression),
    /// Numbers of a JSON document.
    Nodes(Path),
    /// A number in a text.
    Match(Pattern),
    /// Samples that a Prometheus server has.
    Query(Query),
}

impl Selection {
    /// The same, where the claim is what has been. In other forms than an exposition nothing says
    /// which of the two it is.
    #[must_use]
    pub fn of_counters(self) -> Self {
        match self {
            Self::Series(expression) => Self::Counters(expression),
            other => other,
        }
    }

    /// Reads the claim out of a whole page, which says of itself that it has the format.
    ///
    /// # Errors
    /// When the page is of another form, or what is selected is no number of connections.
    pub fn read(&self, body: &[u8], format: Format) -> Result<Claim, ClaimError> {
        match self {
            Self::Series(expression) => read_claim(body, format, expression),
            Self::Counters(expression) => read_counters(body, format, expression),
            Self::Nodes(path) => read_json(body, path),
            Self::Match(pattern) => read_text(body, pattern),
            Self::Query(query) => read_answer(body, query),
        }
    }

    /// What a page is expected to be.
    pub(super) fn expected(&self) -> Expected {
        match self {
            Self::Series(_) | Self::Counters(_) => Expected::Exposition,
            Self::Nodes(_) => Expected::Json,
            Self::Match(_) => Expected::Text,
            Self::Query(_) => Expected::Answer,
        }
    }

    /// What is fetched, where `url` is configured.
    pub(super) fn url(&self, url: &Url, deadline: Duration) -> Url {
        match self {
            Self::Series(_) | Self::Counters(_) | Self::Nodes(_) | Self::Match(_) => url.clone(),
            Self::Query(query) => query.url(url, deadline),
        }
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Series(expression) | Self::Counters(expression) => expression.fmt(f),
            Self::Nodes(path) => path.fmt(f),
            Self::Match(pattern) => pattern.fmt(f),
            Self::Query(query) => query.fmt(f),
        }
    }
}
