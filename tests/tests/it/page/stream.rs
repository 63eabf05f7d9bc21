//! `/api/v1/stream`, by a client that reads it as a browser does.

use std::time::{Duration, Instant};

use serde_json::Value;
use tests::events::{Events, Item};
use tests::http::get;
use tests::wait;

use super::service::{OFTEN, PATIENCE, Service, Target};

/// The most that the observer lets be open.
const MOST: usize = 32;

async fn open(url: &str) -> Events {
    let stream = Events::open(&format!("{url}/api/v1/stream")).await;
    stream.expect("an answer")
}

#[tokio::test]
async fn it_tells_what_has_changed_at_most_once_a_second() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let started = Instant::now();
    let mut stream = open(observer.url()).await;
    assert_eq!(stream.status, 200);
    assert_eq!(stream.headers["content-type"], "text/event-stream");

    let next = async |stream: &mut Events| -> Value {
        let data = stream.data("targets", PATIENCE).await.expect("an event");
        serde_json::from_str(&data).expect("JSON")
    };
    let first = next(&mut stream).await;
    let targets = get(&format!("{}/api/v1/targets", observer.url())).await;
    let targets: Value = serde_json::from_str(&targets.expect("targets").body).expect("JSON");
    let keys = |list: &Value| {
        let target = list["targets"][0].as_object().expect("a target");
        target.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&first), keys(&targets));

    // A check every 300 ms, and an event a second: some are overtaken. The first was for this reader.
    let mut before = first;
    for _ in 0..4 {
        let now = next(&mut stream).await;
        assert_ne!(now, before, "nothing has changed");
        before = now;
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(2_900), "four in {took:?}");

    // Fewer than none: whatever other programs do meanwhile, that is wrong by exactly so many.
    let page = "# TYPE active_connections gauge\nactive_connections -5\n";
    service.page.say(page);
    let is_told = wait::until("the verdict", PATIENCE, async || {
        let target = next(&mut stream).await["targets"][0].take();
        let told = (target["verdict"].as_str(), target["drift"].as_i64());
        (told == (Some("under"), Some(-5)))
            .then_some(())
            .ok_or(target)
    });
    is_told.await.expect("the verdict");
}

#[tokio::test]
async fn it_is_silent_where_nothing_changes_but_for_a_comment() {
    let service = Service::open().await;
    let seldom = Target {
        name: "seldom",
        gauge: "active_connections",
        settings: "interval = '1h'\nsettle = '200ms'",
    };
    let observer = service.observer(&[seldom]).await;
    let report = [("checks", 1.into())];
    observer.reports("seldom", &report).await.expect("a check");
    let mut stream = open(observer.url()).await;
    let first = stream.next(PATIENCE).await.expect("an item");
    assert!(matches!(first, Some(Item::Event { .. })), "{first:?}");
    let second = stream.next(PATIENCE).await.expect("an item");
    assert_eq!(second, Some(Item::Comment(String::new())));
}

#[tokio::test]
async fn so_many_are_open_and_no_more() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let mut streams = Vec::new();
    for _ in 0..MOST {
        let stream = open(observer.url()).await;
        assert_eq!(stream.status, 200);
        streams.push(stream);
    }
    let refused = open(observer.url()).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "5");
    // Scrapes have places of their own.
    let metrics = get(&format!("{}/metrics", observer.url())).await;
    assert_eq!(metrics.expect("metrics").status, 200);

    drop(streams.pop());
    let free = wait::until("a free place", PATIENCE, async || {
        let stream = open(observer.url()).await;
        (stream.status == 200).then_some(stream).ok_or("refused")
    });
    free.await.expect("a free place");
}

#[tokio::test]
async fn it_ends_when_the_observer_is_stopped() {
    let service = Service::open().await;
    let target = Target {
        name: "quiet",
        gauge: "active_connections",
        settings: OFTEN,
    };
    let mut observer = service.observer(&[target]).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        let mut stream = open(observer.url()).await;
        stream.data("targets", PATIENCE).await.expect("an event");
        streams.push(stream);
    }
    let status = observer.process.terminate(PATIENCE).await.expect("it ends");
    assert!(status.success(), "{status}");
    for stream in &mut streams {
        // To its end: a connection that breaks off would be an error.
        while stream.next(PATIENCE).await.expect("an end").is_some() {}
    }
}

#[tokio::test]
async fn open_pages_share_what_is_rendered_for_a_change() {
    let service = Service::open().await;
    let observer = service.observed().await;
    let url = format!("{}/", observer.url());
    let page = async || get(&url).await.expect("a page").body;
    // Nobody listens: each is as of its own moment.
    assert_ne!(page().await, page().await);

    let mut stream = open(observer.url()).await;
    let next = stream.data("targets", PATIENCE).await.expect("an event");
    let shared = wait::until("two pages of one change", PATIENCE, async || {
        let (one, two) = (page().await, page().await);
        (one == two).then_some(one).ok_or("two changes")
    });
    let shared = shared.await.expect("one page for both");
    // And it is another one after the next change.
    let mut last = next;
    for _ in 0..2 {
        let now = stream.data("targets", PATIENCE).await.expect("an event");
        assert_ne!(now, last);
        last = now;
    }
    assert_ne!(page().await, shared);
}
