//! The relay under test: the server as a process of its own, its accounts, clients and metrics.
//!
//! It speaks to the server as users do: over its ports. Rude clients are plain sockets, because no
//! WebSocket library would do what they do.

mod client;

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

pub use client::{Client, read_head, reset};

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

    /// Starts a server whose public port is on another address than the loopback's.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_on(
        address: impl Into<IpAddr>,
        directory: &Path,
        flags: &[String],
    ) -> Result<Self> {
        let public = SocketAddr::new(address.into(), 0);
        let mut command = Command::new(process::binary("server")?);
        command
            .arg(format!("--public-address={public}"))
            .args(["--management-address=127.0.0.1:0", "--data-dir"])
            .arg(directory)
            .args(flags);
        Self::of(Process::start(&mut command)?).await
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

    /// Begins the upload of an attachment on a plain socket; `lines` of the head say how long the body is,
    /// and `body` is what is sent of it.
    ///
    /// # Errors
    /// The server does not take it.
    pub async fn start_upload(
        &self,
        account: &Account,
        lines: &str,
        body: &[u8],
    ) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.public).await?;
        let head = format!(
            "POST /v1/attachments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{lines}\r\n",
            account.token
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
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
        // The rest of the page is not parsed: a wait asks often.
        let family = ["_bucket", "_count", "_sum"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix));
        let family = family.unwrap_or(name);
        let probe = async || {
            let page = self.inspect("/metrics").await?;
            let text = String::from_utf8(page.body.into())?;
            let lines = text.lines().filter(|line| line.contains(family));
            Page::parse(lines.collect::<Vec<_>>().join("\n"))?.value(name, labels)
        };
        wait::until_equal(&format!("{name}{labels:?}"), BOUND, value, probe).await
    }
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
