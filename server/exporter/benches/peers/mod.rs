//! The same router five times: bare, and measured by four crates, each with a way to read what it counts.

use std::convert::Infallible;
use std::future::pending;
use std::pin::pin;
use std::task::{Context, Waker};

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use axum_otel_metrics::HttpMetricsLayerBuilder;
use axum_prometheus::{PrometheusMetricLayer, metrics_exporter_prometheus::PrometheusHandle};
use exporter::{Registry, http, http::Measured};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tower::Service;
use tower_otel::metrics::HttpLayer;

/// A route that is answered at once.
pub(crate) const ROUTE: &str = "/v1/messages";
/// A route that is never answered.
pub(crate) const NEVER: &str = "/v1/never";

/// A measured router, and how to read what was counted.
pub(crate) struct Peer<S, C> {
    pub(crate) service: S,
    pub(crate) counts: C,
}

/// All of them.
pub(crate) struct All {
    pub(crate) none: Router,
    pub(crate) exporter: Peer<Measured<Router>, Registry>,
    pub(crate) axum_prometheus: Peer<Router, PrometheusHandle>,
    pub(crate) axum_otel_metrics: Peer<Router, Otel>,
    pub(crate) tower_otel: Peer<Router, Otel>,
}

impl All {
    pub(crate) fn new() -> Self {
        let registry = Registry::new(&[http::CATALOGUE]).expect("each is declared once");
        let routes = http::Routes::new()
            .route(ROUTE, get(async || "ok"))
            .route(NEVER, get(pending::<&'static str>));
        let (prometheus, handle) = PrometheusMetricLayer::pair();
        let (of_axum, of_tower) = (Otel::new(), Otel::new());
        let layer = HttpMetricsLayerBuilder::new().with_provider(of_axum.provider.clone());
        let tower = HttpLayer::server(&of_tower.provider.meter("bench"));
        Self {
            none: plain(),
            exporter: Peer {
                service: routes.measure(&registry).expect("they are routes"),
                counts: registry,
            },
            axum_prometheus: Peer {
                service: plain().layer(prometheus),
                counts: handle,
            },
            axum_otel_metrics: Peer {
                service: plain().layer(layer.build()),
                counts: of_axum,
            },
            tower_otel: Peer {
                service: plain().layer(tower),
                counts: of_tower,
            },
        }
    }
}

fn plain() -> Router {
    Router::new()
        .route(ROUTE, get(async || "ok"))
        .route(NEVER, get(pending::<&'static str>))
}

/// A request for a path.
pub(crate) fn request(path: &str) -> Request {
    let request = Request::get(path).body(Body::empty());
    request.expect("it is a request")
}

/// Asks, and is answered.
pub(crate) async fn answered<S>(service: &mut S, path: &str)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let answer = service.call(request(path)).await;
    let response = answer.expect("a router is infallible");
    assert!(response.status().is_success(), "{}", response.status());
}

/// Asks, and leaves before there is an answer.
pub(crate) fn abort<S>(service: &mut S, path: &str)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let answer = pin!(service.call(request(path)));
    let looked = answer.poll(&mut Context::from_waker(Waker::noop()));
    assert!(looked.is_pending(), "answered");
}

/// What a recorder has counted.
pub(crate) trait Counts {
    /// Requests that have ended.
    fn requests(&self) -> u64;
    /// Requests under way.
    fn in_flight(&self) -> i64;
    /// Series of requests: lines of a page, or what becomes lines of one.
    fn series(&self) -> usize;
}

/// The sum of the samples of a page that have this name.
fn sum(page: &str, name: &str) -> f64 {
    let samples = page.lines().filter_map(|line| line.strip_prefix(name));
    let samples = samples.filter(|rest| rest.starts_with(['{', ' ']));
    let values = samples.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.sum()
}

fn samples(page: &str) -> usize {
    let lines = page.lines();
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .count()
}

impl Counts for Registry {
    fn requests(&self) -> u64 {
        sum(&self.render(), "http_requests_total") as u64
    }

    fn in_flight(&self) -> i64 {
        sum(&self.render(), "http_requests_in_flight") as i64
    }

    fn series(&self) -> usize {
        samples(&self.render())
    }
}

impl Counts for PrometheusHandle {
    fn requests(&self) -> u64 {
        sum(&self.render(), "axum_http_requests_total") as u64
    }

    fn in_flight(&self) -> i64 {
        sum(&self.render(), "axum_http_requests_pending") as i64
    }

    fn series(&self) -> usize {
        samples(&self.render())
    }
}

/// What OpenTelemetry has counted.
pub(crate) struct Otel {
    provider: SdkMeterProvider,
    exporter: InMemoryMetricExporter,
}

impl Otel {
    fn new() -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        Self { provider, exporter }
    }

    /// Each point: its metric's name, its value or count, and how many samples it is on a page.
    fn points(&self) -> Vec<(String, f64, usize)> {
        self.exporter.reset();
        self.provider.force_flush().expect("it is in memory");
        let exported = self.exporter.get_finished_metrics().expect("exported");
        let mut points = Vec::new();
        let last = exported.last();
        let scopes = last.into_iter().flat_map(|all| all.scope_metrics());
        for metric in scopes.flat_map(|scope| scope.metrics()) {
            let mut push = |value, samples| points.push((metric.name().to_owned(), value, samples));
            match metric.data() {
                AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        push(point.count() as f64, point.bucket_counts().count() + 2);
                    }
                }
                AggregatedMetrics::U64(MetricData::Histogram(histogram)) => {
                    for point in histogram.data_points() {
                        push(point.count() as f64, point.bucket_counts().count() + 2);
                    }
                }
                AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                    for point in sum.data_points() {
                        push(point.value() as f64, 1);
                    }
                }
                _ => {}
            }
        }
        points
    }

    fn total(&self, name: &str) -> f64 {
        let points = self.points();
        let values = points.iter().filter(|(of, ..)| of == name);
        values.map(|(_, value, _)| value).sum()
    }
}

impl Counts for Otel {
    fn requests(&self) -> u64 {
        self.total("http.server.request.duration") as u64
    }

    fn in_flight(&self) -> i64 {
        self.total("http.server.active_requests") as i64
    }

    fn series(&self) -> usize {
        self.points().iter().map(|(.., samples)| samples).sum()
    }
}
