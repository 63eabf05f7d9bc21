//! Load on the relay: senders that post one message after the other, recipients that ack each.
//!
//! It says one line of JSON: how many messages were acked, in how long, and how long one took from
//! the sender's request to the recipient's ack. A message that was accepted and never came is an
//! error.
#![expect(clippy::print_stdout, reason = "the bench reads what it says")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use futures_util::future::{try_join, try_join_all};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// Nothing takes longer on a machine that works.
const BOUND: Duration = Duration::from_secs(30);

/// Sends and acks.
#[derive(Parser)]
struct Arguments {
    /// The relay's public address.
    #[arg(long)]
    address: SocketAddr,
    /// Accounts that send, each one message at a time.
    #[arg(long)]
    senders: usize,
    /// Accounts that receive, by one WebSocket each; the senders take turns with them.
    #[arg(long)]
    recipients: usize,
    /// For how long messages are sent. Unit: seconds.
    #[arg(long)]
    seconds: u64,
}

struct Account {
    id: String,
    token: String,
}

/// What all of them share.
struct Course {
    began: Instant,
    ends: Instant,
    accepted: AtomicU64,
    /// How many were accepted in all, once it is known.
    total: AtomicU64,
    acked: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut client = Client::connect(arguments.address).await?;
    let mut senders = Vec::new();
    for _ in 0..arguments.senders {
        senders.push((
            client.account().await?,
            Client::connect(arguments.address).await?,
        ));
    }
    let mut recipients = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..arguments.recipients {
        let account = client.account().await?;
        sockets.push(open(arguments.address, &account).await?);
        recipients.push(account.id);
    }
    let began = Instant::now();
    let course = Arc::new(Course {
        began,
        ends: began + Duration::from_secs(arguments.seconds),
        accepted: AtomicU64::new(0),
        total: AtomicU64::new(u64::MAX),
        acked: AtomicU64::new(0),
    });
    let sending = async {
        let all = senders
            .into_iter()
            .enumerate()
            .map(|(index, (account, client))| send(client, account, &recipients, index, &course));
        try_join_all(all).await?;
        let accepted = course.accepted.load(Ordering::Relaxed);
        course.total.store(accepted, Ordering::Relaxed);
        Ok(())
    };
    let receiving = try_join_all(sockets.into_iter().map(|socket| receive(socket, &course)));
    let ((), received) = try_join(sending, receiving).await?;
    let last = received
        .iter()
        .map(|(_, last)| *last)
        .max()
        .unwrap_or(began);
    let mut latencies: Vec<Duration> = received.into_iter().flat_map(|(each, _)| each).collect();
    latencies.sort_unstable();
    let at = |part: usize| latencies.get(latencies.len() * part / 100);
    let acked = course.acked.load(Ordering::Relaxed);
    let report = json!({
        "messages": acked,
        "seconds": (last - began).as_secs_f64(),
        "p50_seconds": at(50).map(Duration::as_secs_f64),
        "p99_seconds": at(99).map(Duration::as_secs_f64),
    });
    println!("{report}");
    Ok(())
}

async fn send(
    mut client: Client,
    from: Account,
    recipients: &[String],
    first: usize,
    course: &Course,
) -> Result<()> {
    let mut turn = first;
    while Instant::now() < course.ends {
        let to = &recipients[turn % recipients.len()];
        turn += 1;
        let sent = course.began.elapsed().as_nanos().to_string();
        let message = json!({ "to": to, "body": sent }).to_string();
        let (status, body) = client
            .post("/v1/messages", Some(&from.token), message)
            .await?;
        ensure!(status == StatusCode::ACCEPTED, "{status}: {body}");
        course.accepted.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Acks until every message that was accepted is acked; returns latencies, and when the last came.
async fn receive(
    mut socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    course: &Course,
) -> Result<(Vec<Duration>, Instant)> {
    let mut latencies = Vec::new();
    let mut last = course.began;
    loop {
        let acked = course.acked.load(Ordering::Relaxed);
        if acked >= course.total.load(Ordering::Relaxed) {
            return Ok((latencies, last));
        }
        // Another recipient may have had the last one: so it looks again now and then.
        let Ok(frame) = timeout(Duration::from_millis(100), socket.next()).await else {
            ensure!(
                course.ends.elapsed() < BOUND,
                "{acked} acked, the rest never came"
            );
            continue;
        };
        let Message::Text(text) = frame.context("the socket has ended")?? else {
            continue;
        };
        let frame: Value = serde_json::from_str(&text).context("parse a frame")?;
        let field = |key| frame[key].as_str().context("a frame without it");
        let sent: u64 = field("body")?.parse().context("not our message")?;
        let ack = json!({ "type": "ack", "id": field("id")? }).to_string();
        socket.send(Message::text(ack)).await.context("ack")?;
        last = Instant::now();
        latencies.push((last - course.began).saturating_sub(Duration::from_nanos(sent)));
        course.acked.fetch_add(1, Ordering::Relaxed);
    }
}

async fn open(
    address: SocketAddr,
    account: &Account,
) -> Result<WebSocketStream<MaybeTlsStream<TcpStream>>> {
    let mut request = format!("ws://{address}/v1/gateway").into_client_request()?;
    let bearer = format!("Bearer {}", account.token).parse()?;
    request.headers_mut().insert(header::AUTHORIZATION, bearer);
    let opened = timeout(BOUND, connect_async(request)).await;
    Ok(opened.context("no upgrade")??.0)
}

/// An HTTP connection that is kept alive.
struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // It ends by itself, at the latest when the sender is dropped.
        tokio::spawn(connection);
        Ok(Self { address, sender })
    }

    async fn post(
        &mut self,
        path: &str,
        token: Option<&str>,
        body: String,
    ) -> Result<(StatusCode, String)> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        self.sender
            .ready()
            .await
            .context("the connection has ended")?;
        let answer = timeout(BOUND, self.sender.send_request(request)).await;
        let answer = answer.context("no answer")?.context("send")?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    async fn account(&mut self) -> Result<Account> {
        let (status, body) = self.post("/v1/accounts", None, String::new()).await?;
        ensure!(status == StatusCode::CREATED, "{status}: {body}");
        let account: Value = serde_json::from_str(&body).context("parse the account")?;
        let field = |key: &str| Some(account.get(key)?.as_str()?.to_owned());
        Ok(Account {
            id: field("id").context("no id")?,
            token: field("token").context("no token")?,
        })
    }
}
