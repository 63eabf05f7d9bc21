//! What a Prometheus server answers to a query, as a claim: the sum of its samples, when they were true,
//! and whether there are all of them.
//!
//! A sample is from when its page was scraped. Prometheus gives it the time at which it began to ask,
//! and moves that by up to 2 ms onto its interval; the page came within `scrape_duration_seconds` of
//! it. Where an instance is down its series are missing, and what is left is no claim. Pure.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::claimed::{Claim, ClaimError, Stamps, in_range, whole};
use super::gauge::MAX_SERIES;
use super::hints::printable;
use super::json::MAX_DOCUMENT;
use super::number::parse_float;
use super::query::{PART, Query};

/// By how much Prometheus moves the time of a scrape (`scrape.timestamp-tolerance`). Unit: ms.
const MOVED: i64 = 2;

/// One page that Prometheus scrapes: its job, and its instance.
type Page = (String, String);

/// What the answer says of a page.
#[derive(Debug, Default)]
struct Scraped {
    is_up: Option<bool>,
    /// How long it took to scrape. Unit: ms.
    took: Option<i64>,
    /// The earliest and the latest time stamp of each selector's series. Unit: ms since 1970.
    stamps: BTreeMap<usize, [Option<i64>; 2]>,
}

/// An answer that is being read.
#[derive(Default)]
struct Answer {
    claim: Option<Claim>,
    pages: BTreeMap<Page, Scraped>,
    /// When the query was evaluated. Unit: ms since 1970.
    at: Option<i64>,
}

/// Reads the claim out of a whole answer.
///
/// # Errors
/// When it is none, says that the query failed, is not known to be whole, or has no sample.
pub fn read_answer(body: &[u8], query: &Query) -> Result<Claim, ClaimError> {
    if body.len() > MAX_DOCUMENT {
        return Err(ClaimError::DocumentTooLarge);
    }
    let document: Value = serde_json::from_slice(body).map_err(|error| ClaimError::NoJson {
        problem: printable(&error.to_string()),
    })?;
    let samples = samples(&document)?;
    let mut answer = Answer::default();
    for sample in samples {
        answer.take(sample)?;
    }
    answer.claim(query)
}

/// The samples of an answer that says that it is one, and whole.
fn samples(document: &Value) -> Result<&[Value], ClaimError> {
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    match document["status"].as_str() {
        Some("success") => {}
        Some("error") => {
            return Err(ClaimError::QueryFailed {
                kind: text(&document["errorType"]),
                problem: text(&document["error"]),
            });
        }
        _ => return Err(no_answer("it has no status")),
    }
    let warning = document["warnings"].as_array().and_then(|all| all.first());
    if let Some(warning) = warning {
        let warning = text(warning);
        return Err(ClaimError::PartialAnswer { warning });
    }
    // As VictoriaMetrics says it.
    if document["isPartial"] == true {
        let warning = "isPartial".to_owned();
        return Err(ClaimError::PartialAnswer { warning });
    }
    let data = &document["data"];
    if data["resultType"] != "vector" {
        return Err(no_answer("its result is no vector"));
    }
    let result = data["result"].as_array();
    Ok(result.ok_or_else(|| no_answer("it has no result"))?)
}

const fn no_answer(problem: &'static str) -> ClaimError {
    ClaimError::NoAnswer { problem }
}

impl Answer {
    fn take(&mut self, sample: &Value) -> Result<(), ClaimError> {
        let (Some(labels), [at, value]) = (
            sample["metric"].as_object(),
            sample["value"].as_array().map_or(&[][..], Vec::as_slice),
        ) else {
            return Err(no_answer("a sample of it has no value"));
        };
        let value = value.as_str().and_then(|text| parse_float(text.as_bytes()));
        let value = value.ok_or_else(|| no_answer("a value of it is no number"))?;
        self.at = Some(ms(at.as_f64().unwrap_or(f64::NAN))?);
        let part = label(labels, PART);
        if part == "claim" {
            return self.add(labels, value);
        }
        let page = (
            label(labels, "job").into(),
            label(labels, "instance").into(),
        );
        let page = self.pages.entry(page).or_default();
        match part.split_once(' ') {
            None if part == "up" => page.is_up = Some(value == 1.0),
            None if part == "took" => page.took = Some(ms(value)?),
            Some((which @ ("earliest" | "latest"), index)) => {
                let index = index.parse();
                let index = index.map_err(|_| no_answer("it has a part that nobody asked for"))?;
                let stamps = page.stamps.entry(index).or_default();
                stamps[usize::from(which == "latest")] = Some(ms(value)?);
            }
            _ => return Err(no_answer("it has a part that nobody asked for")),
        }
        Ok(())
    }

    fn add(&mut self, labels: &Map<String, Value>, value: f64) -> Result<(), ClaimError> {
        let claim = self.claim.get_or_insert_with(Claim::none);
        if claim.series == MAX_SERIES {
            return Err(ClaimError::TooManySeries);
        }
        let value = whole(value)?;
        if value < 0.0 && claim.negative.is_none() {
            claim.negative = Some(shown(labels));
        }
        claim.value += value;
        claim.series += 1;
        Ok(())
    }

    /// The claim, if all that it is made of is there.
    fn claim(self, query: &Query) -> Result<Claim, ClaimError> {
        let Self { claim, pages, at } = self;
        if let Some((page, _)) = pages.iter().find(|(_, page)| page.is_up == Some(false)) {
            let page = named(page);
            return Err(ClaimError::InstanceDown { page });
        }
        let Some(mut claim) = claim else {
            return Err(ClaimError::NoSample {
                query: printable(&query.to_string()),
            });
        };
        in_range(claim.value)?;
        let mut stamps: Option<Stamps> = None;
        for (page, scraped) in &pages {
            if !scraped.stamps.is_empty() {
                let of_page = scraped.moments(page, query.selectors())?;
                stamps = Some(of_page.and(stamps));
            }
        }
        let stamps = stamps.ok_or_else(|| no_answer("it has no time stamps"))?;
        claim.stamps = Some(Stamps { at, ..stamps });
        Ok(claim)
    }
}

impl Scraped {
    /// Between which moments what the samples of a page say was true.
    fn moments(&self, page: &Page, selectors: usize) -> Result<Stamps, ClaimError> {
        if self.is_up.is_none() {
            let page = named(page);
            return Err(ClaimError::NoUp { page });
        }
        let mut earliest = i64::MAX;
        let mut latest = i64::MIN;
        for stamps in self.stamps.values() {
            let [Some(first), Some(last)] = *stamps else {
                return Err(no_answer("it lacks a time stamp"));
            };
            earliest = earliest.min(first);
            latest = latest.max(last);
        }
        // Where one is subtracted of another, what is between both moments is in one of them alone.
        let is_of_one_moment = self.stamps.len() == selectors && earliest == latest;
        if selectors > 1 && !is_of_one_moment {
            let page = named(page);
            return Err(ClaimError::Torn { page });
        }
        Ok(Stamps {
            earliest: earliest.saturating_sub(MOVED),
            latest: latest.saturating_add(MOVED + self.took.unwrap_or_default()),
            are_of_all: self.took.is_some(),
            at: None,
        })
    }
}

/// A number of seconds, as ms; what is begun of one counts.
fn ms(seconds: f64) -> Result<i64, ClaimError> {
    let ms = in_range(seconds * 1000.0)?;
    // A time stamp is whole in ms, and is not made so by a product.
    let near = ms.round();
    let is_whole = (ms - near).abs() < 0.01;
    Ok(if is_whole { near } else { ms.ceil() } as i64)
}

fn label<'a>(labels: &'a Map<String, Value>, name: &str) -> &'a str {
    labels.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// A page, for people.
fn named((job, instance): &Page) -> String {
    printable(&format!("{{job=\"{job}\",instance=\"{instance}\"}}"))
}

/// A series, for people.
fn shown(labels: &Map<String, Value>) -> String {
    let labels = labels.iter().filter(|(name, _)| *name != PART);
    let labels: Vec<_> = labels
        .map(|(name, value)| format!("{name}=\"{}\"", value.as_str().unwrap_or_default()))
        .collect();
    match labels.is_empty() {
        true => "the result of the query".to_owned(),
        false => printable(&format!("{{{}}}", labels.join(","))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ONE: &str = r#"sum(g{job="a"})"#;
    const TWO: &str = r#"g{job="a"} - h{job="a"}"#;

    fn sample(part: &str, instance: &str, value: &str) -> Value {
        let metric = match part {
            "claim" => json!({"plumbline": part}),
            _ => json!({"plumbline": part, "job": "a", "instance": instance}),
        };
        json!({"metric": metric, "value": [100.123, value]})
    }

    /// The samples of a page that was scraped at that second, in 0.5 s.
    fn page(instance: &str, at: &str) -> Vec<Value> {
        vec![
            sample("earliest 0", instance, at),
            sample("latest 0", instance, at),
            sample("took", instance, "0.5"),
            sample("up", instance, "1"),
        ]
    }

    fn vector(samples: &[Vec<Value>]) -> Value {
        let result = samples.concat();
        json!({"status": "success", "data": {"resultType": "vector", "result": result}})
    }

    fn read(query: &str, document: &Value) -> Result<Claim, String> {
        let query = Query::parse(query).unwrap();
        let claim = read_answer(document.to_string().as_bytes(), &query);
        claim.map_err(|error| error.to_string())
    }

    fn refuse(query: &str, document: &Value, said: &str) {
        let error = read(query, document).unwrap_err();
        assert!(error.contains(said), "{document}: {error}");
    }

    #[test]
    fn samples_are_summed_and_were_true_while_their_pages_were_scraped() {
        let samples = [
            vec![sample("claim", "", "7"), sample("claim", "", "-3")],
            page("h:1", "90.5"),
            page("h:2", "95"),
        ];
        let claim = read(ONE, &vector(&samples)).unwrap();
        assert_eq!((claim.value, claim.series), (4.0, 2));
        assert_eq!(claim.negative.as_deref(), Some("the result of the query"));
        let stamps = claim.stamps.unwrap();
        assert_eq!((stamps.earliest, stamps.latest), (90_498, 95_502));
        assert!(stamps.are_of_all);
        assert_eq!(stamps.at, Some(100_123));
    }

    #[test]
    fn how_long_an_unknown_scrape_took_nobody_knows() {
        let mut bare = page("h:1", "90");
        bare.remove(2);
        let claim = read(ONE, &vector(&[vec![sample("claim", "", "7")], bare])).unwrap();
        assert!(!claim.stamps.unwrap().are_of_all);
    }

    #[test]
    fn a_sample_that_is_not_there_is_not_zero() {
        refuse(ONE, &vector(&[]), "has no sample now");
        refuse(ONE, &vector(&[page("h:1", "90")]), "has no sample now");
        for value in ["NaN", "+Inf", "1.5", "1e300", "x", ""] {
            let samples = [vec![sample("claim", "", value)], page("h:1", "90")];
            assert!(read(ONE, &vector(&samples)).is_err(), "{value}");
        }
    }

    #[test]
    fn what_is_left_of_a_job_is_no_claim_while_an_instance_is_down() {
        let mut samples = vec![sample("claim", "", "7"), sample("up", "h:2", "0")];
        let with = |samples: &[Value]| vector(&[samples.to_vec(), page("h:1", "90")]);
        let down = r#"{job="a",instance="h:2"} is down"#;
        refuse(ONE, &with(&samples), down);
        refuse(ONE, &vector(&[samples.clone()]), down);
        samples[1] = sample("up", "h:2", "1");
        assert!(read(ONE, &with(&samples)).is_ok());
        // Nothing says whether it was scraped.
        let mut unknown = page("h:1", "90");
        unknown.pop();
        refuse(ONE, &vector(&[samples, unknown]), "no series up");
    }

    #[test]
    fn the_terms_of_a_difference_are_of_one_scrape_each() {
        let claim = || vec![sample("claim", "", "7")];
        let second = |at| {
            vec![
                sample("earliest 1", "h:1", at),
                sample("latest 1", "h:1", at),
            ]
        };
        let same = vector(&[claim(), page("h:1", "90"), second("90")]);
        assert_eq!(read(TWO, &same).unwrap().value, 7.0);
        let torn = "are not of one scrape";
        refuse(
            TWO,
            &vector(&[claim(), page("h:1", "90"), second("95")]),
            torn,
        );
        refuse(TWO, &vector(&[claim(), page("h:1", "90")]), torn);
    }

    #[test]
    fn what_is_no_whole_answer_is_told() {
        for (document, said) in [
            (
                json!({"status": "error", "errorType": "bad_data", "error": "parse\u{1b}[2J"}),
                r"Prometheus refuses the query: bad_data: parse\x1b[2J",
            ),
            (json!({"status": "success"}), "its result is no vector"),
            (json!({}), "no status"),
            (json!([]), "no status"),
            (
                json!({"status": "success", "data": {"resultType": "matrix"}}),
                "no vector",
            ),
            (
                json!({"status": "success", "data": {"resultType": "vector", "result": 7}}),
                "no result",
            ),
            (
                json!({"status": "success", "warnings": ["a store is away"]}),
                "a store is away",
            ),
            (
                json!({"status": "success", "isPartial": true}),
                "may be incomplete",
            ),
            (vector(&[vec![json!(7)]]), "has no value"),
            (vector(&[vec![sample("else", "", "1")]]), "nobody asked for"),
            (
                vector(&[vec![sample("earliest x", "", "1")]]),
                "nobody asked for",
            ),
            (
                vector(&[vec![sample("up", "", "1"), sample("claim", "", "1")]]),
                "no time stamps",
            ),
        ] {
            refuse(ONE, &document, said);
        }
        let query = Query::parse(ONE).unwrap();
        let error = |body: &[u8]| read_answer(body, &query).unwrap_err().name();
        assert_eq!(error(b"<html>"), "json_malformed");
        assert_eq!(error(&vec![b' '; MAX_DOCUMENT + 1]), "body_too_large");
        let long = json!({"status": "error", "error": "x".repeat(100_000)});
        assert!(read(ONE, &long).unwrap_err().len() < 400);
    }
}
