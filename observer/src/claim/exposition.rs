//! The grammar of expositions: Prometheus text 0.0.4 and OpenMetrics 1.0, as Prometheus reads them.
//!
//! It follows Prometheus' own lexers and parsers (model/textparse at
//! <https://github.com/prometheus/prometheus/tree/d15adb9ad7e5d9fbde3a9a8f30200593a5a14d86>), their
//! tolerances included: text needs no comma between labels, OpenMetrics allows no stray blank.
//! It is stricter in one thing: Prometheus ends a text exposition silently at a line that begins
//! with NUL, and here that is an error. It knows no selector and adds nothing up.

use std::fmt;

use super::number::{parse_float, parse_integer};
use super::scanner::{
    MAX_LABELS, Problem, Raw, Scanner, SyntaxError, is_label_start, is_metric_start,
};

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
        /// When it was true, by its own time stamp. Unit: ms since 1970.
        timestamp: Option<i64>,
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
        let timestamp = match self.format {
            Format::Text => self.text_tail()?,
            Format::OpenMetrics => self.open_metrics_tail()?,
        };
        Ok(Entry::Sample {
            name,
            value,
            timestamp,
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
            if labels.len() == MAX_LABELS {
                return Err(Problem::TooManyLabels);
            }
            labels.push((label, self.scanner.quoted(is_text, true)?));
            self.skip_blanks();
            if !self.scanner.skip_comma() && !is_text && self.scanner.peek() != Some(b'}') {
                return Err(Problem::Comma);
            }
        }
    }

    /// After the value in text: an optional timestamp in whole milliseconds and the line's end.
    fn text_tail(&mut self) -> Result<Option<i64>, Problem> {
        self.skip_blanks();
        let digits = self.scanner.take_while(|byte| byte.is_ascii_digit());
        let timestamp = match digits {
            [] => None,
            digits => Some(parse_integer(digits).ok_or(Problem::Timestamp)?),
        };
        self.skip_blanks();
        match self.scanner.peek() {
            None => {}
            Some(b'\n') => self.scanner.newline(),
            Some(_) => return Err(Problem::Timestamp),
        }
        Ok(timestamp)
    }

    /// After the value in OpenMetrics: an optional timestamp in seconds, an optional exemplar, and
    /// the line's end, which must be there.
    fn open_metrics_tail(&mut self) -> Result<Option<i64>, Problem> {
        let timestamp = self.open_metrics_timestamp()?;
        if self.scanner.skip_word(b" # {") {
            self.label_list(&mut Vec::new(), None)?;
            self.number(Problem::Value)?;
            self.open_metrics_timestamp()?;
        }
        self.scanner.expect_line_end()?;
        Ok(timestamp)
    }

    fn open_metrics_timestamp(&mut self) -> Result<Option<i64>, Problem> {
        if self.scanner.peek() != Some(b' ') || self.scanner.is_at(b" # {") {
            return Ok(None);
        }
        let seconds = self.number(Problem::Timestamp)?;
        if seconds.is_finite() {
            // What is beyond the range is at its end, and as far from now.
            Ok(Some((seconds * 1000.0).round() as i64))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Each entry as one line: what was read, not how it stood there.
    fn read(format: Format, input: &[u8]) -> Result<String, Problem> {
        let mut exposition = Exposition::new(input, format);
        let mut lines = Vec::new();
        while let Some(entry) = exposition.next().map_err(|error| error.problem)? {
            lines.push(match entry {
                Entry::Type { family, kind } => format!("{} is {kind}", family.unescape()),
                Entry::Sample {
                    name,
                    value,
                    timestamp,
                } => {
                    let labels = exposition.labels().iter();
                    let labels = labels.map(|(label, value)| {
                        format!("{}={:?}", label.unescape(), value.unescape())
                    });
                    let labels: Vec<_> = labels.collect();
                    let at = timestamp.map_or_else(String::new, |at| format!(" @{at}"));
                    format!("{}{{{}}} {value}{at}", name.unescape(), labels.join(","))
                }
            });
        }
        Ok(lines.join("; "))
    }

    fn text(input: impl AsRef<[u8]>, expected: Result<&str, Problem>) {
        let input = input.as_ref();
        let result = read(Format::Text, input);
        assert_eq!(
            result.as_deref().map_err(|problem| *problem),
            expected,
            "{}",
            input.escape_ascii()
        );
    }

    fn open_metrics(input: impl AsRef<[u8]>, expected: Result<&str, Problem>) {
        let input = input.as_ref();
        let result = read(Format::OpenMetrics, input);
        assert_eq!(
            result.as_deref().map_err(|problem| *problem),
            expected,
            "{}",
            input.escape_ascii()
        );
    }

    #[test]
    fn text_samples_are_read_with_all_their_freedoms() {
        text("", Ok(""));
        text("\n \t\n\n", Ok(""));
        text("a 1", Ok("a{} 1"));
        text("a 1\nb 2\n", Ok("a{} 1; b{} 2"));
        text("  a\t 1 \t 5 \n", Ok("a{} 1 @5"));
        text("a:b_C9{} -7\n", Ok("a:b_C9{} -7"));
        text("a { x = \"y\" , } 1\n", Ok("a{x=\"y\"} 1"));
        text("a{x=\"y\" z=\"w\"}1\n", Ok("a{x=\"y\",z=\"w\"} 1"));
        text(
            "a{x=\"1\",y=\"2,}{\"} NaN\n",
            Ok("a{x=\"1\",y=\"2,}{\"} NaN"),
        );
        text("a +Inf\n", Ok("a{} inf"));
    }

    #[test]
    fn escapes_are_those_of_prometheus_and_no_others() {
        text(r#"a{x="\\\"\n\t\q"} 1"#, Ok(r#"a{x="\\\"\n\\t\\q"} 1"#));
        text(
            "a{x=\"two\nlines\"} 1\nb 2",
            Ok("a{x=\"two\\nlines\"} 1; b{} 2"),
        );
        text("a{x=\"\0n\0\"} 1", Ok("a{x=\"\\0n\\0\"} 1"));
        text("a{x=\"ü€\"} 1", Ok("a{x=\"ü€\"} 1"));
        text("a{x=\"y\\", Err(Problem::Unquoted));
        text("a{x=\"y\\\n\"} 1", Err(Problem::Unquoted));
    }

    #[test]
    fn quoted_names_are_read_wherever_prometheus_reads_them() {
        text(r#"{"a.b"} 1"#, Ok("a.b{} 1"));
        text(r#"{"a.b",x="y"} 1"#, Ok("a.b{x=\"y\"} 1"));
        text(r#"{x="y","a b",} 1"#, Ok("a b{x=\"y\"} 1"));
        text(r#"{"a\"b","x.y"="z"} 1"#, Ok("a\"b{x.y=\"z\"} 1"));
        text("# TYPE \"a.b\" gauge\n", Ok("a.b is gauge"));
        text(r#"a{"b"} 1"#, Err(Problem::TwoNames));
        text(r#"{"a","b"} 1"#, Err(Problem::TwoNames));
        text(r#"{x="y"} 1"#, Err(Problem::NoName));
        text("{} 1", Err(Problem::NoName));
        text(r#"{""} 1"#, Err(Problem::NoName));
        text(r#"a{""="b"} 1"#, Err(Problem::LabelName));
        text(b"{\"a\xff\"} 1", Err(Problem::Utf8));
        text("{\"a\0\"} 1", Err(Problem::Unquoted));
    }

    #[test]
    fn text_comments_are_skipped_and_types_are_read() {
        text(
            "# TYPE a gauge\n# HELP a What it is.\n#x\n# any thing\n#",
            Ok("a is gauge"),
        );
        text("#\t TYPE  a untyped\n", Ok("a is unknown"));
        text(
            "# HELP a\n# HELP b \n# TYPEa\n# HELPER\n#TYPE a nonsense\n#\0\n",
            Ok(""),
        );
        text("# TYPE a\n", Err(Problem::Type));
        text("# TYPE a Gauge\n", Err(Problem::Type));
        text("# TYPE a gauge \n", Err(Problem::Type));
        text("# TYPE a  gauge\n", Err(Problem::Type));
        text("# TYPE a gauge\r\n", Err(Problem::Type));
        text("# TYPE a info\n", Err(Problem::Type));
        text("# TYPE \n", Err(Problem::MetadataName));
        text("# HELP # \n", Err(Problem::MetadataName));
        text(b"# HELP a \xff\n", Err(Problem::Utf8));
        text(b"# \xff\n", Ok(""));
    }

    #[test]
    fn malformed_text_is_refused_wherever_it_breaks() {
        text("a", Err(Problem::Value));
        text("a\n1", Err(Problem::Value));
        text("a true\n", Err(Problem::Value));
        text("a 1\r\n", Err(Problem::Value));
        text("\r\n", Err(Problem::Start));
        text("a 1 2 3\n", Err(Problem::Timestamp));
        text("a 1 -2\n", Err(Problem::Timestamp));
        text("a 1 1.5\n", Err(Problem::Timestamp));
        text("a 1 99999999999999999999\n", Err(Problem::Timestamp));
        text("a 1 # {x=\"y\"} 1\n", Err(Problem::Timestamp));
        text("a 1 5\0", Err(Problem::Timestamp));
        text("a{x='y'} 1", Err(Problem::LabelValue));
        text("a{x=\0\"y\"} 1", Err(Problem::LabelValue));
        text("a{x\0=\"y\"} 1", Err(Problem::Equals));
        text("a{x} 1", Err(Problem::Equals));
        text("{a} 1", Err(Problem::Equals));
        text("a{,} 1", Err(Problem::LabelName));
        text("a{x=\"y\",,} 1", Err(Problem::LabelName));
        text("a{x=\"y\"", Err(Problem::LabelName));
        text("a{x=\"y", Err(Problem::Unquoted));
        text("a{x=\"y\"}{z=\"w\"} 1", Err(Problem::Value));
        text(b"a{x=\"\xff\"} 1", Err(Problem::Utf8));
        text(b"a{\xff=\"y\"} 1", Err(Problem::LabelName));
        text("a\0 1", Err(Problem::Value));
        text("9a 1", Err(Problem::Start));
        text("<html>", Err(Problem::Start));
    }

    #[test]
    fn labels_have_a_limit() {
        let series = |count: usize| format!("a{{{}}} 1\n", "x=\"\",".repeat(count));
        assert!(read(Format::Text, series(1000).as_bytes()).is_ok());
        text(series(1001), Err(Problem::TooManyLabels));
        text(series(1_000_000), Err(Problem::TooManyLabels));
    }

    #[test]
    fn a_nul_does_not_end_an_exposition_silently() {
        text("a 1\n\0b 2\n", Err(Problem::Start));
    }

    #[test]
    fn open_metrics_is_read_with_timestamps_and_exemplars() {
        open_metrics("# EOF", Ok(""));
        open_metrics("# EOF\n", Ok(""));
        open_metrics("a 1\n# EOF\n", Ok("a{} 1"));
        open_metrics(
            "a{x=\"y\",z=\"w\",} 1 1.5\n# EOF\n",
            Ok("a{x=\"y\",z=\"w\"} 1 @1500"),
        );
        open_metrics("a 1 # {t=\"i\"} 0.5\n# EOF\n", Ok("a{} 1"));
        open_metrics(
            "a{x=\"y\"} 1 2 # {\"t.u\"=\"}\",v=\"\"} 0.5 9.25\n# EOF\n",
            Ok("a{x=\"y\"} 1 @2000"),
        );
        open_metrics("a 1 # {} 1\n# EOF\n", Ok("a{} 1"));
        open_metrics("{\"a.b\",x=\"y\"} 1\n# EOF\n", Ok("a.b{x=\"y\"} 1"));
        open_metrics(
            "# TYPE a_seconds gauge\n# UNIT a_seconds seconds\n# HELP a_seconds \n# UNIT b \n# EOF\n",
            Ok("a_seconds is gauge"),
        );
        open_metrics(
            "# TYPE a unknown\n# TYPE b info\n# TYPE c stateset\n# TYPE d gaugehistogram\n# EOF",
            Ok("a is unknown; b is info; c is stateset; d is gaugehistogram"),
        );
    }

    #[test]
    fn open_metrics_without_its_end_is_cut_off() {
        open_metrics("", Err(Problem::Truncated));
        open_metrics("a 1\n", Err(Problem::Truncated));
        open_metrics("a 1", Err(Problem::Truncated));
        open_metrics("a 1 2", Err(Problem::Truncated));
        open_metrics("a 1 # {x=\"y\"} 4", Err(Problem::Truncated));
        open_metrics("# TYPE a gauge", Err(Problem::Truncated));
        open_metrics("# EOF\n\n", Err(Problem::AfterEof));
        open_metrics("# EOF\na 1\n", Err(Problem::AfterEof));
        open_metrics("# EOFa 1", Err(Problem::AfterEof));
    }

    #[test]
    fn malformed_open_metrics_is_refused_wherever_it_breaks() {
        let check = |line: &str, problem| open_metrics(format!("{line}\n# EOF\n"), Err(problem));
        check("", Problem::Start);
        check(" a 1", Problem::Start);
        check("a 1\r", Problem::Value);
        check("a\t1", Problem::Value);
        check("a  1", Problem::Value);
        check("a1", Problem::Value);
        check("a 1 ", Problem::Timestamp);
        check("a 1 2 ", Problem::Timestamp);
        check("a 1 2 3", Problem::Timestamp);
        check("a 1 NaN", Problem::Timestamp);
        check("a 1 #", Problem::Timestamp);
        check("a 1 2 #", Problem::Timestamp);
        check("a 1 # {x=\"y\"}", Problem::Value);
        check("a 1 # {x=\"y\"} 1 Inf", Problem::Timestamp);
        check("a 1 # {x=y} 1", Problem::LabelValue);
        check("a 1 # {x} 1", Problem::Equals);
        check("a 1 # {\"x\"} 1", Problem::Equals);
        check("a{x=\"y\", z=\"w\"} 1", Problem::LabelName);
        check("a{x=\"y\"z=\"w\"} 1", Problem::Comma);
        check("a{x=\"y\nz\"} 1", Problem::Unquoted);
        check("a {x=\"y\"} 1", Problem::Value);
        check("# any comment", Problem::Comment);
        check("#  TYPE a gauge", Problem::Comment);
        check("# TYPE a untyped", Problem::Type);
        check("# TYPE a gauge ", Problem::Type);
        check("# TYPE a", Problem::MetadataText);
        check("# HELP a", Problem::MetadataText);
        check("# HELP ", Problem::MetadataName);
        check("# UNIT a seconds", Problem::Unit);
        check("# UNIT aseconds seconds", Problem::Unit);
        check("# UNIT _seconds seconds x", Problem::Unit);
    }

    #[test]
    fn an_error_says_where_and_shows_only_bounded_printable_text() {
        let mut input = b"a 1\nb{x=\"two\nlines\"} 2\nc{x=\"\x1b[31m\\".to_vec();
        input.extend([0xff; 1000]);
        input.extend(b"\n\"} 3\n");
        let mut exposition = Exposition::new(&input, Format::Text);
        let error = loop {
            match exposition.next() {
                Ok(entry) => assert!(entry.is_some(), "no error"),
                Err(error) => break error,
            }
        };
        assert_eq!((error.line, error.problem), (4, Problem::Utf8));
        assert!(
            error.excerpt.starts_with(r#"c{x=\"\x1b[31m\\\xff"#),
            "{}",
            error.excerpt
        );
        assert!(error.excerpt.len() <= 4 * 80 && error.excerpt.is_ascii());
    }

    #[test]
    fn lines_count_through_quoted_newlines() {
        let mut exposition = Exposition::new(b"a{x=\"1\n2\n3\"} 1\nb 2\n!", Format::Text);
        exposition.next().unwrap();
        exposition.next().unwrap();
        assert_eq!(exposition.line(), 4);
        assert_eq!(exposition.next().unwrap_err().line, 5);
    }
}
