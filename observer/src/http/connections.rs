//! Accepting connections with limits: how many, and how long a request's head may take.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use rustix::net::sockopt;
use tokio::{net::TcpListener, sync::Semaphore};
use web_config::{Guard, Stream};

/// Most connections at once: a few scrapers, people and probes.
const CONNECTIONS: usize = 128;
/// Longest time for the head of a request, so also for an idle connection's next one.
const HEAD: Duration = Duration::from_secs(30);
/// Between two attempts where accepting fails, as it does without free file descriptors.
const RETRY: Duration = Duration::from_millis(200);
/// Longest time for a client to take what is sent to it: one that stopped reading loses its place.
const UNREAD: Duration = Duration::from_secs(60);
/// For requests that are being answered when the observer is stopped.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves until `stop` resolves, then lets requests finish for a moment.
pub(super) async fn serve(
    listener: TcpListener,
    guard: Option<Guard>,
    router: Router,
    stop: impl Future<Output = ()>,
) {
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            () = &mut stop => break,
        };
        let Ok((stream, place)) = accepted else {
            tokio::time::sleep(RETRY).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let (builder, guard, watcher) = (builder.clone(), guard.clone(), graceful.watcher());
        tokio::spawn(async move {
            let stream = match guard {
                None => Ok(Stream::Plain(stream)),
                Some(guard) => guard.accept(stream).await,
            };
            // A client's fault ends its connection and is of no interest.
            if let Ok(stream) = stream {
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                let _ = watcher.watch(connection).await;
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, graceful.shutdown()).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    // The kernel ends such a connection, whatever is waiting to be written on it.
    sockopt::set_tcp_user_timeout(&stream, UNREAD.as_millis() as u32)?;
    Ok((stream, place))
}
