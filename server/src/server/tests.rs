//! What becomes of a server of which a part ends: the part is a bus of the test's own.

use std::error::Error as _;

use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Notify,
    task::JoinHandle,
};

use super::*;
use crate::{
    bus::{Event, Heard, Subscription},
    config::{Given, Span},
};

const BOUND: Duration = Duration::from_secs(20);

/// A bus with a bug.
struct Faulty {
    is_publishing_fatal: bool,
    /// Ends the subscriptions.
    ends: Arc<Notify>,
}

struct Ending(Arc<Notify>);

impl MessageBus for Faulty {
    fn publish(&self, _: Event) -> BoxFuture<'_, ()> {
        assert!(!self.is_publishing_fatal, "as a bug would");
        Box::pin(std::future::ready(()))
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        Box::new(Ending(Arc::clone(&self.ends)))
    }
}

impl Subscription for Ending {
    fn next(&mut self) -> BoxFuture<'_, Option<Heard>> {
        Box::pin(self.0.notified().map(|()| None))
    }
}

/// A server that runs in this process.
struct Running {
    public: SocketAddr,
    management: SocketAddr,
    run: JoinHandle<Result<(), TaskEnded>>,
    _data: tempfile::TempDir,
}

impl Running {
    async fn start(bus: Faulty) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut config = Given::default().over(Given::default());
        config.public_address = ([127, 0, 0, 1], 0).into();
        config.management_address = ([127, 0, 0, 1], 0).into();
        config.data_dir = data.path().to_owned();
        config.drain_spread = Span::seconds(0);
        // A request that is never complete is held for so long.
        config.drain_timeout = Span::seconds(2);
        let server = Server::start_with(config, |_| Box::new(bus)).await.unwrap();
        Self {
            public: server.public_address(),
            management: server.management_address(),
            run: tokio::spawn(server.run(std::future::pending())),
            _data: data,
        }
    }

    /// Why it ended.
    async fn fault(self) -> TaskEnded {
        let ended = timeout(BOUND, self.run).await.expect("an end").unwrap();
        ended.unwrap_err()
    }
}

async fn open(address: SocketAddr, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// All that is answered, until the server closes.
async fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = timeout(BOUND, stream.read_to_end(&mut answer)).await;
    // A reset after the answer is an end as well.
    drop(read.expect("an end"));
    answer
}

async fn ask(address: SocketAddr, head: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n"
    );
    // A header that the caller adds stands behind the path, in a line of its own.
    let mut stream = open(address, &format!("{request}\r\n{body}")).await;
    String::from_utf8_lossy(&read(&mut stream).await).into_owned()
}

/// Waits until `/readyz` says so; returns all that it says.
async fn until_ready_says(address: SocketAddr, expected: &str) -> String {
    until_says(address, "GET /readyz?verbose", expected).await
}

/// Waits until the management port says so; returns all that it says.
async fn until_says(address: SocketAddr, head: &str, expected: &str) -> String {
    let said = async {
        loop {
            let answer = ask(address, head, "").await;
            if answer.contains(expected) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(BOUND, said).await.expect(expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_panics_ends_the_server_and_its_sessions_are_told() {
    let server = Running::start(Faulty {
        is_publishing_fatal: true,
        ends: Arc::default(),
    })
    .await;
    let (public, management) = (server.public, server.management);
    let ready = until_ready_says(management, "ready ok").await;
    assert!(ready.contains("tasks ok"), "{ready}");
    let created = ask(public, "POST /v1/accounts", "").await;
    let body = created.split_once("\r\n\r\n").unwrap().1;
    let account: serde_json::Value = serde_json::from_str(body).unwrap();
    let (id, token) = (
        account["id"].as_str().unwrap(),
        account["token"].as_str().unwrap(),
    );
    let mut session = open(
        public,
        &format!(
            "GET /v1/gateway HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Authorization: Bearer {token}\r\n\r\n"
        ),
    )
    .await;
    // Holds the drain, so that there is time to look.
    let _unfinished = open(public, "GET /v1/").await;
    let mut greeting = [0; 12];
    session.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"HTTP/1.1 101");

    let message = serde_json::json!({"to": id, "body": "fatal"}).to_string();
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {token}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{message}",
        message.len()
    );
    let mut sent = open(public, &head).await;
    let answer = String::from_utf8_lossy(&read(&mut sent).await).into_owned();
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    let failed = until_ready_says(management, "tasks failed").await;
    assert!(failed.starts_with("HTTP/1.1 503"), "{failed}");
    // A close frame with 1012, service restart.
    let said = read(&mut session).await;
    assert!(
        said.windows(2).any(|two| two == 1012_u16.to_be_bytes()),
        "{said:?}"
    );
    let fault = server.fault().await;
    let said = fault.to_string();
    assert!(
        said.starts_with("the task that stores messages has ended"),
        "{said}"
    );
    let panic = fault.source().unwrap().to_string();
    assert!(panic.contains("as a bug would"), "{panic}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_ends_ends_the_server() {
    let ends = Arc::new(Notify::new());
    let server = Running::start(Faulty {
        is_publishing_fatal: false,
        ends: Arc::clone(&ends),
    })
    .await;
    let _unfinished = open(server.public, "GET /v1/").await;
    // One that is not accepted yet holds nobody up.
    let accepted = "http_open_connections{port=\"public\"} 1";
    until_says(server.management, "GET /metrics", accepted).await;
    ends.notify_one();
    let failed = until_ready_says(server.management, "tasks failed").await;
    assert!(failed.starts_with("HTTP/1.1 503"), "{failed}");
    let said = server.fault().await.to_string();
    assert!(
        said.starts_with("the task that hands messages to the sessions has ended"),
        "{said}"
    );
}
