//! How often measuring a request allocates: this crate, and three others that axum services use.
//!
//! A program of its own, because it counts in the allocator, which takes time. `cargo xtask bench http`
//! runs it and reads the line of JSON that it says.
#![expect(clippy::print_stdout, reason = "the bench reads what it says")]

#[expect(dead_code, reason = "what the peers count is for the other bench")]
mod peers;

use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Waker};

use axum::{extract::Request, response::Response};
use peers::{All, ROUTE, answered};
use serde_json::json;
use tower::Service;

/// Requests of which the average is taken: recorders may allocate for many at once.
const REQUESTS: u32 = 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut all = All::new();
    let none = allocations(&mut all.none);
    println!(
        "{}",
        json!({
            "none": none,
            "exporter": allocations(&mut all.exporter.service),
            "axum_prometheus": allocations(&mut all.axum_prometheus.service),
            "axum_otel_metrics": allocations(&mut all.axum_otel_metrics.service),
            "tower_otel": allocations(&mut all.tower_otel.service),
        })
    );
}

/// Allocations of a request, on average, once the series are there.
fn allocations<S>(service: &mut S) -> f64
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let mut ask = || {
        let answered = pin!(answered(service, ROUTE));
        // The handler answers at once, so one look is enough.
        let looked = answered.poll(&mut Context::from_waker(Waker::noop()));
        assert!(looked.is_ready(), "not answered");
    };
    ask();
    let counted = allocation_counter::measure(|| (0..REQUESTS).for_each(|_| ask()));
    counted.count_total as f64 / f64::from(REQUESTS)
}
