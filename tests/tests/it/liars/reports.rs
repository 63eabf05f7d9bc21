//! Bugs that were reported of public projects, each with the report that it is modelled on. Those of
//! the same kind as another liar's have no test here: docs/DRIFT.md lists them all.

use anyhow::ensure;
use futures_util::SinkExt as _;
use tests::load::{Ending, Kind};
use tests::wait;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::others::order;
use super::scene::{BOUND, Scene};

/// pingcap/tidb#54428, grpc/grpc-java#7625, reactor/reactor-netty#2940.
#[tokio::test]
async fn health_checks_are_counted_down_and_were_never_counted_up() {
    let Some(scene) = Scene::start("counts_after_handshake").await else {
        return;
    };
    let _crowd = scene.crowd(6).await;
    scene.agrees(6).await;
    check_health(&scene, 4).await;
    scene.is_caught("under", -4, "staircase_down").await;
    // Below nothing.
    check_health(&scene, 5).await;
    scene.is_caught("under", -9, "staircase_down").await;
    let report = scene.report().await.expect("a report");
    let sentence = report["sentence"].as_str().expect("a sentence");
    assert!(
        sentence.contains("is negative, which no number of connections is"),
        "{sentence}"
    );
}

async fn check_health(scene: &Scene, times: usize) {
    for _ in 0..times {
        let stream = TcpStream::connect(scene.public).await;
        drop(stream.expect("it is healthy"));
    }
}

/// reactor/reactor-netty#2619.
#[tokio::test]
async fn a_client_that_leaves_before_the_last_answer_is_never_counted_down() {
    let liar = "decrement_at_last_write";
    let Some(scene) = Scene::start_with(liar, &[], "established").await else {
        return;
    };
    let mut crowd = scene.crowd_at(scene.public, Kind::Tcp, 9).await;
    scene.agrees(9).await;
    crowd.end(2, Ending::Fin).await;
    scene.agrees(7).await;
    crowd.end(3, Ending::Reset).await;
    scene.is_caught("over", 3, "staircase_up").await;
}

/// emqx/emqx#6404.
#[tokio::test]
async fn of_clients_with_one_name_only_one_is_counted_down() {
    let Some(scene) = Scene::start("counts_names").await else {
        return;
    };
    let mut crowd = scene.crowd(8).await;
    scene.agrees(8).await;
    crowd.end(4, Ending::Clean).await;
    scene.is_caught("over", 3, "staircase_up").await;
}

/// apache/trafficserver#5967.
#[tokio::test]
async fn a_proxy_s_own_connections_are_counted_as_clients() {
    let liar = "counts_both_directions";
    let Some(scene) = Scene::start_with(liar, &[], "established").await else {
        return;
    };
    scene.agrees(0).await;
    let _crowd = scene.crowd_at(scene.public, Kind::Http, 5).await;
    scene.is_caught("over", 5, "rises_with_openings").await;
}

/// haproxy/haproxy#151.
#[tokio::test]
async fn each_reading_of_the_gauge_is_counted_and_never_counted_down() {
    let Some(scene) = Scene::start("counts_its_readers").await else {
        return;
    };
    let _crowd = scene.crowd(5).await;
    let caught = wait::until("over", BOUND, async || {
        let report = scene.report().await?;
        let is_it = report["verdict"] == "over" && report["shape"] == "rises_with_readings";
        ensure!(is_it, "{report:#}");
        Ok(report)
    });
    let report = caught.await.expect("it is caught");
    assert_eq!((&report["low"], &report["high"]), (&5.into(), &5.into()));
    scene.is_in_the_table("over by one more at each check", "rises_with_readings");
}

/// istio/istio#52060.
#[tokio::test]
async fn what_is_reported_when_it_ends_is_never_open() {
    let Some(scene) = Scene::start("counts_at_close").await else {
        return;
    };
    let mut crowd = scene.crowd(7).await;
    scene.is_caught_by("under", -7).await;
    crowd.end(3, Ending::Clean).await;
    scene.is_caught_by("under", -4).await;
    scene.is_in_the_table("under by 4", "");
}

/// golang/go#43585.
#[tokio::test]
async fn what_is_taken_over_from_the_http_server_is_no_longer_counted() {
    let liar = "hijacked_is_terminal";
    let Some(scene) = Scene::start_with(liar, &[], "established").await else {
        return;
    };
    let _kept = scene.crowd_at(scene.public, Kind::Http, 5).await;
    scene.agrees(5).await;
    let _crowd = scene.crowd(6).await;
    scene.is_caught("under", -6, "constant_offset").await;
}

/// ClickHouse/ClickHouse#33864.
#[tokio::test]
async fn idle_connections_are_not_counted() {
    let Some(scene) = Scene::start_with("counts_busy_only", &[], "established").await else {
        return;
    };
    let _busy = scene.crowd(4).await;
    scene.agrees(4).await;
    let _idle = scene.crowd_at(scene.public, Kind::Http, 7).await;
    scene.is_caught("under", -7, "constant_offset").await;
}

/// prometheus/client_python#115.
#[tokio::test]
async fn a_killed_worker_stays_in_the_sum() {
    let Some(scene) = Scene::start("dead_worker_stays").await else {
        return;
    };
    let _killed = scene.crowd(5).await;
    scene.agrees(5).await;
    order(&scene, "kill").await;
    scene.is_caught("over", 5, "staircase_up").await;
    let _crowd = scene.crowd(3).await;
    scene.is_caught("over", 5, "staircase_up").await;
}

/// StarRocks/starrocks#54587.
#[tokio::test]
async fn a_series_below_nothing_is_named_where_the_sum_is_right() {
    let Some(scene) = Scene::start("label_changed").await else {
        return;
    };
    let _crowd = scene.crowd(4).await;
    scene.agrees(4).await;
    let mut changes = scene.websocket(super::scene::GATEWAY).await.expect("open");
    let somebody = Message::text("I am somebody");
    changes.send(somebody).await.expect("it hears");
    changes.close(None).await.expect("it ends");
    drop(changes);
    let said = wait::until("what is negative", BOUND, async || {
        let report = scene.report().await?;
        let sentence = report["sentence"].as_str().unwrap_or_default();
        let is_named = sentence.contains("user=\"somebody\"") && sentence.contains("is negative");
        ensure!(is_named && report["verdict"] == "agree", "{report:#}");
        Ok(())
    });
    said.await.expect("it is said");
    scene.is_in_the_table("agree; the negative series is named", "");
}
