//! Claims in plain text, by a pattern with one group, which is the number.
//!
//! A page has lines: `^` and `$` match at each, a carriage return before the end is no part of it.
//! A pattern that matches twice names two numbers, and is refused: a page has more than one that
//! ends in `connections`. Pure.

use std::fmt;
use std::str::FromStr;

use regex::bytes::{Regex, RegexBuilder};

use super::claimed::{Claim, ClaimError, whole};
use super::hints::printable;
use super::number::parse_float;
use super::selector::MAX_PATTERN as MAX_COMPILED;

/// Longest pattern. Unit: bytes.
const MAX_PATTERN: usize = 1024;

/// A pattern such as `^STAT curr_connections (\d+)$`.
#[derive(Debug, Clone)]
pub struct Pattern(Regex);

/// Why a text is no pattern of a claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternError {
    /// Longer than any pattern that is read.
    #[error("the pattern is longer than {MAX_PATTERN} bytes")]
    TooLong,
    /// Not a pattern, or one that compiles to something enormous.
    #[error("cannot compile the pattern")]
    Syntax(#[source] regex::Error),
    /// Which group is the number?
    #[error(
        "the pattern has {groups} groups, and needs exactly one, which is the number, as in \
         'curr_connections (\\d+)'; (?:…) is no group"
    )]
    Groups {
        /// How many it has.
        groups: usize,
    },
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.len() > MAX_PATTERN {
            return Err(PatternError::TooLong);
        }
        let pattern = RegexBuilder::new(text)
            .multi_line(true)
            .crlf(true)
            .size_limit(MAX_COMPILED)
            .build()
            .map_err(PatternError::Syntax)?;
        match pattern.captures_len() - 1 {
            1 => Ok(Self(pattern)),
            groups => Err(PatternError::Groups { groups }),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// Reads the claim out of a whole text.
///
/// # Errors
/// When the pattern matches nowhere or twice, or its group is no whole number.
pub fn read_text(body: &[u8], pattern: &Pattern) -> Result<Claim, ClaimError> {
    let line_of = |at: usize| 1 + body[..at].iter().filter(|&&byte| byte == b'\n').count();
    let mut matches = pattern.0.captures_iter(body);
    let Some(first) = matches.next() else {
        let start = body.trim_ascii_start();
        let line = start
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        return Err(ClaimError::NoMatch {
            pattern: pattern.to_string(),
            start: printable(&String::from_utf8_lossy(line.trim_ascii_end())),
        });
    };
    let at = |found: &regex::bytes::Captures<'_>| line_of(found.get_match().start());
    if let Some(second) = matches.next() {
        return Err(ClaimError::MatchedTwice {
            lines: [at(&first), at(&second)],
        });
    }
    let line = at(&first);
    let text = first.get(1).map_or(&b""[..], |group| group.as_bytes());
    let number = parse_float(text.trim_ascii()).ok_or_else(|| ClaimError::NotNumber {
        place: format!(
            "\"{}\" in line {line}",
            printable(&String::from_utf8_lossy(text))
        ),
        kind: "a text",
    })?;
    let value = whole(number)?;
    Ok(Claim {
        value,
        series: 1,
        negative: (value < 0.0).then(|| format!("the number in line {line}")),
        ..Claim::none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pattern: &str, text: impl AsRef<[u8]>) -> Result<f64, String> {
        let pattern: Pattern = pattern
            .parse()
            .unwrap_or_else(|error| panic!("{pattern}: {error}"));
        let claim = read_text(text.as_ref(), &pattern).map_err(|error| error.to_string());
        claim.map(|claim| claim.value)
    }

    fn refuse(pattern: &str) -> PatternError {
        match pattern.parse::<Pattern>() {
            Ok(pattern) => panic!("{pattern} was accepted"),
            Err(error) => error,
        }
    }

    const STATS: &str =
        "STAT pid 1\r\nSTAT curr_connections 12\r\nSTAT total_connections 90\r\nEND\r\n";

    #[test]
    fn the_group_of_the_one_match_is_the_claim() {
        assert_eq!(read(r"curr_connections (\d+)", STATS), Ok(12.0));
        assert_eq!(read(r"^STAT curr_connections (\d+)$", STATS), Ok(12.0));
        assert_eq!(
            read(
                r"(?:Active connections): *(-?\d+)",
                "Active connections: -3 \n"
            ),
            Ok(-3.0)
        );
        assert_eq!(read(r"^(.*)$", "7"), Ok(7.0));
        assert_eq!(read("x=([0-9]+)", b"\xff\xfe x=4 \x80"), Ok(4.0));
    }

    #[test]
    fn no_match_two_and_no_number_are_errors_that_say_where() {
        for (pattern, said) in [
            (
                r"conns (\d+)",
                r#"nothing matches 'conns (\d+)': the text begins with "STAT pid 1""#,
            ),
            (r"_connections (\d+)", "matches in line 2 and in line 3"),
            (r"STAT (pid) 1", "\"pid\" in line 1 is a text"),
            (r"STAT pid(x)?", "\"\" in line 1 is a text"),
        ] {
            let error = read(pattern, STATS).unwrap_err();
            assert!(error.contains(said), "{pattern}: {error}");
        }
        assert!(
            read("([0-9.]+)", "1.5")
                .unwrap_err()
                .contains("not a whole number")
        );
        assert!(read(r"(\d+)", "\u{661}").unwrap_err().contains("is a text"));
    }

    #[test]
    fn a_pattern_has_one_group_and_limits() {
        for (pattern, groups) in [("x", 0), ("(a)(b)", 2), ("(a(b))", 2)] {
            assert_eq!(refuse(pattern), PatternError::Groups { groups });
        }
        assert!(matches!(refuse("("), PatternError::Syntax(_)));
        assert!(matches!(
            refuse("((a{1000}){1000})"),
            PatternError::Syntax(_)
        ));
        assert_eq!(refuse(&"x".repeat(1025)), PatternError::TooLong);
    }
}
