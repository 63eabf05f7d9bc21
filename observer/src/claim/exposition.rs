//! The grammar of expositions: Prometheus text 0.0.4 and OpenMetrics 1.0, as Prometheus reads them.
//!
//! It follows Prometheus' own lexers and parsers (model/textparse at
//! <https://github.com/prometheus/prometheus/tree/d15adb9ad7e5d9fbde3a9a8f30200593a5a14d86>), their
//! tolerances included: text needs no comma between labels, OpenMetrics allows no stray blank.
//! It is stricter in one thing: Prometheus ends a text exposition silently at a line that begins
//! with NUL, and here that is an error. It knows no selector and adds nothing up.

use std::fmt;

use super::number::{parse_float, parse_integer};
use super::scanner::{Problem, Raw, Scanner, SyntaxError, is_label_start, is_metric_start};

/// Which text format an exposition has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text 0.0.4:
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.
    Text,
    /// OpenMetrics 1.0: <https://prometheus.io/docs/specs/om/open_metrics_spec/>.
    OpenMetrics,
}

/// The type of a metric family, from its `TYPE` line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only ever goes up.
    Counter,
    /// Goes up and down: what a claim should be.
    Gauge,
    /// Cumulative buckets.
    Histogram,
    /// OpenMetrics: buckets that go up and down.
    GaugeHistogram,
    /// Quantiles.
    Summary,
    /// OpenMetrics: text in labels.
    Info,
    /// OpenMetrics: one of a set of states.
    StateSet,
    /// Text `untyped`, OpenMetrics `unknown`.
    Unknown,
}

impl Kind {
    fn parse(word: &[u8], format: Format) -> Option<Self> {
        Some(match (word, format) {
            (b"counter", _) => Self::Counter,
            (b"gauge", _) => Self::Gauge,
            (b"histogram", _) => Self::Histogram,
            (b"summary", _) => Self::Summary,
            (b"untyped", Format::Text) | (b"unknown", Format::OpenMetrics) => Self::Unknown,
            (b"gaugehistogram", Format::OpenMetrics) => Self::GaugeHistogram,
            (b"info", Format::OpenMetrics) => Self::Info,
            (b"stateset", Format::OpenMetrics) => Self::StateSet,
            _ => return None,
        })
    }

    /// What a family of this type appends to its name in its samples, beside nothing at all.
    pub(super) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["_total", "_created"],
            Self::Histogram => &["_bucket", "_sum", "_count", "_created"],
            Self::GaugeHistogram => &["_bucket", "_gsum", "_gcount"],
            Self::Summary => &["_sum", "_count", "_created"],
            Self::Info => &["_info"],
            Self::Gauge | Self::StateSet | Self::Unknown => &[],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        })
    }
}

/// One thing that an exposition says, of those that a claim depends on.
#[derive(Debug, PartialEq)]
pub(super) enum Entry<'a> {
    /// A `TYPE` line.
    Type { family: Raw<'a>, kind: Kind },
    /// A sample; its labels are [`Exposition::labels`] until the next entry.
    Sample {
        name: Raw<'a>,
        value: f64,
        has_timestamp: bool,
    },
}

enum Step<'a> {
    Entry(Entry<'a>),
    Skip,
    End,
}

/// Reads an exposition entry by entry. Allocates only for errors and for the widest label set.
pub(super) struct Exposition<'a> {
    scanner: Scanner<'a>,
    format: Format,
    line: usize,
    labels: Vec<(Raw<'a>, Raw<'a>)>,
}

impl<'a> Exposition<'a> {
    pub(super) fn new(bytes: &'a [u8], format: Format) -> Self {
        Self {
            scanner: Scanner::new(bytes),
            format,
            line: 1,
            labels: Vec::new(),
        }
    }

    /// The labels of the sample that was read last, in its order.
    pub(super) fn labels(&self) -> &[(Raw<'a>, Raw<'a>)] {
        &self.labels
    }

    /// The line in which the entry that was read last begins, from 1.
    pub(super) fn line(&self) -> usize {
        self.line
    }

    /// The next type or sample; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'a>>, SyntaxError> {
        loop {
            let start = self.scanner.clone();
            self.line = start.line();
            match self.step() {
                Ok(Step::Entry(entry)) => return Ok(Some(entry)),
                Ok(Step::Skip) => {}
                Ok(Step::End) => return Ok(None),
                Err(problem) => return Err(start.error(problem, &self.scanner)),
            }
        }
    }

    fn step(&mut self) -> Result<Step<'a>, Problem> {
        self.skip_blanks();
        match self.scanner.peek() {
            None if self.format == Format::OpenMetrics => Err(Problem::Truncated),
            None => Ok(Step::End),
            Some(b'\n') if self.format == Format::Text => {
                self.scanner.newline();
                Ok(Step::Skip)
            }
            Some(b'#') => {
                self.scanner.skip();
                self.comment()
            }
            Some(b'{') => self.sample(None).map(Step::Entry),
            Some(byte) if is_metric_start(byte) => {
                let name = self.scanner.word(is_metric_start);
                self.sample(Some(name)).map(Step::Entry)
            }
            Some(_) => Err(Problem::Start),
        }
    }

    /// Skips blanks where the format allows any, and says whether there were some.
    fn skip_blanks(&mut self) -> bool {
        self.format == Format::Text
            && !self
                .scanner
                .take_while(|b| matches!(b, b' ' | b'\t'))
                .is_empty()
    }

    fn sample(&mut self, name: Option<Raw<'a>>) -> Result<Entry<'a>, Problem> {
        self.labels.clear();
        let mut name = name;
        self.skip_blanks();
        if self.scanner.peek() == Some(b'{') {
            self.scanner.skip();
            let mut labels = std::mem::take(&mut self.labels);
            let outcome = self.label_list(&mut labels, Some(&mut name));
            self.labels = labels;
            outcome?;
        }
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or(Problem::NoName)?;
        let value = self.number(Problem::Value)?;
        let has_timestamp = match self.format {
            Format::Text => self.text_tail()?,
            Format::OpenMetrics => self.open_metrics_tail()?,
        };
        Ok(Entry::Sample {
            name,
            value,
            has_timestamp,
        })
    }

    /// Reads labels up to the closing brace. `name` is where a quoted metric name among them goes;
    /// `None` where none may stand, in exemplars.
    fn label_list(
        &mut self,
        labels: &mut Vec<(Raw<'a>, Raw<'a>)>,
        mut name: Option<&mut Option<Raw<'a>>>,
    ) -> Result<(), Problem> {
        let is_text = self.format == Format::Text;
        loop {
            self.skip_blanks();
            let (label, is_quoted) = match self.scanner.peek() {
                Some(b'}') => {
                    self.scanner.skip();
                    return Ok(());
                }
                Some(b'"') => (self.scanner.quoted(name.is_some(), false)?, true),
                Some(byte) if is_label_start(byte) => (self.scanner.word(is_label_start), false),
                _ => return Err(Problem::LabelName),
            };
            self.skip_blanks();
            if let (true, Some(b',' | b'}'), Some(name)) =
                (is_quoted, self.scanner.peek(), name.as_deref_mut())
            {
                if name.replace(label).is_some() {
                    return Err(Problem::TwoNames);
                }
                self.scanner.skip_comma();
                continue;
            }
            if label.is_empty() {
                return Err(Problem::LabelName);
            }
            self.scanner.expect(b'=', Problem::Equals)?;
            self.skip_blanks();
            if self.scanner.peek() != Some(b'"') {
                return Err(Problem::LabelValue);
            }
            labels.push((label, self.scanner.quoted(is_text, true)?));
            self.skip_blanks();
            if !self.scanner.skip_comma() && !is_text && self.scanner.peek() != Some(b'}') {
                return Err(Problem::Comma);
            }
        }
    }

    /// After the value in text: an optional timestamp in whole milliseconds and the line's end.
    fn text_tail(&mut self) -> Result<bool, Problem> {
        self.skip_blanks();
        let digits = self.scanner.take_while(|byte| byte.is_ascii_digit());
        let has_timestamp = !digits.is_empty();
        if has_timestamp {
            parse_integer(digits).ok_or(Problem::Timestamp)?;
            self.skip_blanks();
        }
        match self.scanner.peek() {
            None => {}
            Some(b'\n') => self.scanner.newline(),
            Some(_) => return Err(Problem::Timestamp),
        }
        Ok(has_timestamp)
    }

    /// After the value in OpenMetrics: an optional timestamp in seconds, an optional exemplar, and
    /// the line's end, which must be there.
    fn open_metrics_tail(&mut self) -> Result<bool, Problem> {
        let has_timestamp = self.open_metrics_timestamp()?;
        if self.scanner.skip_word(b" # {") {
            self.label_list(&mut Vec::new(), None)?;
            self.number(Problem::Value)?;
            self.open_metrics_timestamp()?;
        }
        self.scanner.expect_line_end()?;
        Ok(has_timestamp)
    }

    fn open_metrics_timestamp(&mut self) -> Result<bool, Problem> {
        if self.scanner.peek() != Some(b' ') || self.scanner.is_at(b" # {") {
            return Ok(false);
        }
        let seconds = self.number(Problem::Timestamp)?;
        if seconds.is_finite() {
            Ok(true)
        } else {
            Err(Problem::Timestamp)
        }
    }

    fn number(&mut self, problem: Problem) -> Result<f64, Problem> {
        let word = match self.format {
            Format::Text => {
                self.skip_blanks();
                self.scanner
                    .take_while(|byte| !matches!(byte, b'{' | b' ' | b'\t' | b'\n'))
            }
            Format::OpenMetrics => {
                self.scanner.expect(b' ', problem)?;
                self.scanner
                    .take_while(|byte| !matches!(byte, b' ' | b'\n'))
            }
        };
        parse_float(word).ok_or(problem)
    }

    fn comment(&mut self) -> Result<Step<'a>, Problem> {
        match self.format {
            Format::Text => self.text_comment(),
            Format::OpenMetrics => self.open_metrics_comment(),
        }
    }

    fn text_comment(&mut self) -> Result<Step<'a>, Problem> {
        let has_blank = self.skip_blanks();
        let is_type = has_blank && self.scanner.skip_word(b"TYPE");
        let is_help = has_blank && !is_type && self.scanner.skip_word(b"HELP");
        if !(is_type || is_help) || !self.skip_blanks() {
            self.scanner.take_while(|byte| byte != b'\n');
            return Ok(Step::Skip);
        }
        let family = self.metadata_name()?;
        // As in Prometheus, the one byte after the name is not looked at.
        let text = self
            .scanner
            .take_while(|byte| byte != b'\n')
            .get(1..)
            .unwrap_or_default();
        if is_type {
            self.kind(family, text)
        } else {
            check_utf8(text)
        }
    }

    fn open_metrics_comment(&mut self) -> Result<Step<'a>, Problem> {
        if self.scanner.skip_word(b" EOF") {
            if self.scanner.peek() == Some(b'\n') {
                self.scanner.newline();
            }
            let is_end = self.scanner.peek().is_none();
            return if is_end {
                Ok(Step::End)
            } else {
                Err(Problem::AfterEof)
            };
        }
        let is_type = self.scanner.skip_word(b" TYPE ");
        let is_unit = !is_type && self.scanner.skip_word(b" UNIT ");
        if !is_type && !is_unit && !self.scanner.skip_word(b" HELP ") {
            return Err(Problem::Comment);
        }
        let family = self.metadata_name()?;
        self.scanner.expect(b' ', Problem::MetadataText)?;
        let text = self.scanner.take_while(|byte| byte != b'\n');
        self.scanner.expect_line_end()?;
        if is_type {
            self.kind(family, text)
        } else if is_unit && !is_unit_of(text, family) {
            Err(Problem::Unit)
        } else {
            check_utf8(text)
        }
    }

    fn metadata_name(&mut self) -> Result<Raw<'a>, Problem> {
        match self.scanner.peek() {
            Some(b'"') => self.scanner.quoted(true, false),
            Some(byte) if is_metric_start(byte) => Ok(self.scanner.word(is_metric_start)),
            _ => Err(Problem::MetadataName),
        }
    }

    fn kind(&self, family: Raw<'a>, word: &[u8]) -> Result<Step<'a>, Problem> {
        let kind = Kind::parse(word, self.format).ok_or(Problem::Type)?;
        Ok(Step::Entry(Entry::Type { family, kind }))
    }
}

fn check_utf8<'a>(text: &[u8]) -> Result<Step<'a>, Problem> {
    std::str::from_utf8(text)
        .map(|_| Step::Skip)
        .map_err(|_| Problem::Utf8)
}

/// Whether a family's name ends in its unit, as OpenMetrics wants it. No unit fits every name.
fn is_unit_of(unit: &[u8], family: Raw<'_>) -> bool {
    let stem = family.as_bytes().strip_suffix(unit);
    unit.is_empty() || stem.is_some_and(|stem| stem.ends_with(b"_"))
}
