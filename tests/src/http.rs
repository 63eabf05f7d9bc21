//! Plain HTTP for tests: one request on a connection of its own, the answer read whole.
//!
//! Connections that are part of a test's traffic are `load`'s.

use std::time::Duration;

use anyhow::{Context as _, Result};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Long enough for a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(10);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body, as text.
    pub body: String,
}

/// Fetches `url`; any status is an answer.
///
/// # Errors
/// There was no complete answer within ten seconds.
pub async fn get(url: &str) -> Result<Answer> {
    send(Method::GET, url, &[], String::new()).await
}

/// Asks for `url` by any method, with headers of the test's; any status is an answer.
///
/// # Errors
/// There was no complete answer within ten seconds.
pub async fn request(method: Method, url: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    send(method, url, headers, String::new()).await
}

/// Posts `body` as JSON; any status is an answer.
///
/// # Errors
/// There was no complete answer within ten seconds.
pub async fn post(url: &str, body: &serde_json::Value) -> Result<Answer> {
    send(Method::POST, url, &[], body.to_string()).await
}

async fn send(method: Method, url: &str, headers: &[(&str, &str)], body: String) -> Result<Answer> {
    let doing = format!("{method} {url}");
    tokio::time::timeout(BOUND, exchange(method, url, headers, body))
        .await
        .with_context(|| format!("{doing}: no answer in {BOUND:?}"))?
        .context(doing)
}

async fn exchange(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: String,
) -> Result<Answer> {
    let uri: Uri = url.parse().context("parse the URL")?;
    let authority = uri.authority().context("the URL has no host")?.as_str();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let mut request = Request::builder();
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request
        .method(method)
        .uri(path)
        .header(header::HOST, authority)
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .context("make the request")?;

    let stream = TcpStream::connect(authority).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("start HTTP")?;
    // The connection ends by itself once the answer is read: `Connection: close`.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.context("send")?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.context("read the body")?.to_bytes();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.into()).context("the body is not UTF-8")?,
    })
}
