//! The relay under test: the server as a process of its own, its accounts, clients and metrics.
//!
//! It speaks to the server as users do: over its ports. Rude clients are plain sockets, because no
//! WebSocket library would do what they do.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use socket2::SockRef;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{
    self, Message, client::IntoClientRequest as _, protocol::CloseFrame,
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::process::{self, Process};
use crate::scrape::{self, Page};
use crate::wait;

/// Long enough for a machine that is busy with other tests; nothing should take nearly as long.
pub const BOUND: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub struct Relay {
    /// The server's process.
    pub process: Process,
    /// Its public address.
    pub public: SocketAddr,
    /// Its management address.
    pub management: SocketAddr,
    /// Its data, where the test did not bring a directory.
    pub data: Option<TempDir>,
}

/// An account, as its owner knows it.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its id.
    pub id: String,
    /// Its bearer token.
    pub token: String,
}

/// What a request was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, whole.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {:?} is no JSON", self.status, self.body))
    }
}

impl Relay {
    /// Starts a server with its own data directory; `flags` are added to its command line.
    ///
    /// # Errors
    /// It is not built, or does not say within twenty seconds where it listens.
    pub async fn start(flags: &[&str]) -> Result<Self> {
        let data = TempDir::new().context("make a data directory")?;
        let mut relay = Self::start_in(data.path(), flags).await?;
        relay.data = Some(data);
        Ok(relay)
    }

    /// Starts a server on the data that is in `directory`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_in(directory: &Path, flags: &[&str]) -> Result<Self> {
        Self::start_with(directory, flags, &[]).await
    }

    /// Starts a server with variables in its environment.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with(
        directory: &Path,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let directory = directory.to_str().context("the data directory's name")?;
        let fixed = [
            "--public-address=127.0.0.1:0",
            "--management-address=127.0.0.1:0",
            "--data-dir",
            directory,
        ];
        let mut command = Command::new(process::binary("server")?);
        command
            .args(fixed.iter().chain(flags))
            .envs(environment.iter().copied());
        Self::of(Process::start(&mut command)?).await
    }

    /// A server that was started, once it says where it listens.
    ///
    /// # Errors
    /// It does not within twenty seconds.
    pub async fn of(mut process: Process) -> Result<Self> {
        let line = process.wait_for_log("listening", BOUND).await?;
        let address = |name: &str| -> Result<SocketAddr> {
            let rest = line
                .split_once(&format!("{name}="))
                .context(line.clone())?
                .1;
            let text = rest.split_whitespace().next().unwrap_or_default();
            text.parse().with_context(|| format!("{name} in {line:?}"))
        };
        Ok(Self {
            public: address("public_address")?,
            management: address("management_address")?,
            process,
            data: None,
        })
    }

    /// Sends a request to the public port and reads the whole answer.
    ///
    /// # Errors
    /// There was no complete answer in time.
    pub async fn request(
        &self,
        method: Method,
        path: &str,
        account: Option<&Account>,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.public.to_string())
            .header(header::CONTENT_TYPE, "application/json");
        let request = match account {
            Some(account) => {
                request.header(header::AUTHORIZATION, format!("Bearer {}", account.token))
            }
            None => request,
        };
        exchange(
            self.public,
            request
                .body(Full::new(body.into()))
                .context("make the request")?,
        )
        .await
        .with_context(|| path.to_owned())
    }

    /// Fetches `path` from the management port.
    ///
    /// # Errors
    /// There was no complete answer in time.
    pub async fn inspect(&self, path: &str) -> Result<Answer> {
        let request = http::Request::get(path).header(header::HOST, self.management.to_string());
        exchange(
            self.management,
            request.body(Full::default()).context("make the request")?,
        )
        .await
        .with_context(|| path.to_owned())
    }

    /// Creates an account.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn account(&self) -> Result<Account> {
        let answer = self.request(Method::POST, "/v1/accounts", None, "").await?;
        ensure!(answer.status == StatusCode::CREATED, "{answer:?}");
        let account = answer.json()?;
        let field = |name: &str| {
            account[name]
                .as_str()
                .map(str::to_owned)
                .context(name.to_owned())
        };
        Ok(Account {
            id: field("id")?,
            token: field("token")?,
        })
    }

    /// Sends a message and returns its id.
    ///
    /// # Errors
    /// It was not accepted.
    pub async fn send(&self, from: &Account, to: &Account, body: &str) -> Result<String> {
        let message = serde_json::json!({"to": to.id, "body": body});
        let answer = self.post(from, &message).await?;
        ensure!(answer.status == StatusCode::ACCEPTED, "{answer:?}");
        answer.json()?["id"]
            .as_str()
            .map(str::to_owned)
            .context("an id")
    }

    /// Posts a message as it is.
    ///
    /// # Errors
    /// There was no complete answer in time.
    pub async fn post(&self, from: &Account, message: &Value) -> Result<Answer> {
        self.request(
            Method::POST,
            "/v1/messages",
            Some(from),
            message.to_string(),
        )
        .await
    }

    /// Opens a WebSocket.
    ///
    /// # Errors
    /// The handshake is refused.
    pub async fn connect(&self, account: &Account) -> Result<Client> {
        let mut request = format!("ws://{}/v1/gateway", self.public).into_client_request()?;
        let bearer = format!("Bearer {}", account.token).parse()?;
        request.headers_mut().insert(header::AUTHORIZATION, bearer);
        let (socket, _) = timeout(BOUND, connect_async(request)).await??;
        Ok(Client(socket))
    }

    /// Sends the head of a request on a plain socket; `lines` are added to the necessary ones of a
    /// WebSocket handshake.
    ///
    /// # Errors
    /// The server does not take it.
    pub async fn start_handshake(&self, lines: &str) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.public).await?;
        let head = format!(
            "GET /v1/gateway HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n",
            self.public
        );
        stream.write_all(head.as_bytes()).await?;
        Ok(stream)
    }

    /// Opens a WebSocket on a plain socket: the handshake is done, nothing else will be.
    ///
    /// # Errors
    /// The handshake is refused.
    pub async fn connect_rudely(&self, account: &Account) -> Result<TcpStream> {
        let bearer = format!("Authorization: Bearer {}\r\n", account.token);
        let mut stream = self.start_handshake(&bearer).await?;
        let head = read_head(&mut stream).await?;
        ensure!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Ok(stream)
    }

    /// The metrics now.
    ///
    /// # Errors
    /// They cannot be fetched or parsed.
    pub async fn scrape(&self) -> Result<Page> {
        scrape::fetch(&format!("http://{}/metrics", self.management)).await
    }

    /// Waits until a series has exactly this value.
    ///
    /// # Errors
    /// It does not in time.
    pub async fn expect(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Result<()> {
        let probe = async || self.scrape().await?.value(name, labels);
        wait::until_equal(&format!("{name}{labels:?}"), BOUND, value, probe).await
    }
}

/// A client as it should be.
#[derive(Debug)]
pub struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    /// The next text frame as JSON.
    ///
    /// # Errors
    /// The socket ends, or nothing comes in time.
    pub async fn receive(&mut self) -> Result<Value> {
        loop {
            let frame = timeout(BOUND, self.0.next()).await.context("no frame")?;
            match frame.context("the socket has ended")?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("{other:?}"),
            }
        }
    }

    /// Acks a message and waits for the confirmation; returns the frames that came before it.
    ///
    /// A message that comes again was not acked, because the queue of acks was full: it is acked
    /// again.
    ///
    /// # Errors
    /// The confirmation does not come.
    pub async fn ack(&mut self, id: &str) -> Result<Vec<Value>> {
        let ack = serde_json::json!({"type": "ack", "id": id, "confirm": true}).to_string();
        self.write(Message::text(ack.as_str())).await?;
        let mut before = Vec::new();
        loop {
            let frame = self.receive().await?;
            if frame["id"] != id {
                before.push(frame);
            } else if frame["type"] == "acked" {
                return Ok(before);
            } else {
                self.write(Message::text(ack.as_str())).await?;
            }
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The socket has ended.
    pub async fn write(&mut self, frame: Message) -> Result<()> {
        Ok(timeout(BOUND, self.0.send(frame)).await??)
    }

    /// Reads to the end, answering pings; returns the server's close frame, if there was one.
    ///
    /// # Errors
    /// The end does not come in time.
    pub async fn read_to_end(&mut self) -> Result<Option<CloseFrame>> {
        let mut close = None;
        loop {
            match timeout(BOUND, self.0.next()).await.context("no end")? {
                Some(Ok(Message::Close(frame))) => close = frame,
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::Capacity(error))) => bail!(error),
                Some(Err(_)) | None => return Ok(close),
            }
        }
    }

    /// Closes as the protocol has it, and waits for the server's answer.
    ///
    /// # Errors
    /// The answer does not come.
    pub async fn close(mut self) -> Result<()> {
        self.0.close(None).await?;
        self.read_to_end().await?;
        Ok(())
    }
}

/// Makes the end of a socket a RST.
///
/// # Errors
/// The kernel refuses.
pub fn reset(stream: TcpStream) -> Result<()> {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    Ok(())
}

/// Reads the head of a response, and nothing after it.
///
/// # Errors
/// The stream ends within it, or it does not come in time.
pub async fn read_head(stream: &mut TcpStream) -> Result<String> {
    let read =
        async {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.with_context(|| {
                    format!("ended after {:?}", String::from_utf8_lossy(&head))
                })?);
            }
            Ok(String::from_utf8_lossy(&head).into_owned())
        };
    timeout(BOUND, read).await.context("no response head")?
}

async fn exchange(address: SocketAddr, request: http::Request<Full<Bytes>>) -> Result<Answer> {
    let exchange = async {
        let stream = TcpStream::connect(address).await.context("connect")?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends by itself, at the latest when the sender is dropped.
        tokio::spawn(connection);
        let (head, body) = sender
            .send_request(request)
            .await
            .context("send")?
            .into_parts();
        let body = body.collect().await.context("read the body")?.to_bytes();
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    };
    timeout(BOUND, exchange).await.context("no answer")?
}
