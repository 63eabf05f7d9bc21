//! Requests that end in every way, by what the page then says.

use std::{
    convert::Infallible,
    future::{pending, ready},
};

use axum::{body::Body, routing::get};
use futures_util::FutureExt as _;
use http::StatusCode;
use tower::ServiceExt as _;

use super::*;

fn registry() -> Registry {
    Registry::new(&[CATALOGUE]).unwrap()
}

fn http(registry: &Registry) -> Http {
    Http::new(registry, Metrics::default(), ["/a", "/users/{id}"]).unwrap()
}

/// How many requests were counted.
fn counted(registry: &Registry, method: &str, route: &str, status: u16) -> u64 {
    let page = registry.render();
    let labels = format!("method=\"{method}\",route=\"{route}\"");
    let line = format!("http_requests_total{{{labels},status=\"{status}\"}} ");
    let mut lines = page.lines();
    let count = lines.find_map(|said| said.strip_prefix(&line));
    count.map_or(0, |count| count.parse().unwrap())
}

fn in_flight(registry: &Registry, expected: u64) {
    let page = registry.render();
    let line = format!("\nhttp_requests_in_flight {expected}\n");
    assert!(page.contains(&line), "{line} is not in\n{page}");
}

fn request(method: &str, path: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    request.body(Body::empty()).unwrap()
}

async fn answer(http: &Http, method: &str, path: &str, status: u16) {
    let status = StatusCode::from_u16(status).unwrap();
    let answered = move |_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        ready(Ok::<_, Infallible>(response))
    };
    let service = http.measure(tower::service_fn(answered));
    service.oneshot(request(method, path)).await.unwrap();
}

#[tokio::test]
async fn each_status_is_counted_in_a_series_of_its_own() {
    let registry = registry();
    let http = http(&registry);
    for status in [200, 404, 200, 503, 404, 200] {
        answer(&http, "GET", "/a", status).await;
    }
    for (status, requests) in [(200, 3), (404, 2), (503, 1)] {
        assert_eq!(counted(&registry, "GET", "/a", status), requests);
    }
    let timed = "http_request_duration_seconds_count{method=\"GET\",route=\"/a\"} 6";
    assert!(registry.render().contains(timed), "{}", registry.render());
    in_flight(&registry, 0);
}

#[tokio::test]
async fn what_a_client_makes_up_falls_into_one_series() {
    let registry = registry();
    let http = http(&registry);
    for method in ["BREW", "PROPFIND", "OTHER"] {
        answer(&http, method, "/made/up", 404).await;
    }
    assert_eq!(counted(&registry, "OTHER", "unmatched", 404), 3);
    for user in 0..50 {
        answer(&http, "GET", &format!("/users/{user}?page={user}"), 200).await;
        answer(&http, "GET", &format!("/users/{user}/"), 404).await;
    }
    assert_eq!(counted(&registry, "GET", "/users/{id}", 200), 50);
    assert_eq!(counted(&registry, "GET", "unmatched", 404), 50);
}

#[tokio::test]
async fn a_request_is_in_flight_until_it_is_answered_or_dropped() {
    let registry = registry();
    let never = |_| pending::<Result<Response<Body>, Infallible>>();
    let service = http(&registry).measure(tower::service_fn(never));
    let mut first = Box::pin(service.clone().oneshot(request("GET", "/a")));
    let second = service.oneshot(request("POST", "/users/7"));
    let mut second = Box::pin(second);
    assert!((&mut first).now_or_never().is_none());
    assert!((&mut second).now_or_never().is_none());
    in_flight(&registry, 2);
    drop(first);
    in_flight(&registry, 1);
    drop(second);
    in_flight(&registry, 0);
    assert_eq!(counted(&registry, "GET", "/a", CLIENT_LEFT), 1);
    assert_eq!(counted(&registry, "POST", "/users/{id}", CLIENT_LEFT), 1);
}

#[tokio::test]
async fn a_handler_that_panics_is_a_500() {
    fn panic() -> &'static str {
        panic!("as a bug would")
    }
    let registry = registry();
    let routes = Routes::new().route("/a", get(async || panic()));
    let service = routes.measure(&registry).unwrap();
    let task = tokio::spawn(service.oneshot(request("GET", "/a")));
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(counted(&registry, "GET", "/a", PANICKED), 1);
    in_flight(&registry, 0);
}

#[tokio::test]
async fn routes_are_counted_as_axum_matches_them() {
    let registry = registry();
    let users = Routes::new()
        .route("/", get(async || "all"))
        .route("/{id}", get(async || "one"));
    let routes = Routes::new()
        .route("/files/{*path}", get(async || "file"))
        .nest("/users", users)
        .map(|router| router.fallback(async || StatusCode::NOT_FOUND));
    let service = routes.measure(&registry).unwrap();
    let ask = async |method: &str, path: &str, status: u16| {
        let answered = service.clone().oneshot(request(method, path)).await;
        assert_eq!(answered.unwrap().status().as_u16(), status, "{path}");
    };
    ask("GET", "/files/a/b", 200).await;
    ask("GET", "/users", 200).await;
    ask("GET", "/users/7", 200).await;
    ask("PUT", "/users/7", 405).await;
    ask("GET", "/other", 404).await;
    for (method, route, status) in [
        ("GET", "/files/{*path}", 200),
        ("GET", "/users", 200),
        ("GET", "/users/{id}", 200),
        ("PUT", "/users/{id}", 405),
        ("GET", "unmatched", 404),
    ] {
        assert_eq!(counted(&registry, method, route, status), 1, "{route}");
    }
}

#[test]
fn answers_that_are_expected_are_there_at_zero() {
    let registry = registry();
    let line = "http_requests_total{method=\"POST\",route=\"/a\",status=\"201\"} 0";
    assert!(!registry.render().contains(line));
    http(&registry).expect(&Method::POST, "/a", &[201, CLIENT_LEFT]);
    assert!(registry.render().contains(line), "{}", registry.render());
}

#[test]
fn two_routes_for_the_same_paths_are_refused() {
    let routes = ["/users/{id}", "/users/{name}"];
    let error = Http::new(&registry(), Metrics::default(), routes).unwrap_err();
    assert_eq!(error.to_string(), "`/users/{name}` cannot be a route");
}

#[test]
fn measuring_a_request_to_a_known_route_allocates_nothing() {
    let measures = http(&registry());
    let answer = |_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())));
    let mut service = measures.measure(tower::service_fn(answer));
    let mut ask = || {
        let mut request = Request::new(());
        *request.uri_mut() = Uri::from_static("/users/7");
        let answered = service.call(request).now_or_never();
        assert!(answered.is_some());
    };
    ask();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| ask()));
    assert_eq!(counted.count_total, 0);
}

#[tokio::test]
async fn a_sampled_request_is_an_exemplar_where_that_is_asked_for() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let ask = async |has_exemplars: bool, flags: &str| {
        let registry = registry();
        let answer = |_| ready(Ok::<_, Infallible>(Response::new(Body::empty())));
        let service = http(&registry).measure(tower::service_fn(answer));
        let service = if has_exemplars {
            service.with_exemplars()
        } else {
            service
        };
        let mut request = request("GET", "/a");
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
        let parent = parent.parse().unwrap();
        request.headers_mut().insert("traceparent", parent);
        service.oneshot(request).await.unwrap();
        assert!(!registry.render().contains(TRACE), "text has no exemplars");
        registry.render_as(crate::Format::OpenMetrics)
    };
    let page = ask(true, "01").await;
    let expected = format!("}} 1 # {{trace_id=\"{TRACE}\"}} ");
    let is_exemplar = |line: &&str| line.contains(&expected) && line.contains("_bucket{");
    assert_eq!(page.lines().filter(is_exemplar).count(), 1, "{page}");
    assert!(!ask(true, "00").await.contains(TRACE), "it is not sampled");
    assert!(!ask(false, "01").await.contains(TRACE), "nobody asked");
}
