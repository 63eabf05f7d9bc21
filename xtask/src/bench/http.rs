//! What it costs to measure a request in process: this server's middleware, and axum-prometheus.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::companion::run;
use super::figure::{Goal, Ratio, Spread};
use super::{Report, Run};
use crate::workspace;

/// Measures.
///
/// # Errors
/// It cannot be built, or fails.
pub(super) fn bench(settings: &Run) -> Result<Report> {
    let rounds = settings.size(101, 21);
    let mut cargo = workspace::cargo();
    // All packages: with fewer, dependencies get other features and are built once more.
    cargo.args([
        "bench",
        "--quiet",
        "--workspace",
        "--bench=http_metrics",
        "--",
    ]);
    let said = run(cargo.arg(format!("--rounds={rounds}")))?;
    let said: Value = serde_json::from_str(said.trim()).context("parse what the bench says")?;
    let rounds_of = |key: &str| -> Result<Vec<f64>> {
        let list = said
            .get(key)
            .and_then(Value::as_array)
            .context("no rounds")?;
        Ok(list.iter().filter_map(Value::as_f64).collect())
    };
    let none = rounds_of("none")?;
    let beyond = |all: &[f64]| -> Vec<f64> {
        all.iter()
            .zip(&none)
            .map(|(all, none)| all - none)
            .collect()
    };
    let (server, peer) = (rounds_of("server")?, rounds_of("axum_prometheus")?);
    let (own, other) = (beyond(&server), beyond(&peer));
    let ratios = vec![
        Ratio::new(
            "measuring a request / axum-prometheus",
            Spread::of_ratios(&own, &other),
            Goal::AtMost(1.0 / 3.0),
        ),
        Ratio::new(
            "measuring a request, ns",
            Spread::of(&own),
            Goal::AtMost(300.0),
        ),
    ];
    let mut section = format!(
        "## What it costs to measure a request\n\n\
         `cargo xtask bench http`: an axum router that answers `ok`, called in process without a \
         socket, {rounds} rounds of 20,000 requests for each, in turns. *Of it the measuring* is \
         less the same round's router without. Unit: ns for each request.\n\n\
         | | request | of it the measuring |\n|---|---|---|\n"
    );
    for (label, all) in [
        ("no middleware", &none),
        ("server's middleware", &server),
        ("axum-prometheus 0.10", &peer),
    ] {
        let measuring = Spread::of(&beyond(all));
        writeln!(section, "| {label} | {} | {measuring} |", Spread::of(all))?;
    }
    section.push('\n');
    Ok(Report::with_ratios(section, ratios))
}
