//! Listening sockets and the accept loop of both ports.
//!
//! Knows TCP options, limits on headers and connections, and how a stop reaches HTTP connections.
//! Deliberately does not know what is served, nor what becomes of a connection after an upgrade.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
pub(crate) use exporter::listener::Peer;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tower::{Service, ServiceExt as _};
use web_config::{Guard, Stream};

use crate::metrics_service::{MetricsService, Port};

/// Largest request head: hyper's smallest read buffer; more than that is answered 431.
const HEAD_LIMIT: usize = 8 * 1024;
/// Most header lines in a request; more than that is answered 431.
const HEADERS_LIMIT: usize = 64;

/// Why a port cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}{}", likely_cause(.source))]
pub struct BindError {
    address: SocketAddr,
    source: io::Error,
}

fn likely_cause(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (another process listens there: `ss -ltnp` names it)",
        io::ErrorKind::PermissionDenied => " (ports below 1024 need CAP_NET_BIND_SERVICE)",
        io::ErrorKind::AddrNotAvailable => " (this host has no such address)",
        _ => "",
    }
}

/// Opens a listening socket; an unspecified IPv6 address serves IPv4 as well.
///
/// # Errors
/// When the address is taken, forbidden or not this host's.
pub(crate) fn bind(address: SocketAddr, backlog: i32) -> Result<TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        // A restart must not wait for the former process's connections in TIME_WAIT.
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| BindError { address, source })
}

/// What one port allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at once; further ones wait in the accept queue.
    pub(crate) connections: usize,
    /// Longest time for a request's head, and for an idle keep-alive connection.
    pub(crate) header_timeout: Duration,
    /// Longest time that sent bytes may stay unacknowledged.
    pub(crate) user_timeout: Duration,
}

/// What answers requests.
pub(crate) trait Answerer:
    Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
}

impl<S> Answerer for S where
    S: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static
{
}

/// Accepts connections for `service`, of those whom `guard` lets in, until `stop` says so.
///
/// Each HTTP connection holds a receiver of `stop` until its last request is answered, so the
/// sender's `closed` waits for all of them. Upgraded connections are no longer HTTP.
pub(crate) async fn serve(
    listener: TcpListener,
    service: impl Answerer,
    guard: Option<Guard>,
    limits: Limits,
    port: Port,
    metrics: Arc<MetricsService>,
    mut stop: watch::Receiver<bool>,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS_LIMIT);
    let mut listener = metrics.listener(listener, port, limits.connections);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => break,
        };
        configure(stream.get_ref(), limits.user_timeout);
        let peer = Peer::from(peer);
        let answerer = service.clone();
        let service = service_fn(move |request| answer(answerer.clone(), peer, request));
        let (http, guard) = (http.clone(), guard.clone());
        let (mut stop, metrics) = (stop.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
            let stream = match guard {
                None => Stream::Plain(stream),
                // Kept apart: few connections have a handshake, and the others need no room for it.
                Some(guard) => match Box::pin(guard.accept(stream)).await {
                    Ok(stream) => stream,
                    Err(error) => {
                        metrics.count_connection_error(port, "tls");
                        tracing::debug!(peer = %peer.0, %error, "handshake failed");
                        return;
                    }
                },
            };
            let connection = http.serve_connection(TokioIo::new(stream), service);
            let connection = connection.with_upgrades();
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = &mut connection => result,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                metrics.count_connection_error(port, cause_of(&error));
                tracing::debug!(peer = %peer.0, %error, "connection failed");
            }
        });
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone says stop as well.
    let _ = stop.wait_for(|&is_stopping| is_stopping).await;
}

async fn answer(
    service: impl Answerer,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    service.oneshot(request).await
}

fn configure(stream: &TcpStream, user_timeout: Duration) {
    let options = SockRef::from(stream);
    let set = options.set_tcp_nodelay(true);
    // A connection may be gone before its options are set; its first read will say so.
    if let Err(error) = set.and_then(|()| options.set_tcp_user_timeout(Some(user_timeout))) {
        tracing::debug!(%error, "cannot set a connection's options");
    }
}

/// Why a connection ended before its last request was answered.
fn cause_of(error: &hyper::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_parse() {
        "parse"
    } else if error.is_incomplete_message() || error.is_body_write_aborted() {
        "incomplete"
    } else {
        "io"
    }
}
