//! The pool of database connections, its breaker and its durability.
//!
//! Knows how connections are set up, and when not to ask for one. How long that takes, the pool of
//! `exporter` says. Deliberately knows no table.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use exporter::{
    Stopwatch,
    breaker::{Admission, Breaker, Open, Policy},
    pool::{self, AcquireError, Lent},
};
use sqlx::{
    Any, AnyConnection, Connection as _,
    any::{AnyConnectOptions, AnyPoolOptions},
    migrate::{MigrateError, Migrator},
};
use tokio::time::timeout;

use super::{StoreError, sqlite_url};
use crate::{
    config::Config,
    metrics_service::{MetricsService, POOL},
};

static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");

/// What every SQLite connection is set to. A 202 promises that a message survives a power failure,
/// so each commit is synced (`full`); the write-ahead log makes that one sync.
const SQLITE_SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; \
     pragma busy_timeout = 5000; pragma foreign_keys = on;";

/// What every PostgreSQL connection is set to: no statement holds a connection for ever, and each looks
/// up its rows by an index. A plan that was made while a table was empty would read all of it, and
/// PostgreSQL keeps the plans of prepared statements.
const POSTGRES_SETTINGS: &str = "set statement_timeout = '10s'; set enable_seqscan = off";

/// Longest wait for a statement, beyond what either database allows itself: one that does not answer at
/// all, such as a host that is gone, would hold the connection until TCP gives up.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(12);

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address is not one of a database that is supported.
    #[error("the database address must start with `sqlite:` or `postgres:`")]
    Scheme,
    /// The database takes connections and says nothing, or is not to be reached.
    #[error(
        "the database gave no answer within {0:?}: is it there, and does its address lead to it? \
         `--database-timeout` is how long to wait"
    )]
    NoAnswer(Duration),
    /// The address cannot be parsed, or no connection can be opened.
    #[error("cannot open the database")]
    Connect(#[source] sqlx::Error),
    /// The schema cannot be brought up to date.
    #[error("cannot migrate the database")]
    Migrate(#[source] MigrateError),
}

/// What is at an address.
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    fn of(url: &str) -> Option<Self> {
        match url.split_once(':')?.0 {
            "sqlite" => Some(Self::Sqlite),
            "postgres" | "postgresql" => Some(Self::Postgres),
            _ => None,
        }
    }
}

/// Whether the address is that of a database which this crate speaks to.
pub(crate) fn is_supported(url: &str) -> bool {
    Kind::of(url).is_some()
}

/// The pool.
pub(super) struct Pool {
    connections: pool::Pool<Any>,
    breaker: Breaker,
    metrics: Arc<MetricsService>,
}

impl Pool {
    pub(super) async fn open(
        config: &Config,
        metrics: Arc<MetricsService>,
    ) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let url = match config.database_url.as_str() {
            "" => sqlite_url(&config.data_dir.join("relay.db")),
            url => url.to_owned(),
        };
        let (migrator, is_sqlite, size) = match Kind::of(&url) {
            Some(Kind::Sqlite) => (&SQLITE, true, 1),
            Some(Kind::Postgres) => (&POSTGRES, false, 8),
            None => return Err(OpenError::Scheme),
        };
        let size = if config.database_connections == 0 {
            size
        } else {
            config.database_connections
        };
        let options: AnyConnectOptions = url.parse().map_err(OpenError::Connect)?;
        let patience = config.database_timeout.get();
        // On a connection of its own: a migration may take longer than any statement.
        let mut migrating = timeout(patience, AnyConnection::connect_with(&options))
            .await
            .map_err(|_| OpenError::NoAnswer(patience))?
            .map_err(OpenError::Connect)?;
        migrator
            .run(&mut migrating)
            .await
            .map_err(OpenError::Migrate)?;
        migrating.close().await.map_err(OpenError::Connect)?;
        let settings = if is_sqlite {
            SQLITE_SETTINGS
        } else {
            POSTGRES_SETTINGS
        };
        let connections = AnyPoolOptions::new()
            .max_connections(size)
            .acquire_timeout(patience)
            // A file does not go away; a server may, and a ping is cheaper than a lost message.
            .test_before_acquire(!is_sqlite)
            .idle_timeout(None)
            .max_lifetime(None);
        let connections =
            pool::Pool::connect(connections, options, settings, metrics.registry(), POOL)
                .await
                .map_err(OpenError::Connect)?;
        let policy = Policy {
            failures: config.breaker_failures,
            cool_down: config.breaker_cool_down.get(),
        };
        Ok(Self {
            connections,
            breaker: metrics.breaker("database", policy),
            metrics,
        })
    }

    /// Waits for a connection, unless the database kept failing.
    pub(super) async fn acquire(&self) -> Result<Connection<'_>, StoreError> {
        let admission = self.breaker.admit(Instant::now())?;
        match self.connections.acquire().await {
            Ok(connection) => Ok(Connection {
                connection,
                is_suspect: AtomicBool::new(false),
                admission,
                metrics: &self.metrics,
            }),
            // That many wait says nothing of the database: what it is asked meanwhile does.
            Err(AcquireError::Busy) => Err(StoreError::Busy),
            Err(AcquireError::Pool(error)) => {
                admission.record(false, Instant::now());
                Err(StoreError::Connection(error.into()))
            }
        }
    }

    /// How many statements may run at once.
    pub(super) fn size(&self) -> usize {
        self.connections.size()
    }

    /// Nothing if the database is known to work; else, how long it is to be left alone.
    pub(super) fn check(&self) -> Result<(), Open> {
        self.breaker.check(Instant::now())
    }

    /// Waits until it is time to ask a database that was left alone.
    pub(super) async fn due(&self) {
        self.breaker.due().await;
    }

    pub(super) async fn close(&self) {
        self.connections.close().await;
    }
}

/// A connection on loan.
pub(super) struct Connection<'a> {
    connection: Lent<Any>,
    /// Whether a statement failed on it.
    is_suspect: AtomicBool,
    admission: Admission<'a>,
    metrics: &'a MetricsService,
}

impl<'a> Connection<'a> {
    /// The connection, and a measurement of the statement that is about to run on it.
    pub(super) fn statement(
        &mut self,
        name: &'static str,
    ) -> (&mut AnyConnection, Statement<'_, 'a>) {
        let Self {
            connection,
            is_suspect,
            admission,
            metrics,
            ..
        } = self;
        let stopwatch = metrics.time_query(name);
        (
            connection,
            Statement {
                name,
                stopwatch,
                is_suspect,
                admission,
            },
        )
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        // A database may end a transaction by itself when a statement in it fails, as SQLite does on a
        // full disk. The driver then still counts one as open: the next begin and commit would only
        // set and release a savepoint, and nothing would be durable any more. A connection that is
        // closed has no such past.
        if self.is_suspect.load(Ordering::Relaxed) {
            self.connection.close_on_drop();
        }
    }
}

/// A statement, or a transaction of a few, under measurement.
pub(super) struct Statement<'s, 'a> {
    name: &'static str,
    stopwatch: Option<Stopwatch>,
    is_suspect: &'s AtomicBool,
    admission: &'s Admission<'a>,
}

impl Statement<'_, '_> {
    /// Runs it to its end and measures it.
    pub(super) async fn run<T>(
        self,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        let Self {
            name: statement,
            stopwatch,
            is_suspect,
            admission,
        } = self;
        let result = timeout(STATEMENT_TIMEOUT, work)
            .await
            .map_err(|_| StoreError::Mute { statement })
            .and_then(|result| {
                result.map_err(|error| StoreError::Statement {
                    statement,
                    source: Arc::new(error),
                })
            });
        let outcome = match &result {
            Ok(_) => "ok",
            Err(error) if error.is_refusal() => "refused",
            Err(_) => "failed",
        };
        if let Some(stopwatch) = stopwatch {
            stopwatch.finish(outcome);
        }
        let is_working = outcome != "failed";
        is_suspect.fetch_or(!is_working, Ordering::Relaxed);
        admission.record(is_working, Instant::now());
        result
    }
}
