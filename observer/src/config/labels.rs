//! Labels of a target that are somebody else's words for it: a team, a job, a data centre.
//!
//! They come along in what is published of the target and change nothing that is done.

use std::{collections::BTreeMap, str::FromStr};

use super::{TargetProblem, Text};

/// Most labels of one target.
pub const MAX_LABELS: usize = 32;
/// Longest name and longest value. Unit: bytes.
const MAX_LENGTH: usize = 256;

/// The name of a label, as Prometheus has it: `[a-zA-Z_][a-zA-Z0-9_]*`, and not one of those that begin
/// with two underscores, which are for Prometheus itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelName(pub String);

/// The value of a label: any text that is not too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelValue(pub String);

/// Why a text is no label's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not a name that Prometheus would take.
    #[error("expected the name of a label: a-z, A-Z, 0-9 and _, no digit first, no __ first")]
    Name,
    /// The observer has it already.
    #[error("the label `target` is the observer's own: choose another name")]
    Taken,
    /// Too long to be one.
    #[error("a label is at most {MAX_LENGTH} bytes long")]
    Long,
}

impl FromStr for LabelName {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        let is_first = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let is_name = text.as_bytes().first().is_some_and(is_first)
            && text.bytes().all(is_allowed)
            && !text.starts_with("__");
        match text {
            "target" => Err(LabelError::Taken),
            _ if text.len() > MAX_LENGTH => Err(LabelError::Long),
            _ if is_name => Ok(Self(text.to_owned())),
            _ => Err(LabelError::Name),
        }
    }
}

impl FromStr for LabelValue {
    type Err = LabelError;

    fn from_str(text: &str) -> Result<Self, LabelError> {
        match text.len() <= MAX_LENGTH {
            true => Ok(Self(text.to_owned())),
            false => Err(LabelError::Long),
        }
    }
}

/// Labels as somebody wrote them, by their names.
pub type WrittenLabels = BTreeMap<Text<LabelName>, Text<LabelValue>>;

/// The labels themselves, in the order of their names.
pub(super) fn labels(written: WrittenLabels) -> Result<Vec<(String, String)>, TargetProblem> {
    if written.len() > MAX_LABELS {
        let count = written.len();
        return Err(TargetProblem::TooManyLabels { count });
    }
    let pair = |(Text(name), Text(value)): (Text<LabelName>, Text<LabelValue>)| (name.0, value.0);
    Ok(written.into_iter().map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_prometheus_takes_and_that_nobody_else_has() {
        for good in ["team", "_x", "a1_B"] {
            assert_eq!(good.parse(), Ok(LabelName(good.to_owned())));
        }
        for bad in ["", "1a", "a-b", "__address__", "ä"] {
            assert_eq!(bad.parse::<LabelName>(), Err(LabelError::Name), "{bad}");
        }
        assert_eq!("target".parse::<LabelName>(), Err(LabelError::Taken));
        let long = "x".repeat(MAX_LENGTH + 1);
        assert_eq!(long.parse::<LabelName>(), Err(LabelError::Long));
        assert_eq!(long.parse::<LabelValue>(), Err(LabelError::Long));
    }
}
