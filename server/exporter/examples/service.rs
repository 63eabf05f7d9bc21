//! A WebSocket echo service whose gauges are true: `cargo run --example service -- 127.0.0.1:3000 127.0.0.1:9090`.

use axum::extract::{ConnectInfo, State, WebSocketUpgrade, ws::Message};
use axum::{response::Response, routing::get};
use exporter::listener::{self, CountedListener, Peer};
use exporter::sessions::{self, Sessions};
use exporter::{Registry, http, management::Management, process};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [public, private] = [1, 2].map(|place| std::env::args().nth(place).unwrap_or_default());
    let registry = Registry::new(&[http::CATALOGUE, listener::CATALOGUE, sessions::CATALOGUE])?;
    process::show(&registry);
    let sessions = Sessions::new(&registry);
    let management = Management::new(&registry).sessions(&sessions).router();
    let service = http::Routes::new()
        .route("/", get(async || "hello\n"))
        .route("/v1/gateway", get(gateway))
        .map(|router| router.with_state(sessions))
        .measure(&registry)?;
    let clients = CountedListener::new(TcpListener::bind(public).await?, &registry);
    let scrapes = TcpListener::bind(private).await?;
    tokio::try_join!(
        axum::serve(
            clients,
            service.into_make_service_with_connect_info::<Peer>()
        )
        .into_future(),
        axum::serve(scrapes, management).into_future(),
    )?;
    Ok(())
}

async fn gateway(
    upgrade: WebSocketUpgrade,
    State(sessions): State<Sessions>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
) -> Response {
    upgrade.on_upgrade(async move |mut socket| {
        let _session = sessions.enter(peer);
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_)) && socket.send(message).await.is_err() {
                break;
            }
        }
    })
}
