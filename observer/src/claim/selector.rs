//! Which series make up the claim: a Prometheus instant-vector selector.
//!
//! The syntax is read by `promql-parser`; matching is done here, because that crate's regular
//! expressions stop at a newline and Prometheus' do not. Labels that a series lacks match as the
//! empty string. It knows nothing of expositions or of time: offsets, `@`, ranges and functions
//! are refused.

use std::fmt;
use std::str::FromStr;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr};
use regex::{Regex, RegexBuilder};

/// Longest selector that is read. Unit: bytes.
const MAX_LENGTH: usize = 4096;

/// Largest compiled regular expression. Unit: bytes. 1 MiB holds any sane alternation of names.
const MAX_REGEX_SIZE: usize = 1 << 20;

const METRIC_NAME: &str = "__name__";

/// A parsed selector: one metric name and any number of label matchers.
///
/// Syntax: <https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors>.
#[derive(Debug, Clone)]
pub struct Selector {
    text: String,
    name: String,
    matchers: Vec<(String, Test)>,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    NotEqual(String),
    Match(Regex),
    NotMatch(Regex),
}

/// Why a text is no selector of a claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// The text is longer than any selector that is read.
    #[error("selector is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// `promql-parser` refused it; its errors have no structure.
    #[error("not a Prometheus selector: {message}")]
    Syntax {
        /// The parser's own words.
        message: String,
    },
    /// Valid PromQL, but a function, an operator, a range, a literal…
    #[error("an expression where a plain selector is needed, such as NAME{{label=\"value\"}}")]
    NotASelector,
    /// `offset` or `@`: a claim is read now.
    #[error("offset and @ have no meaning here: the claim is read at the moment of the check")]
    Time,
    /// `or` between matchers, which Prometheus itself does not know.
    #[error("'or' between label matchers is not Prometheus syntax")]
    Or,
    /// No metric name, or one given by anything but equality.
    #[error("no metric name: a claim is one metric, such as active_connections")]
    NoName,
    /// A pattern that does not compile, or only to something enormous.
    #[error("cannot compile the pattern of label {label:?}")]
    Pattern {
        /// The label whose pattern it is.
        label: String,
        /// What the regex compiler says.
        #[source]
        source: regex::Error,
    },
}

impl Selector {
    /// Reads a selector such as `active_connections{job="a",x!~"b.*"}`.
    ///
    /// # Errors
    /// When the text is no selector, or one that a claim cannot have: see [`SelectorError`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > MAX_LENGTH {
            return Err(SelectorError::TooLong);
        }
        let expression =
            parser::parse(text).map_err(|message| SelectorError::Syntax { message })?;
        let Expr::VectorSelector(vector) = expression else {
            return Err(SelectorError::NotASelector);
        };
        if vector.offset.is_some() || vector.at.is_some() {
            return Err(SelectorError::Time);
        }
        if !vector.matchers.or_matchers.is_empty() {
            return Err(SelectorError::Or);
        }
        let mut name = vector.name;
        let mut matchers = Vec::with_capacity(vector.matchers.matchers.len());
        for matcher in vector.matchers.matchers {
            match matcher {
                Matcher {
                    op: MatchOp::Equal,
                    name: label,
                    value,
                } if label == METRIC_NAME => {
                    if name.replace(value).is_some() {
                        return Err(SelectorError::NoName);
                    }
                }
                Matcher { name: label, .. } if label == METRIC_NAME => {
                    return Err(SelectorError::NoName);
                }
                Matcher {
                    op,
                    name: label,
                    value,
                } => {
                    let test = Test::new(&op, &label, value)?;
                    matchers.push((label, test));
                }
            }
        }
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or(SelectorError::NoName)?;
        Ok(Self {
            text: text.trim().to_owned(),
            name,
            matchers,
        })
    }

    /// The metric name that a series must have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether a series of the right name is selected. `value_of` returns a label's value, the
    /// empty string where the series lacks it.
    pub fn matches<'a>(&self, mut value_of: impl FnMut(&str) -> &'a str) -> bool {
        self.matchers.iter().all(|(label, test)| {
            let value = value_of(label);
            match test {
                Test::Equal(wanted) => value == wanted,
                Test::NotEqual(unwanted) => value != unwanted,
                Test::Match(pattern) => pattern.is_match(value),
                Test::NotMatch(pattern) => !pattern.is_match(value),
            }
        })
    }
}

impl Test {
    fn new(op: &MatchOp, label: &str, value: String) -> Result<Self, SelectorError> {
        // Prometheus anchors the whole pattern and lets `.` match a newline (`NewFastRegexMatcher`
        // in model/labels/regexp.go).
        let pattern = || {
            RegexBuilder::new(&format!("^(?s:{value})$"))
                .size_limit(MAX_REGEX_SIZE)
                .build()
                .map_err(|source| SelectorError::Pattern {
                    label: label.to_owned(),
                    source,
                })
        };
        Ok(match op {
            MatchOp::Re(_) => Self::Match(pattern()?),
            MatchOp::NotRe(_) => Self::NotMatch(pattern()?),
            MatchOp::Equal => Self::Equal(value),
            MatchOp::NotEqual => Self::NotEqual(value),
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        Self::parse(text)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Selector {}
