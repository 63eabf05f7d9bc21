//! From an exposition to a claim: the sums and differences of the series that selectors select.
//!
//! Pure: bytes in, a [`Claim`] or the reason why there is none out. It knows no HTTP and no check.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use super::claimed::{Claim, ClaimError, Stamps, in_range, whole};
use super::counters::Counters;
use super::exposition::{Entry, Exposition, Format, Kind};
use super::expression::{Expression, Term};
use super::hints;
use super::scanner::Raw;

/// Most series that are summed. A gauge has one series a worker, a listener or a class; this
/// bounds the memory that finding duplicates takes.
pub const MAX_SERIES: usize = 10_000;

/// When the process that makes the page was started: a name that the client libraries share
/// (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).
const START: &str = "process_start_time_seconds";

/// Reads how many connections there are out of a whole exposition.
///
/// # Errors
/// A malformed line anywhere, whatever else is wrong; else the first thing that is wrong with the
/// selected series.
pub fn read_claim(
    body: &[u8],
    format: Format,
    expression: &Expression,
) -> Result<Claim, ClaimError> {
    read(body, format, expression, Meaning::Level)
}

/// Reads how many connections there have been out of a whole exposition.
///
/// # Errors
/// As [`read_claim`].
pub fn read_counters(
    body: &[u8],
    format: Format,
    expression: &Expression,
) -> Result<Claim, ClaimError> {
    read(body, format, expression, Meaning::Count)
}

fn read(
    body: &[u8],
    format: Format,
    expression: &Expression,
    meaning: Meaning,
) -> Result<Claim, ClaimError> {
    let mut exposition = Exposition::new(body, format);
    let mut declared = Declared::default();
    let mut sums = Sums::new(expression);
    loop {
        match exposition.next() {
            Ok(Some(Entry::Type { family, kind })) => {
                declared.note(expression.terms(), family, kind);
            }
            Ok(Some(Entry::Sample {
                name,
                value,
                timestamp,
            })) => {
                let series = Series {
                    name: name.unescape(),
                    labels: exposition.labels(),
                    value,
                    timestamp,
                    line: exposition.line(),
                };
                sums.take(&series);
            }
            Ok(None) => break,
            Err(error) => return Err(hints::malformed(body, format, error)),
        }
    }
    match meaning {
        Meaning::Count => declared.check_counters(&sums)?,
        Meaning::Level | Meaning::Other => declared.check(&sums, body, format)?,
    }
    let counters = (meaning == Meaning::Count).then(|| sums.counters());
    let claim = sums.claim(expression, body, format)?;
    Ok(Claim {
        counters: Vec::from_iter(counters),
        ..claim
    })
}

/// One series of a page.
struct Series<'a, 'p> {
    name: Cow<'a, str>,
    labels: &'p [(Raw<'a>, Raw<'a>)],
    value: f64,
    timestamp: Option<i64>,
    line: usize,
}

/// Labels and their values, sorted, without empty values: those equal a missing label.
type Labels<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The selected series so far.
struct Sums<'a, 'e> {
    terms: Vec<Sum<'a, 'e>>,
    series: usize,
    negative: Option<String>,
    stamps: Option<Stamps>,
    is_unstamped: bool,
    start: Option<f64>,
    fault: Option<ClaimError>,
}

/// The series of one selector so far.
struct Sum<'a, 'e> {
    term: &'e Term,
    value: f64,
    /// The metrics that have the name, whatever their labels.
    names: HashSet<Cow<'a, str>>,
    seen: HashMap<Labels<'a>, f64>,
}

impl<'a, 'e> Sums<'a, 'e> {
    fn new(expression: &'e Expression) -> Self {
        let sum = |term| Sum {
            term,
            value: 0.0,
            names: HashSet::new(),
            seen: HashMap::new(),
        };
        Self {
            terms: expression.terms().iter().map(sum).collect(),
            series: 0,
            negative: None,
            stamps: None,
            is_unstamped: false,
            start: None,
            fault: None,
        }
    }

    /// Adds a series wherever it is selected, unless something was wrong before.
    fn take(&mut self, series: &Series<'a, '_>) {
        if series.name == START && series.value.is_finite() {
            self.start.get_or_insert(series.value);
        }
        for index in 0..self.terms.len() {
            let is_named = self.terms[index].term.selector.matches_name(&series.name);
            if is_named && self.fault.is_none() {
                self.fault = self.add(index, series).err();
            }
        }
    }

    fn add(&mut self, index: usize, series: &Series<'a, '_>) -> Result<(), ClaimError> {
        let line = series.line;
        let sum = &mut self.terms[index];
        if !sum.names.contains(&series.name) {
            sum.names.insert(series.name.clone());
        }
        let mut labels: Labels<'a> = series
            .labels
            .iter()
            .map(|(label, value)| (label.unescape(), value.unescape()))
            .collect();
        labels.sort_unstable();
        if labels.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return Err(ClaimError::DuplicateLabel { line });
        }
        let value_of = |wanted: &str| {
            labels
                .iter()
                .find(|(label, _)| label == wanted)
                .map_or("", |(_, value)| value)
        };
        if !sum.term.selector.matches(value_of) {
            return Ok(());
        }
        let value = whole(series.value)?;
        if self.series == MAX_SERIES {
            return Err(ClaimError::TooManySeries);
        }
        labels.retain(|(_, value)| !value.is_empty());
        if value < 0.0 && self.negative.is_none() {
            self.negative = Some(hints::shown(&series.name, &labels));
        }
        if sum.term.selector.name().is_none() {
            // Equal labels of two metrics are two series.
            labels.push((Cow::Borrowed(""), series.name.clone()));
        }
        if sum.seen.insert(labels, value).is_some() {
            return Err(ClaimError::Duplicate { line });
        }
        sum.value += value;
        self.series += 1;
        match series.timestamp {
            None => self.is_unstamped = true,
            Some(at) => self.stamps = Some(Stamps::of(at).and(self.stamps)),
        }
        Ok(())
    }

    /// Each series with its value.
    fn counters(&self) -> Counters {
        let terms = self.terms.iter().enumerate();
        Counters::of(terms.flat_map(|(index, sum)| {
            let series = sum.seen.iter();
            series.map(move |(labels, value)| ((index, labels), *value))
        }))
    }

    fn claim(
        self,
        expression: &Expression,
        body: &[u8],
        format: Format,
    ) -> Result<Claim, ClaimError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if let Some(sum) = self.terms.iter().find(|sum| sum.seen.is_empty()) {
            let selector = &sum.term.selector;
            return Err(ClaimError::Missing {
                selector: selector.to_string(),
                there_is: hints::instead(body, format, selector),
            });
        }
        let signed = |sum: &Sum<'_, '_>| match sum.term.is_added {
            true => sum.value,
            false => -sum.value,
        };
        let value = self.terms.iter().map(signed).sum::<f64>() + expression.offset();
        Ok(Claim {
            value: in_range(value)?,
            series: self.series,
            negative: self.negative,
            stamps: self.stamps.map(|stamps| Stamps {
                are_of_all: !self.is_unstamped,
                ..stamps
            }),
            starts: Vec::from_iter(self.start),
            counters: Vec::new(),
        })
    }
}

/// What a metric's values mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// So many now.
    Level,
    /// So many so far.
    Count,
    /// Nothing that counts connections.
    Other,
}

/// What `TYPE` lines say of the metrics that an expression may mean.
#[derive(Default)]
struct Declared<'a>(HashMap<Cow<'a, str>, Kind>);

impl<'a> Declared<'a> {
    fn note(&mut self, terms: &[Term], family: Raw<'a>, kind: Kind) {
        let family = family.unescape();
        let may_mean = |term: &Term| {
            let name = term.selector.name();
            name.is_none_or(|name| name.starts_with(&*family))
        };
        if terms.iter().any(may_mean) {
            self.0.insert(family, kind);
        }
    }

    /// What is declared of a metric: of the family of that very name, or of one that has such a
    /// sample, as a histogram has `NAME_count`.
    fn meaning(&self, name: &str) -> (Meaning, Option<Kind>) {
        if let Some(kind) = self.0.get(name) {
            let meaning = match kind {
                Kind::Gauge | Kind::Unknown => Meaning::Level,
                Kind::Counter => Meaning::Count,
                _ => Meaning::Other,
            };
            return (meaning, Some(*kind));
        }
        let Some((stem, suffix)) = name.rfind('_').map(|at| name.split_at(at)) else {
            return (Meaning::Level, None);
        };
        let of_family = self.0.get(stem);
        match of_family.filter(|kind| kind.suffixes().contains(&suffix)) {
            None => (Meaning::Level, None),
            Some(kind) if matches!(suffix, "_total" | "_count") => (Meaning::Count, Some(*kind)),
            Some(kind) => (Meaning::Other, Some(*kind)),
        }
    }

    /// What only goes up is a number of connections only less what has ended.
    fn check(&self, sums: &Sums<'_, '_>, body: &[u8], format: Format) -> Result<(), ClaimError> {
        let mut counters: [Option<String>; 2] = [None, None];
        for sum in &sums.terms {
            for name in &sum.names {
                match self.meaning(name) {
                    (Meaning::Level, _) => {}
                    (Meaning::Count, _) => {
                        counters[usize::from(sum.term.is_added)] = Some(name.to_string());
                    }
                    (Meaning::Other, kind) => return Err(wrong_type(name, kind)),
                }
            }
        }
        match counters {
            [None, Some(name)] | [Some(name), None] => Err(ClaimError::LoneCounter {
                name: hints::printable(&name),
                instead: hints::difference(body, format, &name),
            }),
            _ => Ok(()),
        }
    }

    /// What goes up and down is no number of what has been.
    fn check_counters(&self, sums: &Sums<'_, '_>) -> Result<(), ClaimError> {
        for name in sums.terms.iter().flat_map(|sum| &sum.names) {
            match self.meaning(name) {
                (Meaning::Count, _) | (Meaning::Level, None | Some(Kind::Unknown)) => {}
                (Meaning::Level, Some(_)) => {
                    return Err(ClaimError::NoCounter {
                        name: hints::printable(name),
                    });
                }
                (Meaning::Other, kind) => return Err(wrong_type(name, kind)),
            }
        }
        Ok(())
    }
}

fn wrong_type(name: &str, kind: Option<Kind>) -> ClaimError {
    ClaimError::WrongType {
        name: hints::printable(name),
        kind: kind.unwrap_or(Kind::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::super::MAX_VALUE;
    use super::*;

    fn read(format: Format, expression: &str, exposition: &str) -> Result<Claim, ClaimError> {
        let expression = Expression::parse(expression).unwrap();
        read_claim(exposition.as_bytes(), format, &expression)
    }

    fn check(expression: &str, exposition: &str, expected: Result<(f64, usize), &str>) {
        let claim = read(Format::Text, expression, exposition);
        let claim = claim.map(|claim| (claim.value, claim.series));
        assert_eq!(
            claim.as_ref().map_err(|error| error.name()),
            expected.as_ref().map_err(|name| *name),
            "{exposition:?}"
        );
    }

    fn open_metrics(expression: &str, exposition: &str, expected: Result<f64, &str>) {
        let claim = read(Format::OpenMetrics, expression, exposition);
        let claim = claim.map(|claim| claim.value);
        assert_eq!(
            claim.as_ref().map_err(|error| error.name()),
            expected.as_ref().map_err(|name| *name),
            "{exposition:?}"
        );
    }

    #[test]
    fn the_claim_is_the_sum_of_the_matching_series() {
        check("g", "# TYPE g gauge\ng 4600\n", Ok((4600.0, 1)));
        check("g", "g{w=\"1\"} 2\ngg 7\ng{w=\"2\"} 3\n", Ok((5.0, 2)));
        check("g{w=\"2\"}", "g{w=\"1\"} 2\ng{w=\"2\"} 3\n", Ok((3.0, 1)));
        check(
            "g{w!=\"2\"}",
            "g{w=\"1\"} 2\ng 10\ng{w=\"2\"} 3\n",
            Ok((12.0, 2)),
        );
        check(r#"{"g.h"}"#, r#"{"g.h",x="y"} 3"#, Ok((3.0, 1)));
        check(r#"{"g\"h"}"#, r#"{"g\"h"} 3"#, Ok((3.0, 1)));
        check(r#"g{x="a\"b\n"}"#, r#"g{x="a\"b\n"} 3"#, Ok((3.0, 1)));
        open_metrics("g", "# TYPE g gauge\ng 3 # {t=\"1\"} 3\n# EOF\n", Ok(3.0));
    }

    #[test]
    fn a_page_says_when_its_process_was_started() {
        let starts = |page: &str| read(Format::Text, "g", page).unwrap().starts;
        assert!(starts("g 1\n").is_empty());
        let page =
            "process_start_time_seconds 1.7e9\ng 1\nprocess_start_time_seconds{of=\"b\"} 2\n";
        assert_eq!(starts(page), [1.7e9]);
        assert!(starts("process_start_time_seconds NaN\ng 1\n").is_empty());
    }

    #[test]
    fn terms_are_added_and_subtracted_from_one_page() {
        let page = "a{l=\"1\"} 7\na{l=\"2\"} 5\nb{l=\"1\"} 3\nb{l=\"2\"} 1\n";
        check("a - b", page, Ok((8.0, 4)));
        check("a{l=\"1\"} - b{l=\"1\"} - 1", page, Ok((3.0, 2)));
        check("a - a{l=\"1\"}", page, Ok((5.0, 3)));
        check("b - a", page, Ok((-8.0, 4)));
        check("{__name__=~\"a|b\"}", page, Ok((16.0, 4)));
        check("{__name__=~\"a|b\"} + 4", "a 1\nb 1\n", Ok((6.0, 2)));
        check(
            "{__name__=~\"a|b\"}",
            "a 1\nb 1\na 1\n",
            Err("gauge_duplicate_series"),
        );
        check("a + 9007199254740992", "a 2\n", Err("gauge_out_of_range"));
    }

    #[test]
    fn a_missing_series_of_an_expression_is_named_and_not_zero() {
        for (expression, missing) in [
            ("a - b", "no series matches b: "),
            ("b + a", "no series matches b: "),
            (
                "a - a{l=\"2\"} - 1",
                "no series matches a{l=\"2\"}: there is a{l=\"1\"}",
            ),
            (
                "a + {__name__=~\"b.*\"}",
                "no series matches {__name__=~\"b.*\"}: ",
            ),
        ] {
            let error = read(Format::Text, expression, "a{l=\"1\"} 7\n").unwrap_err();
            assert!(error.to_string().starts_with(missing), "{error}");
        }
    }

    #[test]
    fn each_series_of_a_counter_is_known_again_whatever_its_place() {
        let read = |page: &str| {
            let expression = Expression::parse("a_total").unwrap();
            let page = format!("# TYPE a_total counter\n{page}");
            read_counters(page.as_bytes(), Format::Text, &expression).unwrap()
        };
        let earlier = read("a_total{worker=\"1\"} 7\na_total{worker=\"2\"} 3\n");
        assert_eq!(earlier.value, 10.0);
        let later = read("a_total{worker=\"2\"} 3\na_total{worker=\"1\"} 8\n");
        assert!(!later.was_reset_since(&earlier));
        let anew = read("a_total{worker=\"2\"} 9\na_total{worker=\"1\"} 2\n");
        assert!(anew.was_reset_since(&earlier));
    }

    #[test]
    fn a_gauge_is_no_claim_of_what_has_been() {
        let counters = |expression: &str, page: &str| {
            let expression = Expression::parse(expression).unwrap();
            let claim = read_counters(page.as_bytes(), Format::Text, &expression);
            claim.map(|claim| claim.value).map_err(|error| error.name())
        };
        let wrong = Err("gauge_wrong_type");
        assert_eq!(counters("g", "# TYPE g gauge\ng 1\n"), wrong);
        assert_eq!(counters("h_sum", "# TYPE h histogram\nh_sum 1\n"), wrong);
        assert_eq!(counters("g", "g 1\n"), Ok(1.0));
        let page = "# TYPE a_total counter\na_total 5\n# TYPE b_total counter\nb_total 2\n";
        assert_eq!(counters("a_total - b_total", page), Ok(3.0));
    }

    #[test]
    fn counters_are_a_claim_only_less_one_another() {
        let page = "# TYPE accepted_total counter\naccepted_total 7\n# TYPE open gauge\nopen 4\n\
                    # TYPE closed_total counter\nclosed_total 3\n\
                    # TYPE lives histogram\nlives_bucket{le=\"+Inf\"} 3\nlives_sum 9\nlives_count 3\n";
        check("accepted_total - closed_total", page, Ok((4.0, 2)));
        check(
            "accepted_total - lives_count + open - 1",
            page,
            Ok((7.0, 3)),
        );
        let wrong = Err("gauge_wrong_type");
        check("accepted_total", page, wrong);
        check("open - closed_total", page, wrong);
        check("accepted_total + closed_total", page, wrong);
        check("accepted_total - lives_sum", page, wrong);
        check("accepted_total - lives_bucket", page, wrong);
        let or_as_it_is = ", or say claim-type = \"counter\" to have it held against the connections \
                           that were opened";
        for (lone, said) in [
            (
                "accepted_total",
                "accepted_total is a counter, which only goes up: subtract what has \
                ended, as in claim = 'accepted_total - closed_total'",
            ),
            (
                "open - closed_total",
                "claim = 'accepted_total - closed_total'",
            ),
        ] {
            let error = read(Format::Text, lone, page).unwrap_err().to_string();
            assert!(error.ends_with(&format!("{said}{or_as_it_is}")), "{error}");
        }
        let alone = read(
            Format::Text,
            "x_total",
            "# TYPE x_total counter\nx_total 1\n",
        );
        let said = format!("claim = 'x_total - NAME_OF_WHAT_ENDED'{or_as_it_is}");
        assert!(alone.unwrap_err().to_string().ends_with(&said));
        open_metrics(
            "a_total - b_total",
            "# TYPE a counter\na_total 5\na_created 1\n# TYPE b counter\nb_total 2\n# EOF\n",
            Ok(3.0),
        );
    }

    #[test]
    fn time_stamps_are_those_of_the_selected_series() {
        let stamps = |expression, page| read(Format::Text, expression, page).unwrap().stamps;
        let page = "a 1 1700\nb{x=\"1\"} 1 1500\nb{x=\"2\"} 1 1600\nc 1\n";
        assert_eq!(stamps("a", page), Some(Stamps::of(1700)));
        assert_eq!(stamps("c", page), None);
        let of_both = Stamps {
            earliest: 1500,
            latest: 1700,
            are_of_all: true,
            at: None,
        };
        assert_eq!(stamps("a + b", page), Some(of_both));
        let of_some = Stamps {
            are_of_all: false,
            ..of_both
        };
        assert_eq!(stamps("a + b - c", page), Some(of_some));
    }

    #[test]
    fn a_negative_series_of_a_sum_is_named() {
        let negative = |page| read(Format::Text, "g", page).unwrap().negative;
        assert_eq!(negative("g{w=\"1\"} 3\ng{w=\"2\"} 0\n"), None);
        let said = negative("g{w=\"1\"} 3\ng{w=\"2\",x=\"\"} -1\ng{w=\"3\"} -2\n");
        assert_eq!(said.as_deref(), Some("g{w=\"2\"}"));
    }

    #[test]
    fn what_is_no_exposition_is_told_by_what_it_is() {
        for (page, said) in [
            ("{\"connections\": 5}", "this is JSON"),
            (" [{\"open\": 5}]\n", "this is JSON"),
            ("<!DOCTYPE html><html></html>\n", "this is an HTML page"),
            (
                "STAT curr_connections 12\r\n",
                "if it is plain text, say claim-format",
            ),
            (
                "{\"connections\": 5",
                "if it is plain text, say claim-format",
            ),
        ] {
            let error = read(Format::Text, "g", page).unwrap_err();
            assert!(error.to_string().contains(said), "{page}: {error}");
            assert_eq!(error.name(), "exposition_malformed");
        }
        let error = read(Format::Text, "g", "h 1\ng one\n").unwrap_err();
        assert!(matches!(error, ClaimError::Syntax(_)), "{error}");
    }

    #[test]
    fn what_is_missing_is_told_by_what_there_is() {
        for (expression, page, there_is) in [
            (
                "active_conections",
                "active_connections 1\nh 2\n",
                "there is active_connections",
            ),
            (
                "active_connections",
                "h{x=\"1\"} 1\nh{x=\"2\"} 1\n",
                "the page has 2 series, none of a similar name",
            ),
            ("g", "", "the page has no series at all"),
            (
                "g{x=\"z\"}",
                "g{x=\"a\"} 1\ng 2\n",
                "there is g{x=\"a\"}, g",
            ),
            (
                "g{x=\"z\"}",
                "g{x=\"\u{1b}\"} 1\ng{x=\"b\"} 1\ng{x=\"c\"} 1\ng{x=\"d\"} 1\n",
                "there is g{x=\"\\x1b\"}, g{x=\"b\"}, g{x=\"c\"} and 1 more",
            ),
        ] {
            let error = read(Format::Text, expression, page)
                .unwrap_err()
                .to_string();
            assert!(error.ends_with(there_is), "{error}");
        }
        let long = format!("g{{x=\"{}\"}} 1\n", "\u{fc}".repeat(10_000));
        let error = read(Format::Text, "g{x=\"z\"}", &long)
            .unwrap_err()
            .to_string();
        assert!(error.len() < 1_000 && error.is_ascii(), "{error}");
    }

    #[test]
    fn a_negative_claim_is_a_claim() {
        check("g", "g -7\n", Ok((-7.0, 1)));
        check("g", "g{w=\"1\"} -7\ng{w=\"2\"} 3\n", Ok((-4.0, 2)));
        check("g", "g -9007199254740992\n", Ok((-MAX_VALUE, 1)));
    }

    #[test]
    fn a_missing_claim_is_not_zero() {
        check("g", "", Err("gauge_missing"));
        check("g", "h 1\ng_total 2\n", Err("gauge_missing"));
        check("g{x=\"z\"}", "g{x=\"y\"} 1\n", Err("gauge_missing"));
        check("g", "# TYPE g gauge\n", Err("gauge_missing"));
    }

    #[test]
    fn a_value_that_counts_nothing_is_no_claim() {
        check("g", "g NaN\n", Err("gauge_not_a_number"));
        check("g", "g +Inf\n", Err("gauge_infinite"));
        check("g", "g -Inf\n", Err("gauge_infinite"));
        check("g", "g 1e308\n", Err("gauge_out_of_range"));
        check("g", "g 1.5\n", Err("gauge_fractional"));
        check(
            "g",
            "g{w=\"1\"} 0.5\ng{w=\"2\"} 0.5\n",
            Err("gauge_fractional"),
        );
        check(
            "g",
            "g{w=\"1\"} 9007199254740992\ng{w=\"2\"} 2\n",
            Err("gauge_out_of_range"),
        );
        check("g{w=\"1\"}", "g{w=\"1\"} 1\ng{w=\"2\"} NaN\n", Ok((1.0, 1)));
    }

    #[test]
    fn the_same_series_twice_is_no_claim() {
        check("g", "g 1\ng 1\n", Err("gauge_duplicate_series"));
        check(
            "g",
            "g{a=\"1\",b=\"2\"} 1\ng{b=\"2\",a=\"1\"} 1\n",
            Err("gauge_duplicate_series"),
        );
        check("g", "g 1\ng{a=\"\"} 1\n", Err("gauge_duplicate_series"));
        check(
            "g",
            "g{a=\"\\n\"} 1\ng{a=\"\n\"} 1\n",
            Err("gauge_duplicate_series"),
        );
        check("g", "g{a=\"1\",a=\"2\"} 1\n", Err("gauge_duplicate_label"));
    }

    #[test]
    fn what_is_declared_as_no_gauge_is_no_claim() {
        let wrong = Err("gauge_wrong_type");
        check("g", "# TYPE g counter\ng 1\n", wrong);
        check("g", "# TYPE g summary\ng{quantile=\"0.5\"} 1\n", wrong);
        check("g_count", "# TYPE g histogram\ng_count 1\n", wrong);
        check(
            "g_bucket",
            "# TYPE g histogram\ng_bucket{le=\"1\"} 1\n",
            wrong,
        );
        check("g", "# TYPE g untyped\ng 1\n", Ok((1.0, 1)));
        check("g", "# TYPE h counter\ng 1\n", Ok((1.0, 1)));
        check("g_count", "# TYPE g gauge\ng_count 1\n", Ok((1.0, 1)));
        check(
            "g_count",
            "# TYPE g summary\n# TYPE g_count gauge\ng_count 1\n",
            Ok((1.0, 1)),
        );
        open_metrics(
            "g_total",
            "# TYPE g counter\ng_total 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g_info",
            "# TYPE g info\ng_info 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g",
            "# TYPE g stateset\ng{g=\"a\"} 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics(
            "g_gcount",
            "# TYPE g gaugehistogram\ng_gcount 1\n# EOF\n",
            Err("gauge_wrong_type"),
        );
        open_metrics("g", "# TYPE g unknown\ng 1\n# EOF\n", Ok(1.0));
    }

    #[test]
    fn a_malformed_line_anywhere_fails_the_whole_claim() {
        check("g", "g 1\nh\n", Err("exposition_malformed"));
        check("g", "!\ng 1\n", Err("exposition_malformed"));
        check("g", "g NaN\nh true\n", Err("exposition_malformed"));
        open_metrics("g", "g 1\n", Err("exposition_truncated"));
        open_metrics("g", "g 1\n# EOF\nh 2\n", Err("exposition_malformed"));
    }

    #[test]
    fn a_label_cannot_pass_for_a_sample() {
        let exposition = "h{x=\"\\ng 9\\n\"} 1\nh{x=\"\ng 9\n\"} 2\n# HELP g g 9\n#\n# g 9\ng 1\n";
        check("g", exposition, Ok((1.0, 1)));
    }

    #[test]
    fn series_beyond_the_limit_are_refused() {
        use std::fmt::Write as _;
        let mut exposition = String::new();
        for worker in 0..MAX_SERIES {
            writeln!(exposition, "g{{w=\"{worker}\"}} 1").unwrap();
        }
        check("g", &exposition, Ok((MAX_SERIES as f64, MAX_SERIES)));
        exposition.push_str("g 1\n");
        check("g", &exposition, Err("gauge_too_many_series"));
    }
}
