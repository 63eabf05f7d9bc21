//! The bytes of an exposition, one at a time: words, quoted texts, line ends, and where it breaks.
//!
//! It knows the alphabet that text and OpenMetrics share, not the grammar of either.

use std::borrow::Cow;

/// Most bytes of a malformed entry that an error shows, before escaping.
const EXCERPT: usize = 80;

/// Most labels of one series or exemplar.
pub(super) const MAX_LABELS: usize = 1000;

/// A place in an exposition.
#[derive(Clone)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

/// Where an exposition breaks its format's grammar, and how.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, byte {column}: {problem}, in \"{excerpt}\"")]
pub struct SyntaxError {
    /// The line in which the entry begins, from 1.
    pub line: usize,
    /// Where in the entry reading stopped, from 1. Unit: bytes.
    pub column: usize,
    /// What is wrong.
    pub problem: Problem,
    /// The start of the entry, at most 80 bytes of it, escaped to printable ASCII.
    pub excerpt: String,
}

/// What is wrong with an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A line begins with something that begins no line.
    #[error("expected a metric name, a {{ or a # at the start of a line")]
    Start,
    /// A sample without a name, or with an empty one.
    #[error("no metric name")]
    NoName,
    /// A name before the braces and one inside, or two inside.
    #[error("two metric names")]
    TwoNames,
    /// Inside braces, neither a label nor the end.
    #[error("expected a label name or a }}")]
    LabelName,
    /// A label without `=`.
    #[error("expected = after a label name")]
    Equals,
    /// A label without a quoted value.
    #[error("expected a label value in double quotes")]
    LabelValue,
    /// OpenMetrics: labels that are not separated.
    #[error("expected , or }} after a label value")]
    Comma,
    /// More labels than any series has, which would cost memory.
    #[error("more than {MAX_LABELS} labels")]
    TooManyLabels,
    /// A quoted text that does not end, or not where it may.
    #[error("a quoted text does not end")]
    Unquoted,
    /// A label or a help text that is not UTF-8.
    #[error("not UTF-8")]
    Utf8,
    /// No value, or one that is no number.
    #[error("expected a number as the value")]
    Value,
    /// Neither a timestamp nor the end of the line.
    #[error("expected a timestamp or the end of the line")]
    Timestamp,
    /// `HELP`, `TYPE` or `UNIT` of nothing.
    #[error("expected a metric name in the comment")]
    MetadataName,
    /// OpenMetrics: `HELP`, `TYPE` or `UNIT` without the blank that its text follows.
    #[error("expected one blank and a text after the metric name")]
    MetadataText,
    /// A type that the format does not have.
    #[error("unknown metric type")]
    Type,
    /// OpenMetrics: a unit that the metric's name does not end in.
    #[error("the unit is no suffix of the metric name")]
    Unit,
    /// OpenMetrics: a comment that is none of `HELP`, `TYPE`, `UNIT` and `EOF`.
    #[error("expected HELP, TYPE, UNIT or EOF after one blank")]
    Comment,
    /// OpenMetrics: the exposition stops before its `# EOF`.
    #[error("the exposition ends without # EOF: it is cut off")]
    Truncated,
    /// OpenMetrics: something follows the `# EOF`.
    #[error("data after # EOF")]
    AfterEof,
}

/// A name or a label value as it stands in the exposition, escapes and all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    /// The text that is meant. Only `\\`, `\"` and `\n` are escapes, as in Prometheus.
    pub(super) fn unescape(self) -> Cow<'a, str> {
        if !self.0.contains('\\') {
            return Cow::Borrowed(self.0);
        }
        let mut text = String::with_capacity(self.0.len());
        let mut rest = self.0.chars();
        while let Some(c) = rest.next() {
            let escaped = match c {
                '\\' => rest.clone().next(),
                _ => None,
            };
            match escaped {
                Some('n') => text.push('\n'),
                Some(c @ ('\\' | '"')) => text.push(c),
                _ => {
                    text.push(c);
                    continue;
                }
            }
            rest.next();
        }
        Cow::Owned(text)
    }
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            line: 1,
        }
    }

    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The error of an entry that begins here and cannot be read on at `stop`.
    pub(super) fn error(&self, problem: Problem, stop: &Self) -> SyntaxError {
        let shown = &self.bytes[self.at..self.bytes.len().min(self.at + EXCERPT)];
        let shown = shown
            .split(|&byte| byte == b'\n')
            .next()
            .unwrap_or_default();
        SyntaxError {
            line: self.line,
            column: stop.at - self.at + 1,
            problem,
            excerpt: shown.escape_ascii().to_string(),
        }
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub(super) fn is_at(&self, word: &[u8]) -> bool {
        self.bytes[self.at..].starts_with(word)
    }

    /// Skips the byte that was seen by [`Self::peek`]; a newline by [`Self::newline`] instead.
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    pub(super) fn newline(&mut self) {
        self.at += 1;
        self.line += 1;
    }

    pub(super) fn skip_word(&mut self, word: &[u8]) -> bool {
        let is_there = self.is_at(word);
        if is_there {
            self.at += word.len();
        }
        is_there
    }

    pub(super) fn skip_comma(&mut self) -> bool {
        self.skip_word(b",")
    }

    pub(super) fn expect(&mut self, byte: u8, problem: Problem) -> Result<(), Problem> {
        if self.skip_word(&[byte]) {
            Ok(())
        } else {
            Err(problem)
        }
    }

    /// The end of a line that must have one.
    pub(super) fn expect_line_end(&mut self) -> Result<(), Problem> {
        match self.peek() {
            Some(b'\n') => {
                self.newline();
                Ok(())
            }
            Some(_) => Err(Problem::Timestamp),
            None => Err(Problem::Truncated),
        }
    }

    /// The bytes up to the first that is not `wanted`, which must not want newlines.
    pub(super) fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .position(|&byte| !wanted(byte))
            .unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// A name without quotes: `is_start` says which bytes begin it; digits may follow.
    pub(super) fn word(&mut self, is_start: fn(u8) -> bool) -> Raw<'a> {
        let word = self.take_while(|byte| is_start(byte) || byte.is_ascii_digit());
        Raw(std::str::from_utf8(word).expect("the bytes of names are ASCII"))
    }

    /// A text in double quotes, the first of which is next. Prometheus' lexers allow newlines in
    /// some places and NUL in others.
    pub(super) fn quoted(
        &mut self,
        allow_newline: bool,
        allow_nul: bool,
    ) -> Result<Raw<'a>, Problem> {
        self.skip();
        let start = self.at;
        loop {
            match self.peek().ok_or(Problem::Unquoted)? {
                b'"' => break,
                b'\\' => {
                    self.skip();
                    if matches!(self.peek(), None | Some(b'\n')) {
                        return Err(Problem::Unquoted);
                    }
                    self.skip();
                }
                b'\n' if allow_newline => self.newline(),
                b'\n' => return Err(Problem::Unquoted),
                0 if !allow_nul => return Err(Problem::Unquoted),
                _ => self.skip(),
            }
        }
        let text = &self.bytes[start..self.at];
        self.skip();
        std::str::from_utf8(text)
            .map(Raw)
            .map_err(|_| Problem::Utf8)
    }
}

pub(super) fn is_metric_start(byte: u8) -> bool {
    is_label_start(byte) || byte == b':'
}

pub(super) fn is_label_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_'
}
