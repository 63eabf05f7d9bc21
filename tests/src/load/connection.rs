//! One connection: opened, held by a task of its own that hears what the peer says, and ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use super::{Counts, Ending, Kind, Sources, Target};

/// A handshake or a close that takes longer is a failure.
const BOUND: Duration = Duration::from_secs(10);

/// The longest head of an answer.
const HEAD_LIMIT: usize = 64 * 1024;

/// A connection that is held.
#[derive(Debug)]
pub(super) struct Connection {
    end: oneshot::Sender<Ending>,
    holder: JoinHandle<()>,
}

enum Stream {
    Plain(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Connection {
    /// Opens it and books it.
    pub(super) async fn open(
        target: &Target,
        sources: &Sources,
        kind: Kind,
        counts: &Arc<Counts>,
    ) -> Result<Self> {
        let opening = tokio::time::timeout(BOUND, handshake(target, sources, kind));
        let opened = match opening.await {
            Ok(opened) => opened,
            Err(_) => Err(anyhow::anyhow!("not open after {BOUND:?}")),
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                counts.failed.fetch_add(1, Ordering::SeqCst);
                return Err(error);
            }
        };
        counts.opened.fetch_add(1, Ordering::SeqCst);
        let (end, ending) = oneshot::channel();
        let holder = tokio::spawn(hold(stream, ending, Arc::clone(counts)));
        Ok(Self { end, holder })
    }

    /// Ends it; returns when its socket is closed.
    pub(super) async fn end(self, ending: Ending) {
        // It fails where the peer was first: that is booked already.
        let _ = self.end.send(ending);
        let _ = self.holder.await;
    }
}

async fn handshake(target: &Target, sources: &Sources, kind: Kind) -> Result<Stream> {
    let mut stream = sources.connect().await?;
    stream.set_nodelay(true).context("set TCP_NODELAY")?;
    Ok(match kind {
        Kind::Tcp => Stream::Plain(stream),
        Kind::Http => {
            request(target, &mut stream).await?;
            Stream::Plain(stream)
        }
        Kind::WebSocket => {
            let url = format!("ws://{}{}", target.address, target.path);
            let mut request = url.into_client_request().context("make the request")?;
            for (name, value) in &target.headers {
                request.headers_mut().insert(
                    HeaderName::try_from(name).context("a header's name")?,
                    HeaderValue::try_from(value).context("a header's value")?,
                );
            }
            let (socket, _) = tokio_tungstenite::client_async(request, stream)
                .await
                .context("upgrade to WebSocket")?;
            Stream::WebSocket(Box::new(socket))
        }
    })
}

/// Sends a request and reads its answer, so that the connection is idle after it.
async fn request(target: &Target, stream: &mut TcpStream) -> Result<()> {
    let Target {
        address,
        path,
        headers,
    } = target;
    let mut text = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    stream
        .write_all(text.as_bytes())
        .await
        .context("send the request")?;

    let mut answer = Vec::new();
    let head = loop {
        let read = stream
            .read_buf(&mut answer)
            .await
            .context("read the head")?;
        ensure!(read > 0, "the peer closed before it answered");
        if let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        ensure!(answer.len() < HEAD_LIMIT, "the answer's head has no end");
    };
    let length = content_length(&String::from_utf8_lossy(&answer[..head]));
    while answer.len() < head + length {
        let read = stream
            .read_buf(&mut answer)
            .await
            .context("read the body")?;
        ensure!(read > 0, "the peer closed inside its answer");
    }
    Ok(())
}

fn content_length(head: &str) -> usize {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Hears the peer until it is told to end or the peer ends; a dropped crowd ends by FIN.
async fn hold(mut stream: Stream, end: oneshot::Receiver<Ending>, counts: Arc<Counts>) {
    let ending = tokio::select! {
        ending = end => Some(ending.unwrap_or(Ending::Fin)),
        () = stream.hear() => None,
    };
    match ending {
        Some(Ending::Clean) => {
            // A peer that does not answer the close within the bound is closed on.
            let _ = tokio::time::timeout(BOUND, stream.say_goodbye()).await;
        }
        Some(Ending::Reset) => {
            // Linger 0: close sends a RST. It fails only on a socket that has ended.
            let _ = SockRef::from(stream.socket()).set_linger(Some(Duration::ZERO));
        }
        Some(Ending::Fin) | None => {}
    }
    drop(stream);
    counts.ended(ending);
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::WebSocket(socket) => socket.get_ref(),
        }
    }

    /// Reads, and answers pings, until the peer ends.
    async fn hear(&mut self) {
        match self {
            Self::Plain(stream) => {
                let mut buffer = [0; 1024];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            }
            Self::WebSocket(socket) => while let Some(Ok(_)) = socket.next().await {},
        }
    }

    /// What the protocol has before the socket is closed.
    async fn say_goodbye(&mut self) {
        if let Self::WebSocket(socket) = self
            && socket.close(None).await.is_ok()
        {
            self.hear().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_a_body_is_read_from_any_spelling() {
        let check = |head, expected| assert_eq!(content_length(head), expected);
        check("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n", 12);
        check("HTTP/1.1 200 OK\r\ncontent-length:7\r\n\r\n", 7);
        check("HTTP/1.1 204 No Content\r\n\r\n", 0);
    }
}
