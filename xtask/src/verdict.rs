//! What the observer says about its target, by its API; and the one HTTP client of the tasks.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use ureq::Agent;

/// What `/api/v1/targets/relay` says.
#[derive(Debug, Clone)]
pub(crate) struct Verdict {
    /// `agree`, `over`, `under`, `unsettled` or `blind`.
    pub(crate) verdict: String,
    /// What the gauge said.
    pub(crate) claim: Option<f64>,
    /// The fewest that an honest service could have said.
    pub(crate) low: Option<i64>,
    /// The most.
    pub(crate) high: Option<i64>,
    /// The part of the drift that is sure.
    pub(crate) drift: Option<i64>,
    /// WebSockets that are open now, by the kernel's count.
    pub(crate) websockets: Option<i64>,
    /// The observer's own words.
    pub(crate) sentence: String,
}

/// A client that asks this machine, never a proxy, and takes every status for an answer.
pub(crate) fn client() -> Agent {
    Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        // A connection that it kept would be one more at the service than the demo says.
        .max_idle_connections(0)
        .timeout_global(Some(Duration::from_secs(5)))
        .build()
        .into()
}

/// Whether `url` answers 200.
pub(crate) fn answers(client: &Agent, url: &str) -> Result<Option<()>> {
    let answer = client
        .get(url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    Ok((answer.status() == 200).then_some(()))
}

/// Asks the observer at `base` for its verdict.
///
/// # Errors
/// There is no answer, or it lacks what the contract promises.
pub(crate) fn fetch_verdict(client: &Agent, base: &str) -> Result<Verdict> {
    let url = format!("{base}/api/v1/targets/relay");
    let mut answer = client
        .get(&url)
        .call()
        .with_context(|| format!("GET {url}"))?;
    let text = answer
        .body_mut()
        .read_to_string()
        .context("read the verdict")?;
    ensure!(
        answer.status() == 200,
        "GET {url}: {}: {text}",
        answer.status()
    );
    parse_verdict(&text).with_context(|| format!("GET {url}: {text}"))
}

fn parse_verdict(text: &str) -> Result<Verdict> {
    let json: Value = serde_json::from_str(text).context("parse the verdict")?;
    let text = |key: &'static str| Some(json.get(key)?.as_str()?.to_owned());
    let number = |path: &'static str| json.pointer(path).and_then(Value::as_i64);
    Ok(Verdict {
        verdict: text("verdict").context("it has no verdict")?,
        claim: json.get("claim").and_then(Value::as_f64),
        low: number("/low"),
        high: number("/high"),
        drift: number("/drift"),
        websockets: number("/connections/websocket"),
        sentence: text("sentence").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_from_the_api() {
        let verdict = parse_verdict(
            r#"{"name":"relay","verdict":"over","reason":null,"claim":100.0,"low":63,"high":63,
                "drift":37,"connections":{"websocket":63},"sentence":"37 too many"}"#,
        )
        .expect("parse");
        assert_eq!(verdict.verdict, "over");
        assert_eq!(verdict.claim, Some(100.0));
        assert_eq!((verdict.low, verdict.high), (Some(63), Some(63)));
        assert_eq!((verdict.drift, verdict.websockets), (Some(37), Some(63)));
        assert_eq!(verdict.sentence, "37 too many");
    }

    #[test]
    fn an_answer_without_a_verdict_is_an_error() {
        parse_verdict("{}").expect_err("no verdict");
        parse_verdict("Not Found").expect_err("no JSON");
    }
}
