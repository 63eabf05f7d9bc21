//! A listener whose gauge is the connections that it has accepted and that are not closed.
//!
//! Knows sockets: a connection is counted from its accept until its socket is closed, whoever closes it
//! and however its task ends. Deliberately does not know what is spoken on it: a connection that is
//! upgraded to a WebSocket is still one.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{extract::connect_info::Connected, serve::IncomingStream};
use metrics::{Counter, Gauge};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use crate::{measurement::Level, registry::Registry};

/// Pause after a failure to accept that will not go away by itself, such as no file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

crate::catalogue! {
    /// What [`CountedListener::new`] records.
    pub CATALOGUE:
    CONNECTIONS = gauge, "connections" [] "connections"
        "Accepted TCP connections that are not closed yet, WebSockets included.";
    ACCEPT_ERRORS = counter, "accept_errors_total" [] "errors"
        "Failures to accept a connection, such as no free file descriptor; the listener waits and tries again.";
}

/// A TCP listener that counts what it has accepted, for [`axum::serve`] or a loop of one's own.
pub struct CountedListener {
    listener: TcpListener,
    open: Gauge,
    errors: Counter,
    slots: Option<Arc<Semaphore>>,
    is_failing: bool,
}

impl CountedListener {
    /// With the metrics of [`CATALOGUE`].
    #[must_use]
    pub fn new(listener: TcpListener, registry: &Registry) -> Self {
        let open = registry.gauge(&CONNECTIONS, []);
        Self::with(listener, open, registry.counter(&ACCEPT_ERRORS, []))
    }

    /// With a gauge of open connections and a counter of failures, such as those of one port among several.
    #[must_use]
    pub fn with(listener: TcpListener, open: Gauge, errors: Counter) -> Self {
        Self {
            listener,
            open,
            errors,
            slots: None,
            is_failing: false,
        }
    }

    /// Accepts no more than so many connections at once; further ones wait in the kernel's accept queue.
    #[must_use]
    pub fn limit(mut self, connections: usize) -> Self {
        self.slots = Some(Arc::new(Semaphore::new(
            connections.min(Semaphore::MAX_PERMITS),
        )));
        self
    }

    /// The next connection, and the address of its other end. Failures are counted, and tried again.
    ///
    /// Cancel safe: no connection is lost.
    pub async fn accept(&mut self) -> (Counted<TcpStream>, SocketAddr) {
        loop {
            let slot = match &self.slots {
                // The semaphore is never closed; if it were, connections would merely be unlimited.
                Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
                None => None,
            };
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if self.is_failing {
                        tracing::info!("accepting connections again");
                        self.is_failing = false;
                    }
                    let counted = Counted {
                        stream,
                        _slot: slot,
                        _level: Level::hold(&self.open),
                    };
                    return (counted, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.errors.increment(1);
                    if !self.is_failing {
                        tracing::warn!(%error, "cannot accept connections");
                    }
                    self.is_failing = true;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
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

impl fmt::Debug for CountedListener {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("CountedListener")
            .field(&self.listener)
            .finish()
    }
}

impl axum::serve::Listener for CountedListener {
    type Io = Counted<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The address of a connection's other end, IPv4-mapped addresses as plain IPv4; for handlers, as
/// `ConnectInfo<Peer>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

impl From<SocketAddr> for Peer {
    fn from(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }
}

impl Connected<IncomingStream<'_, CountedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, CountedListener>) -> Self {
        (*stream.remote_addr()).into()
    }
}

/// A connection that is counted for exactly as long as its socket is open.
#[derive(Debug)]
pub struct Counted<T> {
    // Fields drop in this order: the socket is closed before it stops being counted.
    stream: T,
    _slot: Option<OwnedSemaphorePermit>,
    _level: Level,
}

impl<T> Counted<T> {
    /// The stream, such as to set its options.
    pub fn get_ref(&self) -> &T {
        &self.stream
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
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

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_is_counted_until_it_is_closed_and_the_limit_holds() {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut listener = CountedListener::new(listener, &registry).limit(2);
        let says = |open: u32| {
            let page = registry.render();
            let line = format!("\nconnections {open}\n");
            assert!(page.contains(&line), "{open}: {page}");
        };
        let mut accepted = Vec::new();
        let mut clients = Vec::new();
        for open in 1..=2 {
            clients.push(TcpStream::connect(address).await.unwrap());
            let (stream, peer) = listener.accept().await;
            assert_eq!(peer, clients.last().unwrap().local_addr().unwrap());
            accepted.push(stream);
            says(open);
        }
        clients.push(TcpStream::connect(address).await.unwrap());
        assert!(listener.accept().now_or_never().is_none());
        says(2);
        // The client is gone; the socket here is not closed yet.
        clients.clear();
        says(2);
        accepted.pop();
        says(1);
        accepted.push(listener.accept().await.0);
        says(2);
        accepted.clear();
        says(0);
    }

    #[test]
    fn a_peer_is_plain_ipv4_where_it_is() {
        let peer = Peer::from("[::ffff:192.0.2.1]:7".parse::<SocketAddr>().unwrap());
        assert_eq!(peer.0.to_string(), "192.0.2.1:7");
    }
}
