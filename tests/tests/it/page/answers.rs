//! Headers, caches, methods and paths.

use std::fs;

use http::Method;
use serde_json::Value;
use tests::foreign::installed;
use tests::http::{get, request};
use tests::wait;

use super::service::{OFTEN, PATIENCE, Service, Target};

#[tokio::test]
async fn every_answer_says_what_a_browser_may_do_with_it() {
    let service = Service::open().await;
    let observer = service.observed().await;
    for path in [
        "/",
        "/metrics",
        "/api/v1/targets",
        "/assets/page.js",
        "/nothing",
    ] {
        let answer = get(&format!("{}{path}", observer.url())).await;
        let headers = answer.expect("an answer").headers;
        let policy = headers["content-security-policy"].to_str().expect("text");
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"));
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        let is_asset = path.starts_with("/assets/");
        let kept = if is_asset { "no-cache" } else { "no-store" };
        assert_eq!(headers["cache-control"], kept, "{path}");
    }
}

#[tokio::test]
async fn an_asset_is_sent_once() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let url = format!("{}/assets/uplot.js", observer.url());
    let first = get(&url).await.expect("an answer");
    assert_eq!(first.status, 200);
    assert!(first.body.contains("uPlot"), "{:.80}", first.body);
    let tag = first.headers["etag"].to_str().expect("text");

    let again = request(Method::GET, &url, &[("if-none-match", tag)]).await;
    let again = again.expect("an answer");
    assert_eq!((again.status.as_u16(), again.body.as_str()), (304, ""));
    assert_eq!(again.headers["etag"], tag);
    let other = request(Method::GET, &url, &[("if-none-match", "\"other\"")]).await;
    assert_eq!(other.expect("an answer").body.len(), first.body.len());
}

#[tokio::test]
async fn what_is_not_there_is_answered_by_what_is() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let ask = async |method: Method, path: &str| {
        let url = format!("{}{path}", observer.url());
        let answer = request(method, &url, &[]).await.expect("an answer");
        (answer.status.as_u16(), answer.body)
    };
    let (status, body) = ask(Method::GET, "/graph").await;
    assert_eq!(status, 404);
    for path in [
        "/metrics",
        "/api/v1/stream",
        "/api/v1/targets/{name}/sockets",
    ] {
        assert!(body.contains(path), "{body}");
    }
    assert_eq!(ask(Method::GET, "/assets/../page.rs").await.0, 404);
    assert_eq!(ask(Method::GET, "/?target=nobody").await.0, 404);
    assert_eq!(ask(Method::GET, "/?target=quiet").await.0, 200);
    assert_eq!(ask(Method::GET, "/?targets=quiet").await.0, 400);
    assert_eq!(ask(Method::HEAD, "/").await, (200, String::new()));
    for path in ["/", "/api/v1/targets", "/api/v1/stream"] {
        assert_eq!(ask(Method::POST, path).await.0, 405, "{path}");
    }
}

#[tokio::test]
async fn a_history_is_read_on_from_where_it_was_left() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let url = format!("{}/api/v1/targets/quiet/history", observer.url());
    let checks = async |query: &str| {
        let answer = get(&format!("{url}{query}")).await.expect("an answer");
        let history: Value = serde_json::from_str(&answer.body).expect("JSON");
        let checks = history["checks"].as_array().expect("checks").iter();
        checks
            .map(|check| check["at"].as_str().expect("a time").to_owned())
            .collect::<Vec<_>>()
    };
    let first = wait::until("three checks", PATIENCE, async || {
        <[String; 3]>::try_from(checks("").await)
    });
    let [first, second, third] = first.await.expect("checks");
    let rest = checks(&format!("?after={first}")).await;
    assert_eq!(rest[..2], [second, third.clone()]);
    let later = checks(&format!("?after={third}")).await;
    assert!(later.iter().all(|at| *at > third), "{later:?}");

    for wrong in ["?after=yesterday", "?before=2026-01-31T12:00:00.000Z"] {
        let answer = get(&format!("{url}{wrong}")).await.expect("an answer");
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.body);
    }
}

#[tokio::test]
async fn what_a_label_holds_is_text() {
    let service = Service::open().await;
    let hostile = Target {
        name: "hostile",
        gauge: r#"active_connections{n="<script>&</script>"}"#,
        settings: OFTEN,
    };
    let observer = service.observer(&[hostile]).await;
    let page = get(observer.url()).await.expect("an answer").body;
    let escaped = "active_connections{n=&quot;&lt;script&gt;&amp;&lt;/script&gt;&quot;}";
    assert!(page.contains(escaped), "{page}");
    assert!(!page.contains("<script>"), "{page}");
}

#[tokio::test]
async fn the_chart_is_the_one_that_was_published() {
    let published = installed("node/node_modules/uplot");
    if !published.is_dir() {
        tests::skip("needs uplot in $PLUMBLINE_FOREIGN/node");
        return;
    }
    let service = Service::open().await;
    let observer = service.observed().await;
    for (asset, file) in [
        ("uplot.js", "dist/uPlot.iife.min.js"),
        ("uplot.css", "dist/uPlot.min.css"),
        ("uplot-license.txt", "LICENSE"),
    ] {
        let url = format!("{}/assets/{asset}", observer.url());
        let served = get(&url).await.expect("an answer").body;
        let expected = fs::read_to_string(published.join(file)).expect("read the package");
        assert!(served == expected, "{asset} is not {file} of the package");
    }
}
