//! Gauges that are not told of an end, or are told twice.

use futures_util::{SinkExt as _, StreamExt as _};
use tests::load::Ending;
use tokio_tungstenite::tungstenite::Message;

use super::scene::{GATEWAY, Scene};

#[tokio::test]
async fn no_decrement_on_abort() {
    let Some(scene) = Scene::start("no_decrement_on_abort").await else {
        return;
    };
    let mut crowd = scene.crowd(20).await;
    scene.agrees(20).await;
    crowd.end(5, Ending::Clean).await;
    scene.agrees(15).await;

    crowd.end(4, Ending::Reset).await;
    scene.is_caught("over", 4, "staircase_up").await;
    crowd.end(3, Ending::Fin).await;
    scene.is_caught("over", 7, "staircase_up").await;
}

#[tokio::test]
async fn the_reasoning_is_told_by_the_api_and_by_check() {
    let Some(scene) = Scene::start("no_decrement_on_abort").await else {
        return;
    };
    let mut crowd = scene.crowd(9).await;
    scene.agrees(9).await;
    crowd.end(6, Ending::Reset).await;
    scene.is_caught("over", 6, "staircase_up").await;

    let report = scene.report().await.expect("the report");
    let reasoning = &report["reasoning"];
    let expected = [
        ("claim", 9),
        ("low", 3),
        ("high", 3),
        ("own_low", 6),
        ("own_high", 6),
        ("together_low", 6),
        ("together_high", 6),
        ("confirm", 2),
    ];
    for (key, value) in expected {
        assert_eq!(reasoning[key], value, "{key}: {report:#}");
    }
    assert_eq!(reasoning["rule"], "confirmed");
    for end in ["before", "after"] {
        let counts = &reasoning[end];
        let of = |key: &str| counts[key].as_i64().expect("a count");
        assert_eq!(
            (of("opened"), of("ended"), of("closed")),
            (9, 6, 6),
            "{report:#}"
        );
    }
    // RFC 3339 in one zone: earlier is less.
    assert!(reasoning["begins"].as_str() < report["checked_at"].as_str());
    assert!(report["checked_at"].as_str() < reasoning["ends"].as_str());

    // `check` did not see these connections open: three of them may be WebSockets or not.
    let (status, said) = scene.check(&["--verbose"]).await;
    assert_eq!(status, Some(2), "{said}");
    for line in [
        "liar: the gauge says 9, the kernel allows 0 to 3: over by at least 6",
        "doubtful 3 less 0",
        "  kernel    0 to 3\n",
        "  claim     9\n",
        "  drift     6 to 9 by this check\n",
        "  rule      confirmed: enough checks have shown the drift",
    ] {
        assert!(said.contains(line), "no {line:?} in\n{said}");
    }
}

/// Sends `words` to each of so many sessions and waits until the server has gone.
async fn provoke(scene: &Scene, sessions: usize, words: &str) {
    for _ in 0..sessions {
        let mut socket = scene.websocket(GATEWAY).await.expect("a session");
        socket.send(Message::text(words)).await.expect("send");
        while let Some(Ok(_)) = socket.next().await {}
    }
}

#[tokio::test]
async fn no_decrement_on_panic() {
    let Some(scene) = Scene::start("no_decrement_on_panic").await else {
        return;
    };
    let mut crowd = scene.crowd(12).await;
    crowd.end(2, Ending::Reset).await;
    scene.agrees(10).await;
    provoke(&scene, 3, "not a number").await;
    scene.is_caught("over", 3, "staircase_up").await;
    provoke(&scene, 2, "").await;
    scene.is_caught("over", 5, "staircase_up").await;
}

#[tokio::test]
async fn no_decrement_on_early_return() {
    let Some(scene) = Scene::start("no_decrement_on_early_return").await else {
        return;
    };
    let mut crowd = scene.crowd(12).await;
    crowd.end(2, Ending::Fin).await;
    scene.agrees(10).await;
    provoke(&scene, 4, "quit").await;
    scene.is_caught("over", 4, "staircase_up").await;
}

#[tokio::test]
async fn no_decrement_after_the_upgrade_leaves_http() {
    let Some(scene) = Scene::start("no_decrement_after_upgrade").await else {
        return;
    };
    let mut crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    crowd.end(3, Ending::Clean).await;
    scene.is_caught("over", 3, "staircase_up").await;
    crowd.end(3, Ending::Clean).await;
    scene.is_caught("over", 6, "staircase_up").await;
}

#[tokio::test]
async fn decrement_on_a_rejected_upgrade() {
    let Some(scene) = Scene::start("decrement_on_rejection").await else {
        return;
    };
    let mut crowd = scene.crowd(10).await;
    scene.agrees(10).await;
    let rejected = format!("{GATEWAY}?origin=elsewhere");
    scene.refused(&rejected, 3).await;
    scene.is_caught("under", -3, "staircase_down").await;
    crowd.end(9, Ending::Clean).await;
    // One is open: the gauge is below nothing.
    scene.refused(&rejected, 1).await;
    scene.is_caught("under", -4, "staircase_down").await;
}

#[tokio::test]
async fn double_decrement_on_error_then_close() {
    let Some(scene) = Scene::start("double_decrement_on_error").await else {
        return;
    };
    let mut crowd = scene.crowd(12).await;
    crowd.end(2, Ending::Clean).await;
    scene.agrees(10).await;
    crowd.end(2, Ending::Reset).await;
    scene.is_caught("under", -2, "staircase_down").await;
    crowd.end(4, Ending::Reset).await;
    scene.is_caught("under", -6, "staircase_down").await;
}
