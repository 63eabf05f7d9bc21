//! Which series make up the claim: a Prometheus instant-vector selector.
//!
//! Read by hand: `promql-parser` panics at `g[1e99]`, and a range, an offset or a function have no
//! meaning here anyway. As in Prometheus, patterns are fully anchored, a dot matches a newline too,
//! classes such as `\d` are ASCII, and a label that a series lacks is empty. It knows nothing of
//! expositions.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::scanner::{is_label_start, is_metric_start};

/// Longest selector that is read. Unit: bytes.
const MAX_LENGTH: usize = 4096;

/// Largest compiled pattern. Unit: bytes. 1 MiB holds any sane alternation of names.
const MAX_PATTERN: usize = 1 << 20;

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
    /// Something follows the selector: a range, `offset`, `@`, an operator, the braces of a function…
    #[error(
        "expected the selector to end before {rest:?}: NAME{{label=\"value\"}} is all there may be"
    )]
    Trailing {
        /// What follows.
        rest: String,
    },
    /// Inside the braces.
    #[error("expected {expected} before {rest:?}")]
    Expected {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        rest: String,
    },
    /// A quoted text that does not end, or has an escape that is none, or is no UTF-8.
    #[error("expected a complete quoted text at {rest:?}")]
    Quoted {
        /// From its quote on.
        rest: String,
    },
    /// No metric name, two, or one given by anything but equality.
    #[error("a claim is exactly one metric, such as active_connections")]
    Name,
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
        let text = text.trim();
        let mut reader = Reader { rest: text };
        let mut names: Vec<String> = Vec::new();
        let mut matchers = Vec::new();
        names.extend(reader.word(is_metric_start).map(str::to_owned));
        if reader.skip("{") {
            while !reader.skip("}") {
                match reader.matcher()? {
                    (name, None) => names.push(name),
                    (label, Some(("=", name))) if label == METRIC_NAME => names.push(name),
                    (label, Some(_)) if label == METRIC_NAME => return Err(SelectorError::Name),
                    (label, Some((operator, value))) => {
                        let test = Test::new(operator, &label, value)?;
                        matchers.push((label, test));
                    }
                }
                if !reader.skip(",") && !reader.rest.starts_with('}') {
                    return Err(reader.expected("a , or }"));
                }
            }
        }
        if !reader.rest.is_empty() {
            return Err(SelectorError::Trailing {
                rest: reader.rest.to_owned(),
            });
        }
        match <[String; 1]>::try_from(names) {
            Ok([name]) if !name.is_empty() => Ok(Self {
                text: text.to_owned(),
                name,
                matchers,
            }),
            _ => Err(SelectorError::Name),
        }
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
    fn new(operator: &str, label: &str, value: String) -> Result<Self, SelectorError> {
        // `NewFastRegexMatcher` in Prometheus' model/labels/regexp.go does the same.
        let pattern = || {
            RegexBuilder::new(&format!("^(?s:{})$", with_ascii_classes(&value)))
                .size_limit(MAX_PATTERN)
                .build()
                .map_err(|source| SelectorError::Pattern {
                    label: label.to_owned(),
                    source,
                })
        };
        Ok(match operator {
            "=~" => Self::Match(pattern()?),
            "!~" => Self::NotMatch(pattern()?),
            "!=" => Self::NotEqual(value),
            _ => Self::Equal(value),
        })
    }
}

/// A pattern with Perl's classes as Go has them: ASCII only.
fn with_ascii_classes(pattern: &str) -> String {
    let mut result = String::with_capacity(pattern.len());
    let mut rest = pattern.chars();
    while let Some(c) = rest.next() {
        let escaped = if c == '\\' { rest.next() } else { None };
        match escaped {
            Some('d') => result.push_str("[0-9]"),
            Some('D') => result.push_str("[^0-9]"),
            Some('w') => result.push_str("[0-9A-Za-z_]"),
            Some('W') => result.push_str("[^0-9A-Za-z_]"),
            Some('s') => result.push_str("[\\t\\n\\f\\r ]"),
            Some('S') => result.push_str("[^\\t\\n\\f\\r ]"),
            Some('b') => result.push_str("(?-u:\\b)"),
            _ => {
                result.push(c);
                result.extend(escaped);
            }
        }
    }
    result
}

/// An operator and the value after it.
type Condition = (&'static str, String);

/// What is left of a selector's text.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self, is_start: fn(u8) -> bool) -> Option<&'a str> {
        let is_in = |byte: u8| is_start(byte) || byte.is_ascii_digit();
        if !self.rest.bytes().next().is_some_and(is_start) {
            return None;
        }
        let end = self
            .rest
            .bytes()
            .position(|byte| !is_in(byte))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        Some(word)
    }

    /// A label with its operator and value, or a quoted metric name, which has neither.
    fn matcher(&mut self) -> Result<(String, Option<Condition>), SelectorError> {
        let (label, is_quoted) = match self.word(is_label_start) {
            Some(word) => (word.to_owned(), false),
            None => (self.quoted("a label")?, true),
        };
        let operators = ["=~", "!~", "!=", "="];
        match operators.into_iter().find(|operator| self.skip(operator)) {
            Some(operator) => Ok((label, Some((operator, self.quoted("a quoted value")?)))),
            None if is_quoted => Ok((label, None)),
            None => Err(self.expected("= != =~ or !~")),
        }
    }

    /// A text in double or single quotes, with Go's escapes, or in backticks, without any.
    fn quoted(&mut self, expected: &'static str) -> Result<String, SelectorError> {
        let broken = SelectorError::Quoted {
            rest: self.rest.to_owned(),
        };
        let mut rest = self.rest.chars();
        let Some(quote @ ('"' | '\'' | '`')) = rest.next() else {
            return Err(self.expected(expected));
        };
        let mut bytes = Vec::new();
        loop {
            match rest.next() {
                Some(c) if c == quote => break,
                Some('\\') if quote != '`' => {
                    let Some(()) = unescape(&mut rest, quote, &mut bytes) else {
                        return Err(broken);
                    };
                }
                Some('\n') if quote != '`' => return Err(broken),
                Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
                None => return Err(broken),
            }
        }
        self.rest = rest.as_str().trim_start();
        String::from_utf8(bytes).map_err(|_| broken)
    }

    fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Expected {
            expected,
            rest: self.rest.to_owned(),
        }
    }
}

/// Appends what the escape means that follows a backslash:
/// <https://go.dev/ref/spec#Rune_literals>.
fn unescape(rest: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<()> {
    let escape = rest.next()?;
    let mut number = |first: Option<char>, digits: usize, base: u32| {
        first
            .into_iter()
            .chain(rest.by_ref())
            .take(digits)
            .try_fold((0, 0), |(count, n), c| {
                Some((count + 1, n * base + c.to_digit(base)?))
            })
            .filter(|(count, _)| *count == digits)
            .map(|(_, n)| n)
    };
    bytes.push(match escape {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        c if c == quote => c as u8,
        'x' => u8::try_from(number(None, 2, 16)?).ok()?,
        '0'..='7' => u8::try_from(number(Some(escape), 3, 8)?).ok()?,
        'u' | 'U' => {
            let digits = if escape == 'u' { 4 } else { 8 };
            let c = char::from_u32(number(None, digits, 16)?)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
            return Some(());
        }
        _ => return None,
    });
    Some(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(selector: &str, labels: &[(&str, &str)], expected: bool) {
        let parsed = Selector::parse(selector).unwrap();
        let value_of = |wanted: &str| {
            labels
                .iter()
                .find(|(label, _)| *label == wanted)
                .map_or("", |(_, value)| value)
        };
        assert_eq!(
            parsed.matches(value_of),
            expected,
            "{selector} and {labels:?}"
        );
    }

    fn refuse(selector: &str) -> SelectorError {
        match Selector::parse(selector) {
            Ok(selector) => panic!("{selector} was accepted"),
            Err(error) => error,
        }
    }

    #[test]
    fn each_operator_matches_as_in_prometheus() {
        check("g", &[("job", "a")], true);
        check("g{}", &[("job", "a")], true);
        check("g{job=\"a\"}", &[("job", "a")], true);
        check("g{job=\"a\"}", &[("job", "ab")], false);
        check("g{job!=\"a\"}", &[("job", "b")], true);
        check("g{job=~\"a|b\"}", &[("job", "b")], true);
        check("g{job!~\"b.*\"}", &[("job", "bc")], false);
        check(
            "g{job=\"a\", x!~\"b.*\",}",
            &[("job", "a"), ("x", "c")],
            true,
        );
    }

    #[test]
    fn a_missing_label_is_an_empty_one() {
        check("g{x=\"\"}", &[], true);
        check("g{x!=\"\"}", &[], false);
        check("g{x!=\"a\"}", &[], true);
        check("g{x=~\".*\"}", &[], true);
        check("g{x=~\".+\"}", &[], false);
    }

    #[test]
    fn patterns_are_anchored_and_dots_match_newlines() {
        check("g{x=~\"b\"}", &[("x", "abc")], false);
        check("g{x=~\"a|b\"}", &[("x", "ab")], false);
        check("g{x=~\"a.c\"}", &[("x", "a\nc")], true);
        check("g{x=~\"a\"}", &[("x", "a\n")], false);
        check("g{x=~`\\d[\\w.]\\S[^\\s]`}", &[("x", "1._x")], true);
        check("g{x=~`\\d`}", &[("x", "\u{661}")], false);
        check("g{x=~`.`}", &[("x", "\u{661}")], true);
        check("g{x=~`a\\b.b\\\\d`}", &[("x", "a b\\d")], true);
    }

    #[test]
    fn names_and_values_may_be_quoted_in_every_way() {
        check(r#"g{x="a\"b\\c\nd"}"#, &[("x", "a\"b\\c\nd")], true);
        check("g{x='}'}", &[("x", "}")], true);
        check(
            r#"g{x="\x41\101\u00e9\U0001F600\t\xc3\xa9"}"#,
            &[("x", "AAé😀\té")],
            true,
        );
        check(r#"g{x='a"\'b'}"#, &[("x", "a\"'b")], true);
        check("g{x=`a\\n`}", &[("x", "a\\n")], true);
        check(r#"{"a.b","x.y"="z"}"#, &[("x.y", "z")], true);
        assert_eq!(Selector::parse(r#"{"a.b"}"#).unwrap().name(), "a.b");
        assert_eq!(Selector::parse(r#"{__name__="g"}"#).unwrap().name(), "g");
        assert_eq!(Selector::parse(" a:b_C1 { } ").unwrap().name(), "a:b_C1");
    }

    #[test]
    fn what_is_more_than_a_plain_selector_is_refused() {
        for text in [
            "g[5m]",
            "g[1e99]",
            "sum(g)",
            "g + g",
            "g[5m:1m]",
            "g{} or g{}",
            "g h",
            "g-h",
            "g offset 5m",
            "g @ 1",
            "g{} offset -1h",
            "g offset 1e99",
            "g @ start()",
            "g}",
            "-g",
            "1",
            "\"g\"",
            "(g)",
            "g{x=\"a\"}}",
            "\u{fe0f}",
            "1g",
        ] {
            assert!(
                matches!(refuse(text), SelectorError::Trailing { .. }),
                "{text}"
            );
        }
    }

    #[test]
    fn a_claim_has_exactly_one_name() {
        for text in ["{x=\"a\"}", "{__name__=~\"g.*\"}", "{__name__!=\"g\"}"] {
            assert!(matches!(refuse(text), SelectorError::Name), "{text}");
        }
        refuse("");
        refuse("g{__name__=\"h\"}");
        refuse("{\"g\",\"h\"}");
        refuse("{__name__=\"\"}");
        refuse("{}");
    }

    #[test]
    fn nothing_malformed_is_accepted_or_panics() {
        for text in [
            "g{",
            "g{x}",
            "g{x=}",
            "g{x=a}",
            "g{x=\"a}",
            "g{x==\"a\"}",
            "g{,}",
            "g{x=\"a\",,}",
            "g{x=\"a\" y=\"b\"}",
            "g{x=~\"(\"}",
            "g{x=\"\\xff\"}",
            "g{x='\\",
            "{\"",
            "g{\u{0}}",
            "g{x=\"a\" or y=\"b\"}",
            "g{x=\"\\q\"}",
            "g{x=\"\\'\"}",
            "g{x=\"\\x4\"}",
            "g{x=\"a\nb\"}",
            "g{x=\"\\ud800\"}",
            "g{x=\"\\400\"}",
            "g{a-b=\"c\"}",
        ] {
            refuse(text);
        }
        refuse(&"(".repeat(5000));
        refuse(&format!("{}g{}", "(".repeat(2000), ")".repeat(2000)));
        refuse(&format!("g{{x=~\"{}\"}}", "(a{1000}){1000}"));
    }
}
