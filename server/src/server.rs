//! The whole server: its two ports, its start and its drain.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    sync::watch,
    time::{interval, timeout},
};

use crate::{
    accept::{self, BindError, Limits},
    attachments::{Attachments, AttachmentsError},
    authentication::Authentication,
    bus::Embedded,
    channel::{Receiver, channel},
    config::Config,
    group_commit::{self, Posted},
    http,
    management::{self, Management},
    metrics_service::{MetricsError, MetricsService, Port, Queue},
    rate::Rate,
    relay::Relay,
    sessions::{self, Hub},
    share::Share,
    store::{Ack, OpenError, Store},
};

/// Most connections on the management port.
const MANAGEMENT_CONNECTIONS: usize = 256;
/// How often buffered observations are moved into their histograms.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait for the database to be closed, and then for a scrape in flight.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The metrics are configured wrongly.
    #[error("cannot set up the metrics")]
    Metrics(#[from] MetricsError),
    /// A port cannot be served.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A bound port has no address.
    #[error("cannot read a listener's own address")]
    Address(#[source] io::Error),
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
    ack_queue: Receiver<Ack>,
    message_queue: Receiver<Posted>,
    public: TcpListener,
    /// Ends the management port, which is served from the start.
    stop_management: watch::Sender<bool>,
    management: Arc<Management>,
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
        let metrics = Arc::new(MetricsService::new(&config.buckets)?);
        metrics.declare();
        let public = accept::bind(config.public_address, config.listen_backlog)?;
        let management = accept::bind(config.management_address, config.listen_backlog)?;
        let public_address = public.local_addr().map_err(StartError::Address)?;
        let management_address = management.local_addr().map_err(StartError::Address)?;
        let (stop_management, management_stop) = watch::channel(false);
        let listener = management;
        let management = Arc::new(Management::new(Arc::clone(&metrics)));
        tokio::spawn(accept::serve(
            listener,
            management::router(&management),
            limits(&config, MANAGEMENT_CONNECTIONS),
            Port::Management,
            Arc::clone(&metrics),
            management_stop,
        ));
        let store = Store::open(&config, Arc::clone(&metrics)).await?;
        let hub = Arc::new(Hub::new(&config, Arc::clone(&metrics)));
        let attachments = Arc::new(Attachments::open(&config, Arc::clone(&metrics)).await?);
        let (acks, ack_queue) = channel(Queue::Ack, config.ack_capacity, &metrics);
        let (messages, message_queue) = channel(Queue::Store, config.store_capacity, &metrics);
        Ok(Self {
            public_address,
            management_address,
            relay: Arc::new(Relay {
                bus: Box::new(Embedded::new(Arc::clone(&metrics))),
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
            ack_queue,
            message_queue,
            public,
            stop_management,
            management,
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

    /// Serves until `stop` is ready, then drains: not ready, no new connections, requests in
    /// flight answered, sessions closed, database closed. The management port goes last.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Self {
            relay,
            ack_queue,
            message_queue,
            public,
            stop_management,
            management,
            ..
        } = self;
        let config = &relay.config;
        management.show(&relay);
        let upkeep = tokio::spawn(run_upkeep(Arc::clone(&relay.metrics)));
        let delivery = tokio::spawn(sessions::deliver(
            relay.bus.subscribe(),
            Arc::clone(&relay.hub),
            Arc::clone(&relay.metrics),
        ));
        let ack_writer = tokio::spawn({
            let relay = Arc::clone(&relay);
            async move { group_commit::write_acks(ack_queue, &relay.store, &relay.hub).await }
        });
        let message_writer = tokio::spawn({
            let relay = Arc::clone(&relay);
            let limit = config.pending_limit.into();
            async move {
                let Relay { store, bus, .. } = &*relay;
                group_commit::write_messages(message_queue, store, &**bus, limit).await;
            }
        });
        let probes = tokio::spawn({
            let relay = Arc::clone(&relay);
            async move { tokio::join!(relay.store.probe(), relay.attachments.probe()) }
        });
        let (stop_public, public_stop) = watch::channel(false);
        tokio::spawn(accept::serve(
            public,
            http::router(&relay),
            limits(config, config.connections_limit),
            Port::Public,
            Arc::clone(&relay.metrics),
            public_stop,
        ));

        stop.await;
        tracing::info!(sessions = relay.hub.sessions().len(), "draining");
        relay.hub.start_draining();
        stop_public.send_replace(true);
        let drained = async {
            relay.hub.end_sessions(config.drain_spread.get()).await;
            relay.hub.wait_until_empty().await;
            stop_public.closed().await;
            // Nobody sends or acks any more; what was sent or acked becomes durable.
            relay.messages.close();
            relay.acks.close();
            let _ = tokio::join!(message_writer, ack_writer);
        };
        let is_drained = timeout(config.drain_timeout.get(), drained).await.is_ok();
        // A database that does not answer holds up nobody's end.
        let is_closed = timeout(LAST_WORDS, relay.store.close()).await.is_ok();
        stop_management.send_replace(true);
        // A scrape in flight is still answered, but nobody holds up the end.
        let _ = timeout(LAST_WORDS, stop_management.closed()).await;
        delivery.abort();
        probes.abort();
        upkeep.abort();
        tracing::info!(is_drained, is_closed, "stopped");
    }
}

fn limits(config: &Config, connections: usize) -> Limits {
    Limits {
        connections,
        header_timeout: config.header_timeout.get(),
        user_timeout: config.user_timeout.get(),
    }
}

async fn run_upkeep(metrics: Arc<MetricsService>) {
    let mut beat = interval(UPKEEP_INTERVAL);
    loop {
        beat.tick().await;
        metrics.run_upkeep();
    }
}
