//! What a page has instead of the claim that was looked for, and what to write to get it.
//!
//! A page is read a second time for it, and only where there is no claim. What is shown of a page is
//! bounded and printable.

use std::borrow::Cow;
use std::fmt;

use serde::de::IgnoredAny;

use super::claimed::ClaimError;
use super::exposition::{Entry, Exposition, Format, Kind};
use super::scanner::{Raw, SyntaxError};
use super::selector::Selector;
use crate::similar::Similar;

/// Longest text of a page that is shown, before escaping. Unit: bytes.
const EXCERPT: usize = 120;

/// Most names or series that are shown.
const MOST: usize = 3;

/// Parts of the names of counters of what has ended.
const ENDS: [&str; 9] = [
    "clos",
    "end",
    "disconnect",
    "finish",
    "terminat",
    "releas",
    "remov",
    "delet",
    "drop",
];

/// What there is instead of a series that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instead {
    /// The metric, with other labels.
    Labels {
        /// The first of its series.
        series: Vec<String>,
        /// How many there are.
        total: usize,
    },
    /// Metrics of a similar name.
    Names(Vec<String>),
    /// Only others.
    Others {
        /// How many series there are.
        series: usize,
    },
}

/// What a page seems to be that is no exposition at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoExposition {
    /// A JSON document.
    Json,
    /// A web page.
    Html,
    /// Anything else.
    Text,
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Labels { series, total } => {
                write!(f, "there is {}", series.join(", "))?;
                match total - series.len() {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Self::Names(names) => write!(f, "there is {}", names.join(", ")),
            Self::Others { series: 0 } => f.write_str("the page has no series at all"),
            Self::Others { series } => {
                write!(f, "the page has {series} series, none of a similar name")
            }
        }
    }
}

impl fmt::Display for NoExposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => {
                "this is JSON, and no exposition: say claim-format = \"json\", and by claim-path \
                 which number is the claim"
            }
            Self::Html => "this is an HTML page, and no exposition: is it the right URL?",
            Self::Text => {
                "this is no exposition: if it is plain text, say claim-format = \"text\", and by \
                 claim-pattern which number is the claim"
            }
        })
    }
}

/// The error of a page that cannot be read at `error`.
pub(super) fn malformed(body: &[u8], format: Format, error: SyntaxError) -> ClaimError {
    let start = body.trim_ascii_start();
    let is_json = matches!(start.first(), Some(b'{' | b'['))
        && serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if is_json {
        return ClaimError::NoExposition(NoExposition::Json, error);
    }
    if start.starts_with(b"<") {
        return ClaimError::NoExposition(NoExposition::Html, error);
    }
    // OpenMetrics says of itself what it is.
    let is_text = format == Format::Text && Exposition::new(body, format).next().is_err();
    match is_text {
        true => ClaimError::NoExposition(NoExposition::Text, error),
        false => ClaimError::Syntax(error),
    }
}

/// What there is instead of the series that `selector` selects.
pub(super) fn instead(body: &[u8], format: Format, selector: &Selector) -> Instead {
    let (mut series, mut total, mut others) = (Vec::new(), 0, 0);
    let mut similar = Similar::new(selector.name().unwrap_or_default(), MOST);
    let mut exposition = Exposition::new(body, format);
    // A malformed page has its own error.
    while let Ok(Some(entry)) = exposition.next() {
        let Entry::Sample { name, .. } = entry else {
            continue;
        };
        let name = name.unescape();
        if !selector.matches_name(&name) {
            others += 1;
            similar.note(&name);
            continue;
        }
        total += 1;
        if series.len() < MOST {
            let labels = exposition.labels().iter();
            let labels = labels.map(|(label, value)| (label.unescape(), value.unescape()));
            series.push(shown(&name, &labels.collect::<Vec<_>>()));
        }
    }
    if total > 0 {
        return Instead::Labels { series, total };
    }
    let names = similar.into_words();
    match names.is_empty() {
        true => Instead::Others { series: others },
        false => Instead::Names(names.iter().map(|name| printable(name)).collect()),
    }
}

/// An expression for the counter `name`: less the counter of the page that seems to count what has
/// ended, or of what has begun, if `name` is the former.
pub(super) fn difference(body: &[u8], format: Format, name: &str) -> String {
    let is_end = |name: &str| ENDS.iter().any(|end| name.contains(end));
    let mut other: Option<String> = None;
    let mut exposition = Exposition::new(body, format);
    while let Ok(Some(entry)) = exposition.next() {
        let counter = match entry {
            Entry::Sample { name, .. } if is_counter(name) => name.unescape(),
            Entry::Type {
                family,
                kind: Kind::Counter,
            } if format == Format::Text => family.unescape(),
            _ => continue,
        };
        let is_other_end = is_end(&counter) != is_end(name);
        let is_closer = |known: &String| shared(name, known) >= shared(name, &counter);
        if is_other_end && counter != name && !other.as_ref().is_some_and(is_closer) {
            other = Some(counter.into_owned());
        }
    }
    let (begun, ended) = match (is_end(name), other.as_deref()) {
        (false, ended) => (name, ended.unwrap_or("NAME_OF_WHAT_ENDED")),
        (true, begun) => (begun.unwrap_or("NAME_OF_WHAT_BEGAN"), name),
    };
    format!("{} - {}", printable(begun), printable(ended))
}

fn is_counter(name: Raw<'_>) -> bool {
    name.as_bytes().ends_with(b"_total")
}

/// How many bytes two names begin with together.
fn shared(one: &str, other: &str) -> usize {
    let pairs = one.bytes().zip(other.bytes());
    pairs.take_while(|(one, other)| one == other).count()
}

/// A series as text.
pub(super) fn shown(name: &str, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    match labels.is_empty() {
        true => printable(name),
        false => printable(&format!("{name}{{{}}}", labels.join(","))),
    }
}

/// A text of a page, bounded and with what is not printable escaped.
pub(super) fn printable(text: &str) -> String {
    let bytes = text.as_bytes();
    let start = &bytes[..bytes.len().min(EXCERPT)];
    let mut shown: String = String::with_capacity(start.len());
    for &byte in start {
        match byte {
            // Quotes are what a selector is written with.
            b'"' | b'\'' => shown.push(char::from(byte)),
            _ => shown.push_str(&byte.escape_ascii().to_string()),
        }
    }
    if start.len() < bytes.len() {
        shown.push_str("...");
    }
    shown
}
