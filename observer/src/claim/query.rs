//! What a Prometheus server is asked for the claim: a query, and with it what tells when its answer was
//! true, and whether it is whole.
//!
//! A query is sums and differences of selectors, in which `sum`, `min` and `max` may stand. Of these it
//! is known which samples the answer is made of, so that their time stamps can be asked for; what else
//! there is of PromQL looks at other moments, or makes a number where there is no sample, and is
//! refused. All is asked in one request, because Prometheus may take in a scrape between two. Pure: what
//! the answer says is `answer`'s.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use super::claimed::MAX_VALUE;
use super::lexer::{Lexer, Spot};
use super::number::parse_float;
use super::scanner::is_label_start;
use super::selector::{Selector, SelectorError};

/// Longest query. Unit: bytes. It is sent several times over in one line of a request.
pub const MAX_QUERY: usize = 1024;

/// Most selectors of a query.
const MAX_SELECTORS: usize = 8;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

/// Where Prometheus answers queries.
const PATH: &str = "/api/v1/query";

/// The label that tells the parts of an answer apart.
pub(super) const PART: &str = "plumbline";

/// Of aggregations, those whose result is made of samples and nothing else.
const AGGREGATIONS: [&str; 3] = ["sum", "min", "max"];

/// A query such as `sum(active_connections{job="chat"})`.
#[derive(Debug, Clone)]
pub struct Query {
    text: String,
    selectors: Vec<Selector>,
}

/// Why a text is no query of a claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QueryError {
    /// Longer than any query that is sent.
    #[error("the query is longer than {MAX_QUERY} bytes")]
    TooLong,
    /// More selectors than are asked for.
    #[error("the query has more than {MAX_SELECTORS} selectors")]
    TooMany,
    /// Parentheses in parentheses in parentheses.
    #[error("parentheses are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Neither a selector nor a number, or a malformed selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// A function, a range, an offset, a product…
    #[error(
        "expected +, - or the end {spot}: a query is sums and differences of \
         NAME{{job=\"…\"}} and whole numbers, in which sum, min and max may stand"
    )]
    Operator {
        /// What stands there.
        spot: Spot,
    },
    /// A function or another aggregation.
    #[error(
        "{name} cannot be used {spot}: of sum, min and max alone it is known from when the \
         samples are that they are made of"
    )]
    Function {
        /// Its name.
        name: String,
        /// Where it stands.
        spot: Spot,
    },
    /// Parentheses that are not there.
    #[error("expected {expected} {spot}")]
    Parenthesis {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        spot: Spot,
    },
    /// A number that is no number of connections.
    #[error("expected a whole number {spot}")]
    Number {
        /// What stands there.
        spot: Spot,
    },
    /// Only numbers.
    #[error("the query has no series: a number alone claims nothing")]
    Constant,
    /// A pattern in the place of a name.
    #[error("{selector} names no metric: begin with its name, as in NAME{{job=\"…\"}}")]
    Nameless {
        /// The selector.
        selector: String,
    },
    /// What a rule has made of other series.
    #[error(
        "{name} is made by a recording rule, as its colon says, and its time stamp is not that of \
         the service's word: write what the rule is made of"
    )]
    Recorded {
        /// The metric's name.
        name: String,
    },
    /// Series of whatever service.
    #[error(
        "{selector} has no job: say whose series are meant, as in {name}{{job=\"…\"}}, so that \
         Prometheus can be asked whether it has scraped all of them"
    )]
    Jobless {
        /// The selector.
        selector: String,
        /// The metric's name.
        name: String,
    },
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// When the text is none that makes a claim, or is beyond a limit: see [`QueryError`].
    pub fn parse(text: &str) -> Result<Self, QueryError> {
        if text.len() > MAX_QUERY {
            return Err(QueryError::TooLong);
        }
        let mut lexer = Lexer::new(text);
        let mut query = Self {
            text: text.trim().to_owned(),
            selectors: Vec::new(),
        };
        query.sum(&mut lexer, 0)?;
        if !lexer.rest().is_empty() {
            return Err(QueryError::Operator { spot: lexer.spot() });
        }
        if query.selectors.is_empty() {
            return Err(QueryError::Constant);
        }
        query.selectors.iter().try_for_each(check)?;
        Ok(query)
    }

    /// How many selectors it has.
    pub(super) fn selectors(&self) -> usize {
        self.selectors.len()
    }

    /// Where the server at `base` is asked it. A path that is there already may be that of the API, or
    /// where the server's own paths begin.
    #[must_use]
    pub fn url(&self, base: &Url, deadline: Duration) -> Url {
        let mut url = base.clone();
        let path = base.path().trim_end_matches('/');
        if !path.ends_with(PATH) {
            url.set_path(&format!("{path}{PATH}"));
        }
        url.query_pairs_mut()
            .append_pair("query", &self.asked())
            .append_pair("timeout", &format!("{}ms", deadline.as_millis().max(1)));
        url
    }

    /// The query with all that its answer is read by.
    fn asked(&self) -> String {
        let part = |what: &str, name: &str| {
            format!("label_replace({what}, \"{PART}\", \"{name}\", \"\", \"\")")
        };
        let mut parts = vec![part(&format!("({})", self.text), "claim")];
        for (index, selector) in self.selectors.iter().enumerate() {
            for (aggregation, name) in [("min", "earliest"), ("max", "latest")] {
                let stamps = format!("{aggregation} by (job, instance) (timestamp({selector}))");
                parts.push(part(&stamps, &format!("{name} {index}")));
            }
            let target = target_of(selector);
            for (of, name) in [
                ("max by (job, instance) (scrape_duration_seconds", "took"),
                ("min by (job, instance) (up", "up"),
            ] {
                let asked = part(&format!("{of}{target})"), name);
                if !parts.contains(&asked) {
                    parts.push(asked);
                }
            }
        }
        parts.join(" or ")
    }

    /// Reads terms up to something that is neither `+` nor `-`.
    fn sum(&mut self, lexer: &mut Lexer<'_>, depth: usize) -> Result<(), QueryError> {
        if depth > MAX_DEPTH {
            return Err(QueryError::TooDeep);
        }
        loop {
            // A sign of the term itself.
            let _ = lexer.skip("-") || lexer.skip("+");
            self.term(lexer, depth)?;
            if !lexer.skip("+") && !lexer.skip("-") {
                return Ok(());
            }
        }
    }

    fn term(&mut self, lexer: &mut Lexer<'_>, depth: usize) -> Result<(), QueryError> {
        if lexer.rest().starts_with('(') {
            return self.parenthesis(lexer, depth);
        }
        let is_in_number = |c: char| c.is_ascii_digit() || c == '.';
        if lexer.rest().starts_with(is_in_number) {
            let spot = lexer.spot();
            let number = parse_float(lexer.number().as_bytes());
            let is_whole = |number: f64| number.fract() == 0.0 && number <= MAX_VALUE;
            return match number.is_some_and(is_whole) {
                true => Ok(()),
                false => Err(QueryError::Number { spot }),
            };
        }
        if self.aggregation(lexer, depth)? {
            return Ok(());
        }
        if self.selectors.len() == MAX_SELECTORS {
            return Err(QueryError::TooMany);
        }
        self.selectors.push(Selector::read(lexer)?);
        Ok(())
    }

    /// Reads `sum(…)`, `sum by (…) (…)` or `sum(…) by (…)`, if that is next.
    fn aggregation(&mut self, lexer: &mut Lexer<'_>, depth: usize) -> Result<bool, QueryError> {
        let (spot, mut ahead) = (lexer.spot(), lexer.clone());
        let Some(name) = ahead.word(is_label_start) else {
            return Ok(false);
        };
        let is_one = AGGREGATIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name));
        let is_grouped = is_one && grouping(&mut ahead)?;
        if !ahead.rest().starts_with('(') {
            return match is_grouped {
                true => Err(parenthesis("(", &ahead)),
                false => Ok(false),
            };
        }
        if !is_one {
            let name = name.to_owned();
            return Err(QueryError::Function { name, spot });
        }
        *lexer = ahead;
        self.parenthesis(lexer, depth)?;
        if !is_grouped {
            grouping(lexer)?;
        }
        Ok(true)
    }

    fn parenthesis(&mut self, lexer: &mut Lexer<'_>, depth: usize) -> Result<(), QueryError> {
        lexer.skip("(");
        self.sum(lexer, depth + 1)?;
        match lexer.skip(")") {
            true => Ok(()),
            false => Err(parenthesis(")", lexer)),
        }
    }
}

fn parenthesis(expected: &'static str, lexer: &Lexer<'_>) -> QueryError {
    QueryError::Parenthesis {
        expected,
        spot: lexer.spot(),
    }
}

/// Reads `by (…)` or `without (…)`, if that is next.
fn grouping(lexer: &mut Lexer<'_>) -> Result<bool, QueryError> {
    let mut ahead = lexer.clone();
    let word = ahead.word(is_label_start);
    if !word.is_some_and(|word| matches!(&*word.to_ascii_lowercase(), "by" | "without")) {
        return Ok(false);
    }
    *lexer = ahead;
    if !lexer.skip("(") {
        return Err(parenthesis("(", lexer));
    }
    while !lexer.skip(")") {
        if lexer.word(is_label_start).is_none() {
            return Err(parenthesis("a label or )", lexer));
        }
        if !lexer.skip(",") && !lexer.rest().starts_with(')') {
            return Err(parenthesis("a , or )", lexer));
        }
    }
    Ok(true)
}

/// Whether it is known from when the series of a selector are, and whose they are.
fn check(selector: &Selector) -> Result<(), QueryError> {
    let Some(name) = selector.name() else {
        return Err(QueryError::Nameless {
            selector: selector.to_string(),
        });
    };
    if name.contains(':') {
        return Err(QueryError::Recorded {
            name: name.to_owned(),
        });
    }
    match matchers_of_target(selector).any(|(label, operator, value)| {
        label == "job" && matches!(operator, "=" | "=~") && !value.is_empty()
    }) {
        true => Ok(()),
        false => Err(QueryError::Jobless {
            selector: selector.to_string(),
            name: name.to_owned(),
        }),
    }
}

/// The part of a selector that says which targets of Prometheus are meant.
fn target_of(selector: &Selector) -> String {
    let matchers = matchers_of_target(selector).map(|(label, operator, value)| {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        format!("{label}{operator}\"{}\"", value.replace('\n', "\\n"))
    });
    format!("{{{}}}", matchers.collect::<Vec<_>>().join(","))
}

/// The matchers of the labels that Prometheus gives each target.
fn matchers_of_target(
    selector: &Selector,
) -> impl Iterator<Item = (String, &'static str, String)> + use<> {
    let text = selector.to_string();
    let mut lexer = Lexer::new(&text);
    lexer.word(super::scanner::is_metric_start);
    let mut matchers = Vec::new();
    if lexer.skip("{") {
        // It was read once, so it can be read again.
        while let Ok((label, condition)) = lexer.matcher() {
            if let Some((operator, value)) = condition
                && matches!(&*label, "job" | "instance")
            {
                matchers.push((label, operator, value));
            }
            lexer.skip(",");
        }
    }
    matchers.into_iter()
}

impl FromStr for Query {
    type Err = QueryError;

    fn from_str(text: &str) -> Result<Self, QueryError> {
        Self::parse(text)
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Query {}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(text: &str) -> String {
        match Query::parse(text) {
            Ok(query) => panic!("{query} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_query_is_sums_and_differences_of_the_series_of_jobs() {
        for (text, selectors) in [
            (r#"active_connections{job="chat"}"#, 1),
            (r#"sum(active_connections{job="chat"})"#, 1),
            (r#" sum by (job,instance) ( g{job=~"a|b", x!="y"} ) "#, 1),
            (r#"SUM(max(g{job="a"}) without (replica)) + 2"#, 1),
            (r#"accepted_total{job="a"} - closed_total{job="a"} - 1"#, 2),
            (r#"-(g{job="a"} + sum(h{job="b"})) + -min(i{job="c"})"#, 3),
            // A metric may have the name of an aggregation.
            (r#"sum{job="a"} + max{job="a"}"#, 2),
        ] {
            let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(query.selectors(), selectors, "{text}");
            assert_eq!(query.to_string(), text.trim());
            assert_eq!(Query::parse(&query.to_string()), Ok(query));
        }
    }

    #[test]
    fn what_looks_at_other_moments_or_makes_up_numbers_is_refused() {
        for (text, said) in [
            ("", "expected one metric"),
            ("7", "a number alone"),
            (r#"rate(g{job="a"}[5m])"#, "rate cannot be used before"),
            (r#"avg(g{job="a"})"#, "avg cannot be used"),
            (r#"scalar(g{job="a"})"#, "scalar cannot be used"),
            (r#"g{job="a"}[5m]"#, r#"the end before "[5m]""#),
            (r#"g{job="a"} offset 1m"#, r#"the end before "offset"#),
            (r#"g{job="a"} @ 1"#, "the end before"),
            (r#"sum(g{job="a"}) or vector(0)"#, r#"the end before "or"#),
            (r#"g{job="a"} * 2"#, "the end before"),
            (r#"g{job="a"} + 0.5"#, "a whole number"),
            (r#"sum(g{job="a"}"#, "expected ) at the end"),
            (r#"sum by job (g{job="a"})"#, r#"expected ( before "job"#),
            (r#"sum by (1) (g{job="a"})"#, "expected a label or )"),
            (r#"sum by (x y) (g{job="a"})"#, "expected a , or )"),
            (r#"sum by (x) g{job="a"}"#, r#"expected ( before "g"#),
            (
                "sum(g)",
                r#"g has no job: say whose series are meant, as in g{job="…"}"#,
            ),
            (r#"g{job=""}"#, "has no job"),
            (r#"g{job!="a"}"#, "has no job"),
            (r#"{__name__=~"g|h",job="a"}"#, "names no metric"),
            (r#"job:g:sum{job="a"}"#, "made by a recording rule"),
        ] {
            let error = refuse(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_query_has_limits() {
        let many = [r#"g{job="a"}"#; MAX_SELECTORS + 1].join("+");
        assert!(refuse(&many).contains("more than 8 selectors"));
        let deep = format!("{}g{{job=\"a\"}}{}", "(".repeat(17), ")".repeat(17));
        assert!(refuse(&deep).contains("nested deeper"));
        let long = format!("g{{job=\"{}\"}}", "x".repeat(MAX_QUERY));
        assert!(refuse(&long).contains("longer than 1024 bytes"));
    }

    #[test]
    fn the_server_is_asked_for_time_stamps_and_targets_in_the_same_query() {
        let query = Query::parse(r#"sum(g{x="y",job="a\"b",instance=~"h:.*"}) - 1"#).unwrap();
        let url = |base: &str| {
            let url = query.url(&base.parse().unwrap(), Duration::from_secs(5));
            assert!(
                url.query_pairs()
                    .any(|(key, value)| key == "timeout" && value == "5000ms")
            );
            let asked = url.query_pairs().find(|(key, _)| key == "query").unwrap().1;
            let target = r#"{job="a\"b",instance=~"h:.*"}"#;
            let selector = r#"g{x="y",job="a\"b",instance=~"h:.*"}"#;
            let parts: Vec<_> = asked.split(" or ").collect();
            assert_eq!(
                parts,
                [
                    &*format!(
                        r#"label_replace((sum({selector}) - 1), "plumbline", "claim", "", "")"#
                    ),
                    &format!(
                        r#"label_replace(min by (job, instance) (timestamp({selector})), "plumbline", "earliest 0", "", "")"#
                    ),
                    &format!(
                        r#"label_replace(max by (job, instance) (timestamp({selector})), "plumbline", "latest 0", "", "")"#
                    ),
                    &format!(
                        r#"label_replace(max by (job, instance) (scrape_duration_seconds{target}), "plumbline", "took", "", "")"#
                    ),
                    &format!(
                        r#"label_replace(min by (job, instance) (up{target}), "plumbline", "up", "", "")"#
                    ),
                ]
            );
            url.path().to_owned()
        };
        for base in [
            "http://h:9090",
            "http://h:9090/",
            "http://h/api/v1/query",
            "http://h/api/v1/query/",
        ] {
            assert_eq!(url(base).trim_end_matches('/'), PATH, "{base}");
        }
        assert_eq!(url("http://h/prometheus"), "/prometheus/api/v1/query");
        assert_eq!(url("http://h/a/?tenant=x"), "/a/api/v1/query");
        let kept = query.url(
            &"http://h/?tenant=x".parse().unwrap(),
            Duration::from_secs(5),
        );
        assert!(kept.query().unwrap().starts_with("tenant=x&query="));
    }
}
