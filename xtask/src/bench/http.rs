//! What it costs to measure a request in process, and what it leaves behind: `exporter`, and three others.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::companion::run;
use super::figure::{Goal, Ratio, Spread, short};
use super::{Report, Run};
use crate::workspace;

/// Those that are compared, by what the benches call them; the first is ours.
const CRATES: [(&str, &str); 4] = [
    ("exporter", "exporter"),
    ("axum_prometheus", "axum-prometheus 0.10"),
    ("axum_otel_metrics", "axum-otel-metrics 0.14"),
    ("tower_otel", "tower-otel 0.11"),
];

/// Measures.
///
/// # Errors
/// It cannot be built, or fails.
pub(super) fn bench(settings: &Run) -> Result<Report> {
    let rounds = settings.size(101, 21);
    let said = says("http_metrics", &[&format!("--rounds={rounds}")])?;
    let allocations = says("http_allocations", &[])?;
    let allocated = |name: &str| allocations.get(name).and_then(Value::as_f64);
    let rounds_of = |name: &str| -> Result<Vec<f64>> {
        let list = said.get(name).and_then(|said| said.get("ns")?.as_array());
        let list = list.with_context(|| format!("no rounds of {name}"))?;
        Ok(list.iter().filter_map(Value::as_f64).collect())
    };
    let none = rounds_of("none")?;
    let beyond = |name: &str| -> Result<Vec<f64>> {
        let all = rounds_of(name)?;
        let beyond = all.iter().zip(&none).map(|(all, none)| all - none);
        Ok(beyond.collect())
    };
    let none_allocated = allocated("none").context("no allocations")?;
    let own_allocated = allocated("exporter").context("no allocations")? - none_allocated;
    let own = beyond("exporter")?;
    let ratios = vec![
        Ratio::new(
            "measuring a request / axum-prometheus",
            Spread::of_ratios(&own, &beyond("axum_prometheus")?),
            Goal::AtMost(1.0 / 10.0),
        ),
        Ratio::new(
            "measuring a request, ns",
            Spread::of(&own),
            Goal::AtMost(100.0),
        ),
        Ratio::new(
            "measuring a request, allocations",
            Spread::of(&[own_allocated]),
            Goal::AtMost(0.0),
        ),
    ];
    let mut section = format!(
        "## What it costs to measure a request\n\n\
         `cargo xtask bench http`: an axum router that answers `ok`, called in process without a \
         socket, {rounds} rounds; of each the fastest of 20 batches of 1,000 requests, in turns. \
         *Measuring* is less the same round's router without. Allocations are counted in a run of their own, on average of 1,024 \
         requests. Then 1,000 requests are aborted, and 50,000 paths are asked for that no route fits; \
         series are the samples of a page, or what OpenTelemetry's points would be on one.\n\n\
         | | request, ns | measuring, ns | measuring, allocations | aborted requests: counted | \
         in flight for ever | series at 50,000 paths |\n|---|---|---|---|---|---|---|\n\
         | no middleware | {} | | | | | |\n",
        Spread::of(&none)
    );
    for (name, label) in CRATES {
        let number = |key: &str| said.get(name).and_then(|said| said.get(key)?.as_i64());
        let number = |key: &str| number(key).with_context(|| format!("no {key} of {name}"));
        let allocations = allocated(name).context("no allocations")? - none_allocated;
        writeln!(
            section,
            "| {label} | {} | {} | {} | {} | {} | {} |",
            Spread::of(&rounds_of(name)?),
            Spread::of(&beyond(name)?),
            if allocations == 0.0 {
                "0".to_owned()
            } else {
                short(allocations)
            },
            number("aborted_counted")?,
            number("in_flight_after")?,
            number("series")?,
        )?;
    }
    section.push('\n');
    Ok(Report::with_ratios(section, ratios))
}

/// What a bench of `exporter` says.
fn says(bench: &str, arguments: &[&str]) -> Result<Value> {
    let mut cargo = workspace::cargo();
    // All packages: with fewer, dependencies get other features and are built once more.
    cargo.args(["bench", "--quiet", "--workspace"]);
    cargo.arg(format!("--bench={bench}")).arg("--");
    let said = run(cargo.args(arguments))?;
    serde_json::from_str(said.trim()).with_context(|| format!("parse what {bench} says"))
}
