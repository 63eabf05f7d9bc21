//! The demo's clients: real WebSockets and kept-alive HTTP connections, on plain threads.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use socket2::SockRef;
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Error, WebSocket};
use ureq::Agent;

/// A handshake that takes longer has failed.
const BOUND: Duration = Duration::from_secs(10);

/// Connections that are held open.
pub(crate) struct Crowd {
    port: u16,
    websockets: Vec<WebSocket<TcpStream>>,
    kept_alive: Vec<TcpStream>,
}

impl Crowd {
    /// Nobody yet, to the service on `port`.
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            websockets: Vec::new(),
            kept_alive: Vec::new(),
        }
    }

    /// Opens WebSockets with an account's token.
    pub(crate) fn open_websockets(&mut self, count: usize, token: &str) -> Result<()> {
        for opened in 0..count {
            let socket = self
                .open_websocket(token)
                .with_context(|| format!("open WebSocket {} of {count}", opened + 1))?;
            self.websockets.push(socket);
        }
        Ok(())
    }

    fn open_websocket(&self, token: &str) -> Result<WebSocket<TcpStream>> {
        let url = format!("ws://127.0.0.1:{}/v1/gateway", self.port);
        let mut request = url.into_client_request().context("make the request")?;
        let value = HeaderValue::try_from(format!("Bearer {token}")).context("the token")?;
        request.headers_mut().insert("authorization", value);
        let (socket, _) = tungstenite::client(request, self.connect()?)
            .map_err(|error| anyhow::anyhow!("the upgrade failed: {error}"))?;
        socket
            .get_ref()
            .set_nonblocking(true)
            .context("make it non-blocking")?;
        Ok(socket)
    }

    /// Opens connections that have had one answer and stay.
    pub(crate) fn open_kept_alive(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let mut stream = self.connect()?;
            let request = format!("GET / HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n\r\n", self.port);
            stream
                .write_all(request.as_bytes())
                .context("send a request")?;
            let mut answer = [0; 1024];
            let read = stream.read(&mut answer).context("read an answer")?;
            ensure!(
                answer[..read].starts_with(b"HTTP/1.1 "),
                "the answer is not HTTP"
            );
            self.kept_alive.push(stream);
        }
        Ok(())
    }

    fn connect(&self) -> Result<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).context("connect")?;
        stream
            .set_read_timeout(Some(BOUND))
            .context("set a timeout")?;
        Ok(stream)
    }

    /// Aborts WebSockets: no close frame, no FIN, a RST.
    pub(crate) fn abort(&mut self, count: usize) -> Result<()> {
        for socket in self.websockets.drain(..count) {
            SockRef::from(socket.get_ref())
                .set_linger(Some(Duration::ZERO))
                .context("set linger to 0")?;
        }
        Ok(())
    }

    /// Hears what has come, which answers pings: a server drops clients that do not.
    pub(crate) fn hear(&mut self) -> Result<()> {
        for socket in &mut self.websockets {
            loop {
                match socket.read() {
                    Ok(_) => {}
                    Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("the service ended a WebSocket"),
                }
            }
        }
        Ok(())
    }
}

/// Opens an account at the server and returns its token.
pub(crate) fn open_account(client: &Agent, port: u16) -> Result<String> {
    let url = format!("http://127.0.0.1:{port}/v1/accounts");
    let mut answer = client
        .post(&url)
        .send_empty()
        .with_context(|| format!("POST {url}"))?;
    let text = answer
        .body_mut()
        .read_to_string()
        .context("read the account")?;
    ensure!(
        answer.status() == 201,
        "POST {url}: {}: {text}",
        answer.status()
    );
    let account: serde_json::Value = serde_json::from_str(&text).context("parse the account")?;
    let token = account.get("token").and_then(|token| token.as_str());
    Ok(token.context("the account has no token")?.to_owned())
}
