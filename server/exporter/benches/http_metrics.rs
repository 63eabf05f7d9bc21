//! What it costs to measure a request: a router without, with this crate, and with three others that
//! axum services use, in turns within one process. Then what each has counted of requests that were
//! aborted, and how many series it has after 50,000 paths that no route fits.
//!
//! `cargo xtask bench http` runs it and reads the line of JSON that it says. It opens no socket.
#![expect(clippy::print_stdout, reason = "the bench reads what it says")]

mod peers;

use std::convert::Infallible;
use std::time::Instant;

use axum::{body::Body, extract::Request, response::Response};
use peers::{All, Counts, NEVER, ROUTE, abort, answered, request};
use serde_json::{Map, Value, json};
use tower::Service;

/// Batches of one router in a round, of which the fastest counts: what else the machine does is left out.
const BATCHES: usize = 20;
/// Requests of one router in a batch.
const REQUESTS: u32 = 1000;
/// Rounds, unless told otherwise.
const ROUNDS: usize = 51;
/// Requests that are aborted.
const ABORTED: u64 = 1000;
/// Paths that no route fits.
const PATHS: u64 = 50_000;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Cargo's own arguments to a bench are of no use here.
    let rounds =
        std::env::args().find_map(|argument| argument.strip_prefix("--rounds=")?.parse().ok());
    let mut all = All::new();
    let mut nanoseconds: [Vec<f64>; 5] = Default::default();
    for _ in 0..rounds.unwrap_or(ROUNDS) {
        let mut fastest = [f64::INFINITY; 5];
        for _ in 0..BATCHES {
            let took = [
                time(&mut all.none).await,
                time(&mut all.exporter.service).await,
                time(&mut all.axum_prometheus.service).await,
                time(&mut all.axum_otel_metrics.service).await,
                time(&mut all.tower_otel.service).await,
            ];
            for (fastest, took) in fastest.iter_mut().zip(took) {
                *fastest = fastest.min(took);
            }
        }
        for (all, fastest) in nanoseconds.iter_mut().zip(fastest) {
            all.push(fastest);
        }
        // As a server does every few seconds: else observations pile up.
        all.axum_prometheus.counts.run_upkeep();
    }
    let [
        none,
        exporter,
        axum_prometheus,
        axum_otel_metrics,
        tower_otel,
    ] = nanoseconds;
    let others = [
        ("exporter", exporter, ask(&mut all.exporter).await),
        (
            "axum_prometheus",
            axum_prometheus,
            ask(&mut all.axum_prometheus).await,
        ),
        (
            "axum_otel_metrics",
            axum_otel_metrics,
            ask(&mut all.axum_otel_metrics).await,
        ),
        ("tower_otel", tower_otel, ask(&mut all.tower_otel).await),
    ];
    let mut said = Map::from_iter([("none".to_owned(), json!({ "ns": none }))]);
    for (name, rounds, mut counts) in others {
        counts["ns"] = json!(rounds);
        said.insert(name.to_owned(), counts);
    }
    println!("{}", Value::Object(said));
}

/// Nanoseconds of a request, on average.
async fn time<S>(service: &mut S) -> f64
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let started = Instant::now();
    for _ in 0..REQUESTS {
        answered(service, ROUTE).await;
    }
    started.elapsed().as_nanos() as f64 / f64::from(REQUESTS)
}

/// What is counted of requests that are aborted, and of paths that no route fits.
async fn ask<S, C>(peer: &mut peers::Peer<S, C>) -> Value
where
    S: Service<Request, Response = Response, Error = Infallible>,
    C: Counts,
{
    let before = peer.counts.requests();
    assert!(before > 0, "it counts nothing");
    for _ in 0..ABORTED {
        abort(&mut peer.service, NEVER);
    }
    let counted = peer.counts.requests() - before;
    let in_flight = peer.counts.in_flight();
    for path in 0..PATHS {
        let request = request(&format!("/scan/{path}"));
        let answer = peer.service.call(request).await;
        drop(
            answer
                .expect("a router is infallible")
                .map(|_| Body::empty()),
        );
    }
    json!({
        "aborted": ABORTED,
        "aborted_counted": counted,
        "in_flight_after": in_flight,
        "paths": PATHS,
        "series": peer.counts.series(),
    })
}
