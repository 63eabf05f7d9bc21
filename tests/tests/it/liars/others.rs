//! Gauges whose value is of another time, another process or another world.

use tests::http;
use tests::load::Ending;

use super::scene::Scene;

#[tokio::test]
async fn a_gauge_from_a_stale_cache() {
    let Some(scene) = Scene::start("stale_cache").await else {
        return;
    };
    let mut crowd = scene.crowd(10).await;
    // The cache is filled: from now on it is as old as it gets.
    scene.agrees(10).await;
    crowd.end(4, Ending::Clean).await;
    scene.is_caught("over", 4, "lags").await;
}

#[tokio::test]
async fn the_series_of_one_worker_is_lost() {
    let Some(scene) = Scene::start("one_worker_lost").await else {
        return;
    };
    let _crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    order(&scene, "recycle").await;
    scene.is_caught("under", -5, "reset").await;
}

#[tokio::test]
async fn a_gauge_reset_while_connections_live_on() {
    let Some(scene) = Scene::start("reset_while_open").await else {
        return;
    };
    let _crowd = scene.crowd(9).await;
    scene.agrees(9).await;
    order(&scene, "reload").await;
    scene.is_caught("under", -9, "reset").await;
}

pub(super) async fn order(scene: &Scene, what: &str) {
    let url = format!("http://{}/{what}", scene.management);
    let answer = http::post(&url, &serde_json::Value::Null).await;
    assert_eq!(answer.expect("an answer").status, 200);
}

#[tokio::test]
async fn a_value_carried_over_a_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = [format!("--state={}", folder.path().join("gauge").display())];
    let liar = "carried_over_restart";
    let Some(mut scene) = Scene::start_with(liar, &arguments, "websocket").await else {
        return;
    };
    let _crowd = scene.crowd(6).await;
    scene.agrees(6).await;
    scene.restart().await;
    scene.is_caught("over", 6, "step_at_restart").await;
}
