//! The words of selectors and expressions: names, operators and quoted texts, one after the other.
//!
//! It knows the alphabet that both share, not the grammar of either.

use std::fmt;

use super::scanner::is_label_start;
use super::selector::SelectorError;

/// Most of the remaining text that an error shows. Unit: characters.
const EXCERPT: usize = 40;

/// What is left of a text.
#[derive(Clone)]
pub(super) struct Lexer<'a> {
    text: &'a str,
    rest: &'a str,
}

/// A place in a text, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Which character, from 1.
    pub at: usize,
    /// What stands there, bounded; empty at the end of the text.
    pub rest: String,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rest.as_str() {
            "" => f.write_str("at the end"),
            rest => write!(f, "before {rest:?}, at character {}", self.at),
        }
    }
}

/// An operator and the value after it.
type Condition = (&'static str, String);

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let rest = text.trim_start();
        Self { text, rest }
    }

    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }

    /// Where it is.
    pub(super) fn spot(&self) -> Spot {
        let before = &self.text[..self.text.len() - self.rest.len()];
        Spot {
            at: before.chars().count() + 1,
            rest: self.rest.chars().take(EXCERPT).collect(),
        }
    }

    pub(super) fn skip(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word).map(str::trim_start);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    pub(super) fn word(&mut self, is_start: fn(u8) -> bool) -> Option<&'a str> {
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

    /// The characters of a number without a sign, and of what is written like one.
    pub(super) fn number(&mut self) -> &'a str {
        let end = |c: char| !c.is_ascii_alphanumeric() && c != '.';
        let (number, rest) = self
            .rest
            .split_at(self.rest.find(end).unwrap_or(self.rest.len()));
        self.rest = rest.trim_start();
        number
    }

    /// A label with its operator and value, or a quoted metric name, which has neither.
    pub(super) fn matcher(&mut self) -> Result<(String, Option<Condition>), SelectorError> {
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
        let broken = SelectorError::Quoted { spot: self.spot() };
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

    pub(super) fn expected(&self, expected: &'static str) -> SelectorError {
        SelectorError::Expected {
            expected,
            spot: self.spot(),
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
