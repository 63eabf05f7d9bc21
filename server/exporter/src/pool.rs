//! A pool of database connections that says how long each part of asking it takes.
//!
//! Knows that waiting for a connection, opening one and using it are three things, of which sqlx's pool
//! times none and mixes two. Deliberately knows no statement and no database: those are its user's.

use std::{
    cell::Cell,
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::{Duration, Instant},
};

use metrics::{Gauge, Histogram};
use sqlx::{
    Connection, Database, Executor,
    pool::{PoolConnection, PoolOptions},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    declaration::{FAST, Metric, label},
    measurement::{CANCELLED, Outcomes, Stopwatch},
    registry::Registry,
};

/// The outcome of a wait that ended with a connection.
pub const ACQUIRED: &str = "acquired";
/// The outcome of a wait that ended without one.
pub const FAILED: &str = "failed";

crate::catalogue! {
    /// What a [`Pool`] records, unless it is given other [`Metrics`].
    pub CATALOGUE:
    CONNECTIONS = gauge, "db_pool_connections" [label("state", &["in_use", "idle"])] "connections"
        "Database connections: `in_use` (lent to a statement, or being opened for one) and `idle`.";
    MAX_CONNECTIONS = gauge, "db_pool_max_connections" [] "connections"
        "Most database connections that there may be at once.";
    WAIT = histogram(FAST), "db_pool_wait_duration_seconds" [label("outcome", &[ACQUIRED, FAILED, CANCELLED])] "seconds"
        "Time spent waiting for a database connection, without connecting and querying; outcome acquired, failed or cancelled.";
    CONNECT = histogram(FAST), "db_connect_duration_seconds" [] "seconds"
        "Time spent opening a new database connection.";
}

/// The metrics of a pool, for a service that declares them itself.
#[derive(Clone, Copy, Debug)]
pub struct Metrics {
    /// By state: in use and idle.
    pub connections: Metric<Gauge, 1>,
    /// Without labels.
    pub max_connections: Metric<Gauge, 0>,
    /// By outcome.
    pub wait: Metric<Histogram, 1>,
    /// Without labels.
    pub connect: Metric<Histogram, 0>,
}

/// Those of [`CATALOGUE`].
impl Default for Metrics {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            max_connections: MAX_CONNECTIONS,
            wait: WAIT,
            connect: CONNECT,
        }
    }
}

tokio::task_local! {
    /// Whether the acquisition in this task opened a connection; the pool's hook runs in the task.
    static IS_OPENED: Cell<bool>;
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// So many wait that none became free in time. It says nothing of the database.
    #[error("too many wait for a database connection")]
    Busy,
    /// The pool could not hand one out, such as because none could be opened.
    #[error("no database connection")]
    Pool(#[source] sqlx::Error),
}

/// A pool of connections that are timed. Cheap to clone: all clones are the same pool.
pub struct Pool<DB: Database> {
    connections: sqlx::Pool<DB>,
    /// As many permits as connections: waiting for one is waiting, and nothing else.
    permits: Arc<Semaphore>,
    timeout: Duration,
    waits: Outcomes,
    connects: Histogram,
}

impl<DB: Database> Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    /// Opens a pool, and runs `settings` on each connection when it is new. `options` says how many
    /// connections there may be and how long to wait for one; an `after_connect` of theirs is not called.
    ///
    /// # Errors
    /// When no connection can be opened.
    pub async fn connect(
        options: PoolOptions<DB>,
        database: <DB::Connection as Connection>::Options,
        settings: &'static str,
        registry: &Registry,
        metrics: Metrics,
    ) -> Result<Self, sqlx::Error> {
        let size = options.get_max_connections();
        let timeout = options.get_acquire_timeout();
        let connections = options
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    // Connections that the pool opens by itself have no task that waits for them.
                    let _ = IS_OPENED.try_with(|is_opened| is_opened.set(true));
                    connection.execute(settings).await?;
                    Ok(())
                })
            })
            .connect_with(database)
            .await?;
        let bind = |outcome| registry.histogram(&metrics.wait, [outcome]);
        let pool = Self {
            connections,
            permits: Arc::new(Semaphore::new(size as usize)),
            timeout,
            waits: Outcomes::new(&[ACQUIRED, FAILED, CANCELLED], bind),
            connects: registry.histogram(&metrics.connect, []),
        };
        pool.show(registry, &metrics);
        Ok(pool)
    }
}

impl<DB: Database> Pool<DB> {
    /// Waits for a connection, and times that, whatever it comes to.
    ///
    /// # Errors
    /// When none becomes free in time, or none can be opened.
    pub async fn acquire(&self) -> Result<Lent<DB>, AcquireError> {
        let waiting = Stopwatch::start(&self.waits);
        match self.wait().await {
            Ok((lent, waited, is_opened)) => {
                if is_opened {
                    self.connects
                        .record(waiting.elapsed().saturating_sub(waited));
                    waiting.finish_at(ACQUIRED, waited);
                } else {
                    waiting.finish(ACQUIRED);
                }
                Ok(lent)
            }
            Err(error) => {
                waiting.finish(FAILED);
                Err(error)
            }
        }
    }

    /// A connection, the time until one was free or there was room to open one, and whether it was opened.
    async fn wait(&self) -> Result<(Lent<DB>, Duration, bool), AcquireError> {
        let start = Instant::now();
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = timeout(self.timeout, permit).await;
        let permit = permit.map_err(|_| AcquireError::Busy)?;
        let permit = permit.map_err(|_| AcquireError::Pool(sqlx::Error::PoolClosed))?;
        let waited = start.elapsed();
        let acquire = async {
            let connection = self.connections.acquire().await;
            connection.map(|connection| (connection, IS_OPENED.with(Cell::get)))
        };
        let acquired = IS_OPENED.scope(Cell::new(false), acquire).await;
        let (connection, is_opened) = acquired.map_err(AcquireError::Pool)?;
        let lent = Lent {
            connection,
            _permit: permit,
        };
        Ok((lent, waited, is_opened))
    }

    /// How many connections there may be at once.
    #[must_use]
    pub fn size(&self) -> usize {
        self.connections.options().get_max_connections() as usize
    }

    /// Waits for connections on loan and closes all.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Shows on each page how the connections are used then.
    fn show(&self, registry: &Registry, metrics: &Metrics) {
        let [in_use, idle] =
            ["in_use", "idle"].map(|state| registry.gauge(&metrics.connections, [state]));
        // Pools are far smaller than 2^52.
        let size = self.size();
        let most = registry.gauge(&metrics.max_connections, []);
        most.set(size as f64);
        let pool = self.clone();
        registry.at_scrape(move || {
            let used = size.saturating_sub(pool.permits.available_permits());
            in_use.set(used as f64);
            // What sqlx says of those that are idle may be wrong for a moment, and that is unsigned.
            let open = pool.connections.size() as usize;
            idle.set(open.saturating_sub(used) as f64);
        });
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self {
            connections: self.connections.clone(),
            permits: Arc::clone(&self.permits),
            timeout: self.timeout,
            waits: self.waits.clone(),
            connects: self.connects.clone(),
        }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Pool")
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

/// A connection on loan.
#[derive(Debug)]
pub struct Lent<DB: Database> {
    connection: PoolConnection<DB>,
    _permit: OwnedSemaphorePermit,
}

impl<DB: Database> Deref for Lent<DB> {
    type Target = PoolConnection<DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Lent<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

#[cfg(test)]
mod tests {
    use sqlx::Sqlite;

    use super::*;

    fn number(registry: &Registry, series: &str) -> u64 {
        let page = registry.render();
        let mut lines = page.lines();
        let number = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        number.unwrap_or_default().parse().unwrap()
    }

    #[tokio::test]
    async fn waiting_opening_and_giving_up_are_told_apart() {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let options = PoolOptions::<Sqlite>::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_millis(20));
        let database = "sqlite::memory:".parse().unwrap();
        let pool = Pool::connect(options, database, "select 1", &registry, Metrics::default());
        let pool = pool.await.unwrap();
        let waits = |outcome: &str| {
            let series = format!("db_pool_wait_duration_seconds_count{{outcome=\"{outcome}\"}}");
            number(&registry, &series)
        };
        let connections = |state: &str| {
            let series = format!("db_pool_connections{{state=\"{state}\"}}");
            number(&registry, &series)
        };
        assert_eq!((connections("in_use"), connections("idle")), (0, 1));
        assert_eq!(number(&registry, "db_pool_max_connections"), 1);

        let mut lent = pool.acquire().await.unwrap();
        sqlx::query("select 1").execute(&mut **lent).await.unwrap();
        assert_eq!((connections("in_use"), connections("idle")), (1, 0));
        let refused = pool.acquire().await.unwrap_err();
        assert!(matches!(refused, AcquireError::Busy), "{refused:?}");
        let left = timeout(Duration::from_millis(1), pool.acquire()).await;
        assert!(left.is_err(), "nobody gave one back");
        assert_eq!(
            (waits(ACQUIRED), waits(FAILED), waits(CANCELLED)),
            (1, 1, 1)
        );
        drop(lent);
        pool.acquire().await.unwrap();
        assert_eq!(waits(ACQUIRED), 2);
        // The first one was opened before anybody waited.
        assert_eq!(number(&registry, "db_connect_duration_seconds_count"), 0);
    }
}
