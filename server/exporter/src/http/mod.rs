//! Every HTTP request: counted by method, route and status, timed, and counted while it is under way.
//!
//! Knows that a request may end without an answer, and that a client may send any path and any method.
//! It goes around the whole router as a service of its own: a layer of axum's would cost more than all
//! of the measuring, because axum lays it around each route and boxes it there. So it finds the route by
//! itself, with the router's own matcher. Deliberately sees nothing of bodies: a response counts when
//! its headers are ready, a WebSocket when its 101 is.

mod routes;
mod series;

use std::{
    borrow::Cow,
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    thread,
    time::Duration,
};

use axum::{
    Router, extract::connect_info::IntoMakeServiceWithConnectInfo, routing::IntoMakeService,
};
use http::{Method, Request, Response, Uri};
use matchit::InsertError;
use metrics::{Counter, Gauge, Histogram};
use pin_project_lite::pin_project;
use quanta::Clock;
pub use routes::Routes;
use series::{AllSeries, place_of_method};
use tower::Service;

use crate::{
    declaration::{FAST, Metric, label},
    registry::Registry,
    trace::TraceId,
};

/// The status of a request whose client left before the answer, as nginx has it.
const CLIENT_LEFT: u16 = 499;
/// The status of a request whose handler panicked, where nothing turns that into an answer.
const PANICKED: u16 = 500;

crate::catalogue! {
    /// What [`Http`] measures.
    pub CATALOGUE:
    REQUESTS = counter, "http_requests_total" [label("method", &[]), label("route", &[]), label("status", &[])] "requests"
        "HTTP requests; status 499 when the client left before the answer, route `unmatched` when no route fits, a WebSocket handshake counts as its 101.";
    DURATION = histogram(FAST), "http_request_duration_seconds" [label("method", &[]), label("route", &[])] "seconds"
        "Time from a request's headers to its response's headers; a WebSocket counts only its handshake.";
    IN_FLIGHT = gauge, "http_requests_in_flight" [] "requests"
        "HTTP requests whose answer has not begun; a WebSocket counts only for its handshake.";
}

/// The metrics of requests, for a service that declares them itself, such as with help texts of its own.
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// By method, route and status, in this order.
    pub requests: Metric<Counter, 3>,
    /// By method and route, in this order.
    pub duration: Metric<Histogram, 2>,
    /// Without labels.
    pub in_flight: Metric<Gauge, 0>,
}

/// Those of [`CATALOGUE`].
impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: REQUESTS,
            duration: DURATION,
            in_flight: IN_FLIGHT,
        }
    }
}

/// A route that cannot be one.
#[derive(Debug, thiserror::Error)]
#[error("`{route}` cannot be a route")]
pub struct RouteError {
    route: String,
    source: InsertError,
}

/// What measures requests. Cheap to clone.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    series: AllSeries,
    in_flight: Arc<AtomicI64>,
    clock: Clock,
    /// Each route's place among the series.
    places: matchit::Router<usize>,
    is_silent: bool,
}

impl Http {
    /// For a service with these routes, written as axum has them: `/users/{id}`. Every other path counts
    /// as `unmatched`.
    ///
    /// # Errors
    /// When one of them is no route, or two of them fit the same paths.
    pub fn new(
        registry: &Registry,
        metrics: Metrics,
        routes: impl IntoIterator<Item = impl Into<Cow<'static, str>>>,
    ) -> Result<Self, RouteError> {
        let routes: Vec<Cow<'static, str>> = routes.into_iter().map(Into::into).collect();
        let mut places = matchit::Router::new();
        for (place, route) in routes.iter().enumerate() {
            let inserted = places.insert(route.clone(), place);
            inserted.map_err(|source| RouteError {
                route: route.to_string(),
                source,
            })?;
        }
        let in_flight = Arc::default();
        show(&in_flight, registry, &metrics);
        Ok(Self(Arc::new(Inner {
            in_flight,
            clock: Clock::new(),
            series: AllSeries::new(registry, metrics, routes),
            places,
            is_silent: registry.is_silent(),
        })))
    }

    /// Makes the series of the answers that are to be expected, at zero: a rate needs something to begin
    /// from. Others are made when they first occur.
    pub fn expect(&self, method: &Method, route: &str, statuses: &[u16]) {
        if !self.0.is_silent {
            let (method, route) = (place_of_method(method), self.0.place_of(route));
            self.0.series.declare(method, route, statuses);
        }
    }

    /// Measures every request to a service.
    pub fn measure<S>(&self, service: S) -> Measured<S> {
        Measured {
            http: self.clone(),
            has_exemplars: false,
            service,
        }
    }
}

/// Shows on each page how many requests are under way; others may add to the same gauge.
fn show(in_flight: &Arc<AtomicI64>, registry: &Registry, metrics: &Metrics) {
    let (in_flight, shown) = (Arc::clone(in_flight), AtomicI64::new(0));
    let gauge = registry.gauge(&metrics.in_flight, []);
    registry.at_scrape(move || {
        let now = in_flight.load(Relaxed);
        gauge.increment((now - shown.swap(now, Relaxed)) as f64);
    });
}

impl Inner {
    fn place_of(&self, path: &str) -> usize {
        let place = self.places.at(path);
        place.map_or(self.series.unmatched(), |found| *found.value)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http").finish_non_exhaustive()
    }
}

/// A service whose requests are measured.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    http: Http,
    has_exemplars: bool,
    service: S,
}

impl<S> Measured<S> {
    /// Keeps, of each bucket of the durations, the last request whose trace is sampled, as the header
    /// `traceparent` says: OpenMetrics pages have it as an exemplar. Who may send that header may choose
    /// the exemplar.
    #[must_use]
    pub fn with_exemplars(mut self) -> Self {
        self.has_exemplars = true;
        self
    }
}

impl Measured<Router> {
    /// For `axum::serve`.
    pub fn into_make_service(self) -> IntoMakeService<Self> {
        axum::ServiceExt::<axum::extract::Request>::into_make_service(self)
    }

    /// For `axum::serve`, with handlers that ask for who connected, such as
    /// [`Peer`](crate::listener::Peer).
    pub fn into_make_service_with_connect_info<C>(self) -> IntoMakeServiceWithConnectInfo<Self, C> {
        axum::ServiceExt::<axum::extract::Request>::into_make_service_with_connect_info(self)
    }
}

impl<S, B, A> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Observed<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let is_silent = self.http.0.is_silent;
        let observation = (!is_silent).then(|| {
            let trace = self.has_exemplars.then(|| TraceId::of(request.headers()));
            let trace = trace.flatten();
            Observation::start(&self.http, request.method(), request.uri(), trace)
        });
        Observed {
            observation,
            answer: self.service.call(request),
        }
    }
}

pin_project! {
    /// An answer under way. Dropped before it is there, it is a client that left.
    #[derive(Debug)]
    pub struct Observed<F> {
        observation: Option<Observation>,
        #[pin]
        answer: F,
    }
}

impl<F: Future<Output = Result<Response<A>, E>>, A, E> Future for Observed<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let answer = ready!(this.answer.poll(context));
        if let (Ok(response), Some(observation)) = (&answer, &mut *this.observation) {
            observation.status = Some(response.status().as_u16());
            *this.observation = None;
        }
        Poll::Ready(answer)
    }
}

/// A request under observation, from its making to its drop.
#[derive(Debug)]
struct Observation {
    http: Http,
    method: usize,
    route: usize,
    /// As the clock has it.
    start: u64,
    status: Option<u16>,
    /// Seldom there: so it is elsewhere.
    trace: Option<Box<TraceId>>,
}

impl Observation {
    fn start(http: &Http, method: &Method, uri: &Uri, trace: Option<TraceId>) -> Self {
        http.0.in_flight.fetch_add(1, Relaxed);
        Self {
            method: place_of_method(method),
            route: http.0.place_of(uri.path()),
            start: http.0.clock.raw(),
            http: http.clone(),
            status: None,
            trace: trace.map(Box::new),
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let inner = &*self.http.0;
        inner.in_flight.fetch_sub(1, Relaxed);
        let took = inner.clock.delta_as_nanos(self.start, inner.clock.raw());
        let took = Duration::from_nanos(took);
        let unanswered = || match thread::panicking() {
            true => PANICKED,
            false => CLIENT_LEFT,
        };
        let status = self.status.unwrap_or_else(unanswered);
        let trace = self.trace.as_deref().copied();
        let series = &inner.series;
        series.record(self.method, self.route, status, took, trace);
    }
}

#[cfg(test)]
mod tests;
