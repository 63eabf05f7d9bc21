//! Listening sockets and the accept loop of both ports.
//!
//! Knows TCP options, limits on headers and connections, and how a stop reaches HTTP connections.
//! Deliberately does not know what is served, nor what becomes of a connection after an upgrade.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::sleep,
};
use tower::ServiceExt as _;

use crate::metrics_service::{Level, MetricsService, Port};

/// Largest request head: hyper's smallest read buffer; more than that is answered 431.
const HEAD_LIMIT: usize = 8 * 1024;
/// Most header lines in a request; more than that is answered 431.
const HEADERS_LIMIT: usize = 64;
/// Pause after a failure to accept that will not go away by itself, such as no file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The address of the client's end, IPv4-mapped addresses as plain IPv4.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) SocketAddr);

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

/// Accepts connections for `router` until `stop` says so.
///
/// Each HTTP connection holds a receiver of `stop` until its last request is answered, so the
/// sender's `closed` waits for all of them. Upgraded connections are no longer HTTP.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    port: Port,
    metrics: Arc<MetricsService>,
    mut stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_LIMIT)
        .max_headers(HEADERS_LIMIT);
    let mut is_failing = false;
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &slots) => accepted,
            () = stopped(&mut stop) => break,
        };
        let (stream, peer, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                metrics.count_accept_error(port);
                if !is_failing {
                    tracing::warn!(%error, "cannot accept connections");
                }
                is_failing = true;
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if is_failing {
            tracing::info!("accepting connections again");
            is_failing = false;
        }
        configure(&stream, limits.user_timeout);
        let peer = Peer(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
        let socket = TokioIo::new(Counted {
            stream,
            _slot: slot,
            _level: metrics.hold_http_connection(port),
        });
        let router = router.clone();
        let service = service_fn(move |request| answer(router.clone(), peer, request));
        let connection = http.serve_connection(socket, service).with_upgrades();
        let (mut stop, metrics) = (stop.clone(), Arc::clone(&metrics));
        tokio::spawn(async move {
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

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, Option<OwnedSemaphorePermit>)> {
    // The semaphore is never closed; if it were, connections would merely be unlimited.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, slot))
}

async fn answer(
    router: Router,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<axum::response::Response, Infallible> {
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    router.oneshot(request).await
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

/// Whether accept failed because of the connection at hand rather than of the process or host.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// A connection that holds its slot and its count for exactly as long as its socket is open.
struct Counted {
    // Fields drop in this order: the socket is closed before it stops being counted.
    stream: TcpStream,
    _slot: Option<OwnedSemaphorePermit>,
    _level: Level,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
