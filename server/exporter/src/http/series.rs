//! The series of HTTP requests: those of known routes from the start, others when they first occur;
//! each is then found by its place.
//!
//! Knows how to keep labels to a closed set whatever a client sends. Deliberately asks the registry
//! once for each series: looking it up by its labels costs more than all else of a measurement.

use std::{
    array,
    borrow::Cow,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::Method;

use super::Metrics;
use crate::{
    histogram::Buckets,
    registry::{Cell, Registry},
    trace::TraceId,
};

/// The values of the label `method`. The last one stands for every other.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE", "OTHER",
];

/// The value of the label `route` of a path that no route fits.
pub(super) const UNMATCHED: &str = "unmatched";

/// Where a method stands among those known.
pub(super) fn place_of_method(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::HEAD => 4,
        Method::OPTIONS => 5,
        Method::CONNECT => 6,
        Method::PATCH => 7,
        Method::TRACE => 8,
        _ => METHODS.len() - 1,
    }
}

/// The series of every method and route.
pub(super) struct AllSeries {
    registry: Registry,
    metrics: Metrics,
    /// The last one is [`UNMATCHED`].
    routes: Vec<Cow<'static, str>>,
    /// By route, then by method.
    series: Vec<[Series; METHODS.len()]>,
}

/// The series of one method and route.
#[derive(Default)]
struct Series {
    duration: OnceLock<Arc<Buckets>>,
    answers: OnceLock<Box<Answers>>,
}

/// The answers with one status, and behind them those with others: a few, in the order in which
/// they were declared or first occurred.
struct Answers {
    status: u16,
    counter: Arc<AtomicU64>,
    others: OnceLock<Box<Self>>,
}

impl AllSeries {
    /// Those of these routes, and of what fits none.
    pub(super) fn new(
        registry: &Registry,
        metrics: Metrics,
        mut routes: Vec<Cow<'static, str>>,
    ) -> Self {
        routes.push(UNMATCHED.into());
        let series = routes.iter();
        let series = series.map(|_| array::from_fn(|_| Series::default()));
        Self {
            registry: registry.clone(),
            metrics,
            series: series.collect(),
            routes,
        }
    }

    /// The place of what fits no route.
    pub(super) fn unmatched(&self) -> usize {
        self.routes.len() - 1
    }

    /// Makes the series of answers that are to be there before they first occur.
    pub(super) fn declare(&self, method: usize, route: usize, statuses: &[u16]) {
        self.duration(method, route);
        for &status in statuses {
            self.answers(method, route, status);
        }
    }

    /// Counts a request that has ended; by its trace, if it is to be an exemplar.
    pub(super) fn record(
        &self,
        method: usize,
        route: usize,
        status: u16,
        took: Duration,
        trace: Option<TraceId>,
    ) {
        self.answers(method, route, status).fetch_add(1, Relaxed);
        let duration = self.duration(method, route);
        match trace {
            Some(trace) => duration.observe_traced(took.as_secs_f64(), trace),
            None => duration.observe(took.as_secs_f64()),
        }
    }

    /// The histogram of one method and route.
    fn duration(&self, method: usize, route: usize) -> &Buckets {
        self.series[route][method].duration.get_or_init(|| {
            let labels = vec![METHODS[method].into(), self.routes[route].clone()];
            match self.registry.cell(&self.metrics.duration, labels) {
                Some(Cell::Histogram(buckets)) => buckets,
                _ => Arc::new(Buckets::new(&[])),
            }
        })
    }

    /// The counter of one method, route and status.
    fn answers(&self, method: usize, route: usize, status: u16) -> &AtomicU64 {
        let mut place = &self.series[route][method].answers;
        loop {
            let answers = place.get_or_init(|| {
                let counter = self.register(method, route, status);
                Box::new(Answers {
                    status,
                    counter,
                    others: OnceLock::new(),
                })
            });
            if answers.status == status {
                return &answers.counter;
            }
            place = &answers.others;
        }
    }

    fn register(&self, method: usize, route: usize, status: u16) -> Arc<AtomicU64> {
        let labels = vec![
            METHODS[method].into(),
            self.routes[route].clone(),
            status.to_string().into(),
        ];
        match self.registry.cell(&self.metrics.requests, labels) {
            Some(Cell::Counter(counter)) => counter,
            _ => Arc::default(),
        }
    }
}
