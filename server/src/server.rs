//! The whole server: its two ports, its start, its end when a task that it needs has ended, and its
//! drain.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use exporter::channel::Receiver;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use web_config::{Guard, WebConfigError};

use crate::{
    accept::{self, BindError, Limits},
    attachments::{Attachments, AttachmentsError},
    authentication::Authentication,
    bus::{Embedded, MessageBus},
    check::{SettingsError, check},
    config::Config,
    data_dir::{DataDir, DataDirError},
    group_commit::{self, Posted},
    http,
    management::{self, Shown},
    metrics_service::{MetricsService, Port, Queue},
    rate::Rate,
    relay::Relay,
    retention,
    sessions::{self, Hub},
    share::Share,
    store::{Ack, OpenError, Room, Store},
    tasks::{TaskEnded, Tasks, Wholeness},
};

/// Most connections on the management port.
const MANAGEMENT_CONNECTIONS: usize = 256;
/// Longest wait for the database to be closed, and then for a scrape in flight.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longest drain of a server that is not whole any more.
const BROKEN_DRAIN: Duration = Duration::from_secs(5);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings make no server.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A port cannot be served.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What is to guard the management port is not what it has to be.
    #[error(transparent)]
    Guard(#[from] WebConfigError),
    /// A bound port has no address.
    #[error("cannot read a listener's own address")]
    Address(#[source] io::Error),
    /// The data directory cannot be used, or is another server's.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[from] OpenError),
    /// There is no S3 to keep attachments in.
    #[error("cannot keep attachments")]
    Attachments(#[from] AttachmentsError),
}

/// A server that listens, and answers once it runs.
pub struct Server {
    relay: Arc<Relay>,
    /// Held until the end of the process: nobody else writes where this server does.
    data_dir: Option<DataDir>,
    tasks: Tasks,
    ack_queue: Receiver<Ack>,
    message_queue: Receiver<Posted>,
    public: TcpListener,
    /// Ends the management port, which is served from the start.
    stop_management: watch::Sender<bool>,
    shown: Shown,
    public_address: SocketAddr,
    management_address: SocketAddr,
}

impl Server {
    /// Binds both ports, serves the management port, then opens the database: whoever asks meanwhile
    /// learns that the server is alive and not ready.
    ///
    /// # Errors
    /// When the configuration, a port or the database cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let bus = |metrics| -> Box<dyn MessageBus> { Box::new(Embedded::new(metrics)) };
        Self::start_with(config, bus).await
    }

    async fn start_with(
        config: Config,
        bus: impl FnOnce(Arc<MetricsService>) -> Box<dyn MessageBus>,
    ) -> Result<Self, StartError> {
        let wholeness = Wholeness::default();
        let mut tasks = Tasks::new(&wholeness);
        check(&config)?;
        let metrics = MetricsService::new(&config.buckets).map_err(SettingsError::from)?;
        let metrics = Arc::new(metrics);
        let public = accept::bind(config.public_address, config.listen_backlog)?;
        let management = accept::bind(config.management_address, config.listen_backlog)?;
        let public_address = public.local_addr().map_err(StartError::Address)?;
        let management_address = management.local_addr().map_err(StartError::Address)?;
        let (stop_management, management_stop) = watch::channel(false);
        let shown = Shown::default();
        let guard = guard(&config)?;
        let shown_routes = management::router(&metrics, &shown);
        let serve = accept::serve(
            management,
            match &guard {
                Some(guard) => guard.protect(shown_routes),
                None => shown_routes,
            },
            guard,
            limits(&config, MANAGEMENT_CONNECTIONS),
            Port::Management,
            Arc::clone(&metrics),
            management_stop,
        );
        tasks.spawn("serves the management port", serve);
        let data_dir = claim(&config)?;
        let store = Store::open(&config, Arc::clone(&metrics)).await?;
        let hub = Arc::new(Hub::new(&config, Arc::clone(&metrics)));
        let attachments = Attachments::open(&config, Arc::clone(&metrics), &mut tasks).await?;
        let attachments = Arc::new(attachments);
        let (acks, ack_queue) = metrics.channel(Queue::Ack, config.ack_capacity);
        let (messages, message_queue) = metrics.channel(Queue::Store, config.store_capacity);
        Ok(Self {
            public_address,
            management_address,
            relay: Arc::new(Relay {
                bus: bus(Arc::clone(&metrics)),
                wholeness,
                is_leaving: AtomicBool::new(false),
                authentication: Authentication::new(),
                accounts_rate: Rate::new(config.account_rate),
                messages_rate: Rate::new(config.message_rate),
                uploads: Share::new(config.account_uploads_limit),
                config,
                metrics,
                store,
                attachments,
                hub,
                acks,
                messages,
            }),
            data_dir,
            tasks,
            ack_queue,
            message_queue,
            public,
            stop_management,
            shown,
        })
    }

    /// Where the public port listens.
    #[must_use]
    pub fn public_address(&self) -> SocketAddr {
        self.public_address
    }

    /// Where the management port listens.
    #[must_use]
    pub fn management_address(&self) -> SocketAddr {
        self.management_address
    }

    /// Serves until `stop` is ready, and then for the delay that is configured, not ready. Then it drains:
    /// no new connections, requests in
    /// flight answered, sessions closed, database closed. The management port goes last.
    ///
    /// # Errors
    /// When a task that the server needs has ended: it drains as at a stop, but not for long.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), TaskEnded> {
        let Self {
            relay,
            data_dir,
            mut tasks,
            ack_queue,
            message_queue,
            public,
            stop_management,
            shown,
            ..
        } = self;
        // Nothing else sets it.
        let _ = shown.set(Arc::clone(&relay));
        let (stop_public, public_stop) = watch::channel(false);
        start_tasks(&relay, &mut tasks, public, public_stop);
        let mut writers = start_writers(&relay, ack_queue, message_queue);

        let mut fault = tokio::select! {
            () = stop_and_leave(stop, &relay) => None,
            ended = tasks.ended() => Some(ended),
            ended = writers.ended() => Some(ended),
        };
        let sessions = relay.hub.sessions().len();
        match &fault {
            None => tracing::info!(sessions, "draining"),
            Some(fault) => tracing::error!(reason = %fault, sessions, "draining"),
        }
        let longest = fault.as_ref().map_or(Duration::MAX, |_| BROKEN_DRAIN);
        let config = &relay.config;
        relay.hub.start_draining();
        stop_public.send_replace(true);
        let drained = async {
            let spread = config.drain_spread.get().min(longest / 2);
            relay.hub.end_sessions(spread).await;
            relay.hub.wait_until_empty().await;
            stop_public.closed().await;
            // Nobody sends or acks any more; what was sent or acked becomes durable.
            relay.messages.close();
            relay.acks.close();
            writers.finish().await
        };
        let drained = timeout(config.drain_timeout.get().min(longest), drained).await;
        let is_drained = drained.is_ok();
        fault = fault.or(drained.ok().flatten());
        // A database that does not answer holds up nobody's end.
        let is_closed = timeout(LAST_WORDS, relay.store.close()).await.is_ok();
        stop_management.send_replace(true);
        // A scrape in flight is still answered, but nobody holds up the end.
        let _ = timeout(LAST_WORDS, stop_management.closed()).await;
        drop((tasks, writers, data_dir));
        tracing::info!(is_drained, is_closed, "stopped");
        fault.map_or(Ok(()), Err)
    }
}

/// What guards the management port, if anything does.
///
/// # Errors
/// When its file is not what it has to be.
pub fn guard(config: &Config) -> Result<Option<Guard>, WebConfigError> {
    let file = config.management_config_file.as_path();
    match file.as_os_str().is_empty() {
        true => Ok(None),
        false => Guard::open(file).map(Some),
    }
}

/// Claims the data directory, where something is to be kept there.
fn claim(config: &Config) -> Result<Option<DataDir>, DataDirError> {
    if config.database_url.is_empty() || config.attachments_bucket.is_empty() {
        return DataDir::claim(&config.data_dir).map(Some);
    }
    Ok(None)
}

/// Waits until the server is to stop, then serves on for a while: whoever sends clients here learns from
/// `/readyz` that it should not, before they would be refused.
async fn stop_and_leave(stop: impl Future<Output = ()>, relay: &Relay) {
    stop.await;
    let delay = relay.config.shutdown_delay;
    relay.is_leaving.store(true, Ordering::SeqCst);
    if !delay.get().is_zero() {
        tracing::info!(%delay, "leaving: not ready, and still serving");
        sleep(delay.get()).await;
    }
}

/// Starts what runs until the end.
fn start_tasks(
    relay: &Arc<Relay>,
    tasks: &mut Tasks,
    public: TcpListener,
    stop: watch::Receiver<bool>,
) {
    let Relay {
        config,
        metrics,
        hub,
        bus,
        ..
    } = &**relay;
    tasks.spawn(
        "hands messages to the sessions",
        sessions::deliver(bus.subscribe(), Arc::clone(hub), Arc::clone(metrics)),
    );
    let asker = Arc::clone(relay);
    tasks.spawn("asks a database that was left alone", async move {
        asker.store.probe().await;
    });
    let asker = Arc::clone(relay);
    tasks.spawn("asks an S3 that was left alone", async move {
        asker.attachments.probe().await;
    });
    tasks.spawn("removes what is too old", retention::run(Arc::clone(relay)));
    let serve = accept::serve(
        public,
        http::router(relay),
        None,
        limits(config, config.connections_limit),
        Port::Public,
        Arc::clone(metrics),
        stop,
    );
    tasks.spawn("serves the public port", serve);
}

/// Starts what runs until its queue is closed and empty.
fn start_writers(
    relay: &Arc<Relay>,
    ack_queue: Receiver<Ack>,
    message_queue: Receiver<Posted>,
) -> Tasks {
    let mut writers = Tasks::new(&relay.wholeness);
    let writer = Arc::clone(relay);
    writers.spawn("stores messages", async move {
        let Relay { store, bus, .. } = &*writer;
        let room = Room::of(&writer.config);
        group_commit::write_messages(message_queue, store, &**bus, room).await;
    });
    let writer = Arc::clone(relay);
    writers.spawn("deletes acked messages", async move {
        group_commit::write_acks(ack_queue, &writer.store, &writer.hub).await;
    });
    writers
}

fn limits(config: &Config, connections: usize) -> Limits {
    Limits {
        connections,
        header_timeout: config.header_timeout.get(),
        user_timeout: config.user_timeout.get(),
    }
}

#[cfg(test)]
mod tests;
