//! Clients whose network is gone: no FIN, no RST, only silence.

use std::time::{Duration, Instant};

use tests::cable::{self, Cable};
use tests::relay::{BOUND, Relay};

const CLIENTS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_network_is_gone_is_ended_by_its_ping() {
    if let Some(obstacle) = cable::obstacle() {
        return tests::skip(&obstacle);
    }
    let cable = Cable::lay().await.unwrap();
    let (ping, pong) = (Duration::from_millis(1000), Duration::from_millis(500));
    let data = tempfile::tempdir().unwrap();
    let flags = [
        "--ping-interval=1s".to_owned(),
        "--pong-timeout=500ms".to_owned(),
    ];
    let relay = Relay::start_on(cable.here, data.path(), &flags)
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    // A client of this machine stays throughout.
    let bystander = relay.account().await.unwrap();
    let mut stays = relay.connect(&bystander).await.unwrap();
    tokio::spawn(async move { stays.read_to_end().await });
    let arguments = [
        format!("--address={}", relay.public),
        "--kind=websocket".to_owned(),
        format!("--count={CLIENTS}"),
        format!("--bearer={}", account.token),
    ];
    let mut crowd = cable.spawn_there("crowd", &arguments).unwrap();
    crowd.wait_for_log("open", BOUND).await.unwrap();
    let all = CLIENTS as f64 + 1.0;
    relay.expect("active_connections", &[], all).await.unwrap();

    let pulled = Instant::now();
    cable.pull().unwrap();
    let id = relay.send(&bystander, &account, "x").await.unwrap();
    relay.expect("active_connections", &[], 1.0).await.unwrap();
    let took = pulled.elapsed();
    // And no more than a busy machine adds.
    assert!(took < ping + pong + Duration::from_secs(3), "{took:?}");
    let timeouts = [("reason", "ping_timeout")];
    relay
        .expect("ws_sessions_closed_total", &timeouts, CLIENTS as f64)
        .await
        .unwrap();
    // The sockets follow, though the kernel still waits for what it sent to be acknowledged.
    relay
        .expect("http_open_connections", &[("port", "public")], 1.0)
        .await
        .unwrap();
    for queue in ["outbound", "ack"] {
        relay
            .expect("channel_queue_depth", &[("type", queue)], 0.0)
            .await
            .unwrap();
    }
    // What was written into the void is not lost.
    let mut again = relay.connect(&account).await.unwrap();
    assert_eq!(again.receive().await.unwrap()["id"], id);
}
