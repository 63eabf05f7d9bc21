//! What it costs to measure a request: a router without, with this server's middleware, and with
//! axum-prometheus, in turns within one process.
//!
//! `cargo xtask bench http` runs it and reads the line of JSON that it says: for each round, the
//! nanoseconds of a request by each of the three. It opens no socket.
#![expect(clippy::print_stdout, reason = "the bench reads what it says")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Router, body::Body, http::Request, routing::get};
use axum_prometheus::PrometheusMetricLayer;
use server::{config::Buckets, metrics_service::MetricsService, observe_requests};
use tower::Service as _;

/// Requests of one router in a round.
const REQUESTS: u32 = 20_000;
/// Rounds, unless told otherwise.
const ROUNDS: usize = 51;
/// A route of the public port: others have one label together.
const ROUTE: &str = "/v1/messages";

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // Cargo's own arguments to a bench are of no use here.
    let rounds =
        std::env::args().find_map(|argument| argument.strip_prefix("--rounds=")?.parse().ok());
    let plain = || Router::new().route(ROUTE, get(async || "ok"));
    let metrics = MetricsService::new(&Buckets::default()).expect("the default buckets are valid");
    let metrics = Arc::new(metrics);
    let (layer, handle) = PrometheusMetricLayer::pair();
    let mut routers = [
        plain(),
        observe_requests(plain(), &metrics),
        plain().layer(layer),
    ];
    let mut all: [Vec<f64>; 3] = Default::default();
    for _ in 0..rounds.unwrap_or(ROUNDS) {
        for (router, nanoseconds) in routers.iter_mut().zip(&mut all) {
            nanoseconds.push(time(router).await.as_nanos() as f64 / f64::from(REQUESTS));
        }
        // As a server does every few seconds: else observations pile up.
        metrics.run_upkeep();
        handle.run_upkeep();
    }
    let counted = |page: String, name: &str| page.lines().any(|line| line.starts_with(name));
    assert!(
        counted(metrics.render(), "http_requests_total{"),
        "not measured"
    );
    assert!(
        counted(handle.render(), "axum_http_requests_total{"),
        "not measured"
    );
    let [none, server, axum_prometheus] = all;
    println!(
        "{}",
        serde_json::json!({ "none": none, "server": server, "axum_prometheus": axum_prometheus })
    );
}

async fn time(router: &mut Router) -> Duration {
    let started = Instant::now();
    for _ in 0..REQUESTS {
        let request = Request::get(ROUTE)
            .body(Body::empty())
            .expect("it is a request");
        let response = router.call(request).await.expect("a router is infallible");
        assert!(response.status().is_success(), "{}", response.status());
    }
    started.elapsed()
}
