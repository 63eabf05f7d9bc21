//! A client of server-sent events: what a browser's `EventSource` reads, and the comments besides.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::wait;

/// What comes on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event {
        /// Its name.
        name: String,
        /// Its data.
        data: String,
    },
    /// A line that is there to be seen by proxies only.
    Comment(String),
}

/// A stream that is read.
#[derive(Debug)]
pub struct Events {
    /// The status of the answer.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    body: Incoming,
    text: String,
    items: VecDeque<Item>,
}

impl Events {
    /// Opens `url`; any status is an answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn open(url: &str) -> Result<Self> {
        let uri: Uri = url.parse().context("parse the URL")?;
        let authority = uri.authority().context("the URL has no host")?.as_str();
        let stream = TcpStream::connect(authority).await.context("connect")?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .context("start HTTP")?;
        tokio::spawn(connection);
        let request = Request::get(uri.path())
            .header(header::HOST, authority)
            .header(header::ACCEPT, "text/event-stream")
            .body(Empty::<Bytes>::new())
            .context("make the request")?;
        let response = sender.send_request(request).await.context("send")?;
        let (head, body) = response.into_parts();
        Ok(Self {
            status: head.status,
            headers: head.headers,
            body,
            text: String::new(),
            items: VecDeque::new(),
        })
    }

    /// What comes next; nothing where the stream has ended as it should.
    ///
    /// # Errors
    /// Nothing comes within `bound`, or the connection breaks off.
    pub async fn next(&mut self, bound: Duration) -> Result<Option<Item>> {
        let bound = bound * wait::slowness();
        let next = tokio::time::timeout(bound, self.read()).await;
        next.with_context(|| format!("nothing came in {bound:?}"))?
    }

    /// The data of the next event of this name, whatever comes before it.
    ///
    /// # Errors
    /// It does not come within `bound`, or the stream ends.
    pub async fn data(&mut self, event: &str, bound: Duration) -> Result<String> {
        loop {
            match self.next(bound).await? {
                Some(Item::Event { name, data }) if name == event => return Ok(data),
                Some(_) => {}
                None => bail!("the stream ended"),
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            let Ok(data) = frame.context("the stream broke off")?.into_data() else {
                continue;
            };
            self.text.push_str(std::str::from_utf8(&data)?);
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                self.items.extend(parse(block));
                self.text = rest.to_owned();
            }
        }
    }
}

/// The fields of an event, as the HTML standard has them.
fn parse(block: &str) -> Option<Item> {
    let (mut name, mut data) = (String::from("message"), Vec::new());
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => return Some(Item::Comment(value.to_owned())),
            "event" => value.clone_into(&mut name),
            "data" => data.push(value),
            _ => {}
        }
    }
    let data = data.join("\n");
    (!data.is_empty()).then_some(Item::Event { name, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_parsed_by_its_fields() {
        let event = |name: &str, data: &str| Item::Event {
            name: name.into(),
            data: data.into(),
        };
        assert_eq!(parse("event: a\ndata: b"), Some(event("a", "b")));
        assert_eq!(parse("data:b\ndata: c"), Some(event("message", "b\nc")));
        assert_eq!(parse(":"), Some(Item::Comment(String::new())));
        assert_eq!(parse("retry: 3"), None);
    }
}
