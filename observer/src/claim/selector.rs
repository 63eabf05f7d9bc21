//! Which series make up the claim: a Prometheus instant-vector selector.
//!
//! Read by hand: `promql-parser` panics at `g[1e99]`, and a range, an offset or a function have no
//! meaning here anyway. As in Prometheus, patterns are fully anchored, a dot matches a newline too,
//! classes such as `\d` are ASCII, and a label that a series lacks is empty. It knows nothing of
//! expositions.

use std::fmt;
use std::str::FromStr;

use regex::{Regex, RegexBuilder};

use super::lexer::{Lexer, Spot};
use super::scanner::is_metric_start;

/// Longest selector that is read. Unit: bytes.
pub(super) const MAX_LENGTH: usize = 4096;

/// Largest compiled pattern. Unit: bytes. 1 MiB holds any sane alternation of names.
pub(super) const MAX_PATTERN: usize = 1 << 20;

const METRIC_NAME: &str = "__name__";

/// A parsed selector: metric names and any number of label matchers.
///
/// Syntax: <https://prometheus.io/docs/prometheus/latest/querying/basics/#instant-vector-selectors>.
#[derive(Debug, Clone)]
pub struct Selector {
    text: String,
    /// What the metric's name must pass; at least one of them refuses the empty name.
    names: Vec<Test>,
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
        "expected the selector to end {spot}: NAME{{label=\"value\"}} is all there may be \
         (claim takes sums and differences of them)"
    )]
    Trailing {
        /// What follows.
        spot: Spot,
    },
    /// Inside the braces.
    #[error("expected {expected} {spot}")]
    Expected {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        spot: Spot,
    },
    /// A quoted text that does not end, or has an escape that is none, or is no UTF-8.
    #[error("expected a complete quoted text {spot}")]
    Quoted {
        /// From its quote on.
        spot: Spot,
    },
    /// No metric name, two, or a pattern that any name matches.
    #[error(
        "expected one metric {spot}: NAME, such as active_connections, or {{__name__=~\"PATTERN\"}}"
    )]
    Name {
        /// Where the selector begins.
        spot: Spot,
    },
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
        let mut lexer = Lexer::new(text);
        let selector = Self::read(&mut lexer);
        match selector {
            // Of `sum(g)` what follows is what is wrong, not the braces that are not there.
            Ok(_) | Err(SelectorError::Name { .. }) if !lexer.rest().is_empty() => {
                Err(SelectorError::Trailing { spot: lexer.spot() })
            }
            selector => selector,
        }
    }

    /// Reads the selector that is next, and nothing behind it.
    pub(super) fn read(lexer: &mut Lexer<'_>) -> Result<Self, SelectorError> {
        let (spot, start) = (lexer.spot(), lexer.rest());
        let name = lexer.word(is_metric_start);
        let mut plain: Vec<String> = name.map(str::to_owned).into_iter().collect();
        let (mut names, mut matchers) = (Vec::new(), Vec::new());
        if lexer.skip("{") {
            while !lexer.skip("}") {
                match lexer.matcher()? {
                    (name, None) => plain.push(name),
                    (label, Some((operator, value))) => {
                        let test = Test::new(operator, &label, value)?;
                        match &*label {
                            METRIC_NAME => names.push(test),
                            _ => matchers.push((label, test)),
                        }
                    }
                }
                if !lexer.skip(",") && !lexer.rest().starts_with('}') {
                    return Err(lexer.expected("a , or }"));
                }
            }
        }
        let is_named = match &plain[..] {
            [] => names.iter().any(|test| !test.admits("")),
            [name] => names.is_empty() && !name.is_empty(),
            _ => false,
        };
        if !is_named {
            return Err(SelectorError::Name { spot });
        }
        names.extend(plain.pop().map(Test::Equal));
        let text = start[..start.len() - lexer.rest().len()].trim_end();
        Ok(Self {
            text: text.to_owned(),
            names,
            matchers,
        })
    }

    /// The one metric name that a series must have, where there is only one.
    pub fn name(&self) -> Option<&str> {
        self.names.iter().find_map(|test| match test {
            Test::Equal(name) => Some(name.as_str()),
            _ => None,
        })
    }

    /// Whether a metric has the right name.
    pub fn matches_name(&self, name: &str) -> bool {
        self.names.iter().all(|test| test.admits(name))
    }

    /// Whether a series of the right name is selected. `value_of` returns a label's value, the
    /// empty string where the series lacks it.
    pub fn matches<'a>(&self, mut value_of: impl FnMut(&str) -> &'a str) -> bool {
        self.matchers
            .iter()
            .all(|(label, test)| test.admits(value_of(label)))
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

    fn admits(&self, value: &str) -> bool {
        match self {
            Self::Equal(wanted) => value == wanted,
            Self::NotEqual(unwanted) => value != unwanted,
            Self::Match(pattern) => pattern.is_match(value),
            Self::NotMatch(pattern) => !pattern.is_match(value),
        }
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
        for (text, name) in [
            (r#"{"a.b"}"#, "a.b"),
            (r#"{__name__="g"}"#, "g"),
            (" a:b_C1 { } ", "a:b_C1"),
        ] {
            assert_eq!(Selector::parse(text).unwrap().name(), Some(name));
        }
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
    fn a_selector_says_which_metrics_it_means() {
        for text in [
            "",
            "{}",
            "{x=\"a\"}",
            "{__name__=~\".*\"}",
            "{__name__!=\"g\"}",
            "{__name__=\"\"}",
            "g{__name__=\"h\"}",
            "g{__name__=~\"h.*\"}",
            "{\"g\",\"h\"}",
            "{\"\"}",
        ] {
            assert!(matches!(refuse(text), SelectorError::Name { .. }), "{text}");
        }
    }

    #[test]
    fn a_pattern_selects_several_metrics() {
        let selector = Selector::parse("{__name__=~\"sess[01]_live\",x=\"y\"}").unwrap();
        assert_eq!(selector.name(), None);
        for (name, is_selected) in [
            ("sess0_live", true),
            ("sess1_live", true),
            ("sess2_live", false),
            ("a_sess0_live", false),
        ] {
            assert_eq!(selector.matches_name(name), is_selected, "{name}");
        }
        let but_one = Selector::parse("{__name__=~\"g.*\", __name__!=\"gg\"}").unwrap();
        assert!(but_one.matches_name("g") && !but_one.matches_name("gg"));
    }

    #[test]
    fn an_error_says_what_was_expected_and_where() {
        assert_eq!(
            refuse("ü{").to_string(),
            "expected the selector to end before \"ü{\", at character 1: NAME{label=\"value\"} \
             is all there may be (claim takes sums and differences of them)"
        );
        assert_eq!(
            refuse("g{x=\"ü\",y}").to_string(),
            "expected = != =~ or !~ before \"}\", at character 10"
        );
        assert_eq!(
            refuse("g{x").to_string(),
            "expected = != =~ or !~ at the end"
        );
        let endless = refuse(&format!("g{{x={}", "y".repeat(4000))).to_string();
        assert!(endless.len() < 200, "{endless}");
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
