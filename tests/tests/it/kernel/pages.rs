//! A service and its page, both in a network namespace of their own.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::json;
use tests::observer::{Observer, Watched};
use tests::{kernel_or_skip, port, skip};

use super::namespace::{self, Namespace};

#[tokio::test]
async fn a_page_in_the_services_namespace_is_fetched_there() {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = namespace::obstacle() {
        return skip(obstacle);
    }
    let port = port::free().expect("port");
    let public = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let namespace = Namespace::add("page");
    let service = namespace.worker(public).await;
    let netns = namespace.netns();
    // Where a worker in a namespace has its page.
    let url = format!("http://127.0.0.2:{port}/metrics");
    let target = |name| Watched::new(name, &format!(":{port}"), &url);
    let there = |name| target(name).with("netns", &netns);
    let observer = Observer::start(&[
        there("there"),
        there("few").with("claim", "active_connections - 2"),
        there("here").with("gauge-netns", "self"),
        // Only the page is there.
        target("other").with("gauge-netns", &netns),
    ])
    .await
    .expect("observer");
    let clients = namespace.clients(public, 6).await;
    let agree = |claim: f64| [("verdict", json!("agree")), ("claim", json!(claim))];
    observer.reports("there", &agree(6.0)).await.expect("agree");
    let under = [("verdict", json!("under")), ("drift", json!(-2))];
    observer.reports("few", &under).await.expect("under");
    let claimed = [("claim", json!(6.0))];
    observer
        .reports("other", &claimed)
        .await
        .expect("said there");
    let down = [("reason", json!("target_down")), ("claim", json!(null))];
    observer
        .reports("here", &down)
        .await
        .expect("nobody is here");
    let report = observer.report("here").await.expect("report");
    assert!(
        report.to_string().contains("Connection refused"),
        "{report}"
    );

    // The name comes to stand for another namespace, as that of a container that is restarted.
    drop((clients, service, namespace));
    let gone = [
        ("verdict", json!("blind")),
        ("reason", json!("no_namespace")),
    ];
    observer.reports("there", &gone).await.expect("gone");
    let namespace = Namespace::add("page");
    let _service = namespace.worker(public).await;
    observer.reports("there", &agree(0.0)).await.expect("agree");
    let _clients = namespace.clients(public, 3).await;
    observer.reports("there", &agree(3.0)).await.expect("agree");
}
