//! Clients of the gateway: one as it should be, and what rude ones need.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use socket2::SockRef;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message, protocol::CloseFrame};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::BOUND;

/// A client as it should be.
#[derive(Debug)]
pub struct Client(pub(super) WebSocketStream<MaybeTlsStream<TcpStream>>);

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
