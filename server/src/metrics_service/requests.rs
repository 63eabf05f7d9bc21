//! The series of HTTP requests: those of known routes from the start, others when they first occur;
//! each is then found by its place.
//!
//! Knows how to keep labels to a closed set whatever a client sends. Deliberately asks the registry
//! once for each series: making a key and hashing it costs more than all else of a measurement.

use std::{
    array,
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::Method;
use metrics::{Counter, Histogram, Key, Label, Recorder as _};

use super::{METADATA, MetricsService, WITHOUT, catalogue};
use crate::routes::{ANSWERS, ROUTES};

/// The values of the label `method`. The last one stands for every other.
const METHODS: [&str; 10] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE", "OTHER",
];

/// The values of the label `route`. The last one stands for a path that no route fits.
const ROUTE_LABELS: [&str; ROUTES.len() + 1] = {
    let mut labels = ["unmatched"; ROUTES.len() + 1];
    let mut index = 0;
    while index < ROUTES.len() {
        labels[index] = ROUTES[index];
        index += 1;
    }
    labels
};

/// The status of a request whose client left before the answer, as nginx has it.
const CLIENT_LEFT: u16 = 499;

/// The series of every method and route.
pub(super) struct Requests([[Series; ROUTE_LABELS.len()]; METHODS.len()]);

impl Requests {
    /// None of them occurred yet.
    pub(super) fn new() -> Self {
        Self(array::from_fn(|_| array::from_fn(|_| Series::default())))
    }

    /// Makes the series of what clients that know the routes ask for.
    pub(super) fn declare(&self, service: &MetricsService) {
        if WITHOUT {
            return;
        }
        for (method, route, statuses) in ANSWERS {
            let (method, route) = (
                place(&METHODS, Some(method)),
                place(&ROUTE_LABELS, Some(route)),
            );
            self.duration(service, method, route);
            for status in statuses {
                self.answers(service, method, route, *status);
            }
        }
    }

    /// The counter of one method, route and status.
    fn answers(
        &self,
        service: &MetricsService,
        method: usize,
        route: usize,
        status: u16,
    ) -> &Counter {
        self.0[method][route].answers(status, || {
            let labels = vec![
                Label::from_static_parts("method", METHODS[method]),
                Label::from_static_parts("route", ROUTE_LABELS[route]),
                Label::new("status", status.to_string()),
            ];
            let key = Key::from_parts(catalogue::HTTP_REQUESTS.name, labels);
            service.recorder.register_counter(&key, &METADATA)
        })
    }

    /// The histogram of one method and route.
    fn duration(&self, service: &MetricsService, method: usize, route: usize) -> &Histogram {
        let labels = [METHODS[method], ROUTE_LABELS[route]];
        let register = || service.histogram(catalogue::HTTP_REQUEST_DURATION, labels);
        self.0[method][route].duration.get_or_init(register)
    }
}

/// Where a label's value stands among those known; the last place stands for every other.
fn place(known: &[&str], value: Option<&str>) -> usize {
    let place = known.iter().position(|&known| Some(known) == value);
    place.unwrap_or(known.len() - 1)
}

/// The series of one method and route.
#[derive(Default)]
struct Series {
    duration: OnceLock<Histogram>,
    answers: OnceLock<Box<Answers>>,
}

/// The answers with one status, and behind them those with others: a few, in the order in which
/// they first occurred.
struct Answers {
    status: u16,
    counter: Counter,
    others: OnceLock<Box<Self>>,
}

impl Series {
    /// The counter of a status.
    fn answers(&self, status: u16, register: impl Fn() -> Counter) -> &Counter {
        let mut place = &self.answers;
        loop {
            let answers = place.get_or_init(|| {
                Box::new(Answers {
                    status,
                    counter: register(),
                    others: OnceLock::new(),
                })
            });
            if answers.status == status {
                return &answers.counter;
            }
            place = &answers.others;
        }
    }
}

/// A request under observation.
pub(crate) struct Request {
    service: Arc<MetricsService>,
    method: usize,
    route: usize,
    start: Instant,
    status: u16,
}

impl Request {
    pub(super) fn start(
        service: &Arc<MetricsService>,
        method: &Method,
        matched: Option<&str>,
    ) -> Self {
        Self {
            service: Arc::clone(service),
            method: place(&METHODS, Some(method.as_str())),
            route: place(&ROUTE_LABELS, matched),
            start: Instant::now(),
            status: CLIENT_LEFT,
        }
    }

    /// The request was answered.
    pub(crate) fn answered(mut self, status: u16) {
        self.status = status;
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if WITHOUT {
            return;
        }
        let Self {
            ref service,
            method,
            route,
            start,
            status,
        } = *self;
        let requests = &service.requests;
        requests
            .answers(service, method, route, status)
            .increment(1);
        let duration = requests.duration(service, method, route);
        duration.record(start.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Buckets;

    #[test]
    fn each_status_is_counted_in_a_series_of_its_own() {
        let service = Arc::new(MetricsService::new(&Buckets::default()).unwrap());
        for status in [200, 404, 200, 503, 404, 200] {
            Request::start(&service, &Method::GET, Some(ROUTES[0])).answered(status);
        }
        drop(Request::start(&service, &Method::GET, Some(ROUTES[0])));
        let page = service.render();
        for (status, requests) in [(200, 3), (404, 2), (503, 1), (CLIENT_LEFT, 1)] {
            let line = format!(
                "http_requests_total{{method=\"GET\",route=\"{}\",status=\"{status}\"}} {requests}",
                ROUTES[0]
            );
            assert!(page.contains(&line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn what_a_client_makes_up_falls_into_one_series() {
        let service = Arc::new(MetricsService::new(&Buckets::default()).unwrap());
        for method in ["BREW", "PROPFIND", "OTHER"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            Request::start(&service, &method, Some("/made/up")).answered(404);
        }
        let line = "http_requests_total{method=\"OTHER\",route=\"unmatched\",status=\"404\"} 3";
        assert!(service.render().contains(line), "{}", service.render());
    }
}
