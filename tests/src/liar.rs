//! What lying servers have in common: a real WebSocket echo server with a gauge on a page of its own.
//!
//! Each module of `src/bin/liar` is one bug from the field, as people write it; all that is not the bug
//! is here, and honest. The product has no switch that makes it lie: these are test programs.

use std::collections::BTreeMap;
use std::env;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::ws::{Message, WebSocket};
use axum::routing::{MethodRouter, get};
use axum::serve::Listener;
use clap::Parser;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// Where a liar listens.
#[derive(Clone, Debug, Parser)]
#[command(about = "A WebSocket echo server whose gauge lies")]
pub struct Ports {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub public_address: SocketAddr,
    /// Where `/metrics` is.
    #[arg(long, default_value = "127.0.0.1:9090")]
    pub management_address: SocketAddr,
}

/// The arguments behind the liar's name.
#[must_use]
pub fn arguments<A: Parser>() -> A {
    A::parse_from(env::args().skip(1))
}

/// The gauge `active_connections`.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

impl Gauge {
    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    /// One less.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whatever it was, now it is this.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::SeqCst);
    }

    /// What it says.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    /// One more until the returned value is dropped, which is how it is done right.
    pub fn enter(&self) -> Entered {
        self.increment();
        Entered(self.clone())
    }
}

/// Counted in a gauge for as long as it lives.
#[derive(Debug)]
pub struct Entered(Gauge);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.decrement();
    }
}

/// The sessions that a service knows of: a gauge that is made of a list.
#[derive(Clone, Debug, Default)]
pub struct Sessions(Arc<Listed>);

#[derive(Debug, Default)]
struct Listed {
    sessions: Mutex<BTreeMap<u64, (SocketAddr, SystemTime)>>,
    next: AtomicU64,
}

impl Sessions {
    /// One more; the number strikes it.
    pub fn enter(&self, peer: SocketAddr) -> u64 {
        let number = self.0.next.fetch_add(1, Ordering::SeqCst);
        self.sessions().insert(number, (peer, SystemTime::now()));
        number
    }

    /// It has ended.
    pub fn strike(&self, number: u64) {
        self.sessions().remove(&number);
    }

    /// How many there are.
    pub fn count(&self) -> i64 {
        self.sessions().len() as i64
    }

    /// Each as a line of JSON: what `connections-url` expects.
    pub fn lines(&self) -> String {
        let line = |(number, (peer, opened)): (&u64, &(SocketAddr, SystemTime))| {
            let opened_at = humantime::format_rfc3339_millis(*opened).to_string();
            format!(
                "{}\n",
                json!({"id": number, "peer": peer, "opened_at": opened_at})
            )
        };
        self.sessions().iter().map(line).collect()
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<u64, (SocketAddr, SystemTime)>> {
        let sessions = self.0.sessions.lock();
        sessions.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Binds `address`.
///
/// # Errors
/// It is taken.
pub async fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("listen on {address}"))
}

/// Serves `public` and a page with the gauge, for good.
///
/// # Errors
/// An address is taken, or a listener fails.
pub async fn serve(ports: Ports, public: Router, gauge: Gauge) -> Result<()> {
    let listener = listen(ports.public_address).await?;
    let management = management(move || page(&[("", gauge.get())]));
    serve_on(listener, public, ports.management_address, management).await
}

/// Serves a gateway whose handler keeps the gauge itself, and a page with the gauge, for good.
///
/// # Errors
/// As of [`serve`].
pub async fn serve_gateway(gateway: MethodRouter<Gauge>) -> Result<()> {
    let gauge = Gauge::default();
    let public = Router::new()
        .route("/v1/gateway", gateway)
        .with_state(gauge.clone());
    serve(arguments::<Ports>(), public, gauge).await
}

/// Serves `public`, whose handlers may ask who the peer is, and `management`, for good.
///
/// # Errors
/// An address is taken, or a listener fails.
pub async fn serve_to_peers(ports: Ports, public: Router, management: Router) -> Result<()> {
    let listener = listen(ports.public_address).await?;
    let page = listen(ports.management_address).await?;
    let public = public
        .route("/", get(async || "hello\n"))
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::try_join!(
        axum::serve(listener, public).into_future(),
        axum::serve(page, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

/// Serves `public` on any listener and `management` on its address, for good.
///
/// # Errors
/// The address is taken, or a listener fails.
pub async fn serve_on<L>(
    listener: L,
    public: Router,
    management_address: SocketAddr,
    management: Router,
) -> Result<()>
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    let page = listen(management_address).await?;
    let public = public.route("/", get(async || "hello\n"));
    tokio::try_join!(
        axum::serve(listener, public).into_future(),
        axum::serve(page, management).into_future(),
    )
    .context("serve")?;
    Ok(())
}

/// The management routes: `/metrics`, and nothing else.
pub fn management(render: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    Router::new().route("/metrics", get(async move || render()))
}

/// The management routes of a service that lists its sessions: `/metrics` and `/connections`.
pub fn management_of(sessions: impl Fn() -> Sessions + Clone + Send + Sync + 'static) -> Router {
    let listed = sessions.clone();
    management(move || page(&[("", sessions().count())]))
        .route("/connections", get(async move || listed().lines()))
}

/// The page, with one series for each pair of labels and value.
pub fn page(series: &[(&str, i64)]) -> String {
    let mut page = "# HELP active_connections Open WebSocket sessions.\n\
                    # TYPE active_connections gauge\n"
        .to_owned();
    for (labels, value) in series {
        page.push_str(&format!("active_connections{labels} {value}\n"));
    }
    page
}

/// Echoes until the client closes.
///
/// # Errors
/// The client went without closing.
pub async fn echo(socket: &mut WebSocket) -> Result<()> {
    while let Some(message) = socket.recv().await {
        match message? {
            Message::Text(text) => socket.send(Message::Text(text)).await?,
            Message::Close(_) => break,
            _ => {}
        }
    }
    Ok(())
}

/// A listener that hands out streams with something that lives as long as they do.
pub struct Tagging<F> {
    /// Where connections come from.
    pub listener: TcpListener,
    /// What becomes of a connection before it is served.
    pub tag: F,
}

/// A stream with a value that is dropped with it.
pub struct Tagged<T> {
    stream: TcpStream,
    _tag: T,
}

impl<F, T> Listener for Tagging<F>
where
    F: FnMut() -> T + Send + 'static,
    T: Send + Unpin + 'static,
{
    type Io = Tagged<T>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = accept(&self.listener).await;
        let tag = (self.tag)();
        (Tagged { stream, _tag: tag }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Accepts one connection, whatever happens to others.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, or the connection was aborted already: the next may do.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

impl<T: Unpin> AsyncRead for Tagged<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: Unpin> AsyncWrite for Tagged<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
