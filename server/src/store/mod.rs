//! The database: accounts, messages and what is known of attachments.
//!
//! Knows SQL. Deliberately does not know HTTP, WebSockets or who is connected. The same statements
//! run on SQLite and PostgreSQL; only the migrations differ.

mod accounts;
mod attachments;
mod messages;
mod pool;
mod retention;
mod room;

use std::{path::Path, sync::Arc};

pub(crate) use attachments::Attachment;
pub(crate) use messages::{Ack, NewMessage, NotStored};
pub use pool::OpenError;
use pool::Pool;
pub(crate) use pool::is_supported;
pub(crate) use retention::BATCH;
pub(crate) use room::Room;

use tokio::sync::Semaphore;

use exporter::breaker::Open;

use crate::{config::Config, metrics_service::MetricsService};

/// Why the store did not do what it was asked; all who asked at once are told the same.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database kept failing and is left alone for a while.
    #[error("the database is not available")]
    Unavailable(#[from] Open),
    /// So many wait for the database that no connection became free in time.
    #[error("too many wait for the database")]
    Busy,
    /// No connection could be opened.
    #[error("no database connection")]
    Connection(#[source] Arc<sqlx::Error>),
    /// The database did not answer in time.
    #[error("statement `{statement}` was not answered")]
    Mute {
        /// The statement's name.
        statement: &'static str,
    },
    /// The statement failed.
    #[error("statement `{statement}` failed")]
    Statement {
        /// The statement's name.
        statement: &'static str,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
}

impl StoreError {
    /// Whether the database works and merely said no: to a constraint that is violated, or to data
    /// that it cannot hold.
    fn is_refusal(&self) -> bool {
        let Self::Statement { source, .. } = self else {
            return false;
        };
        source.as_database_error().is_some_and(|error| {
            // Class 22 of SQLSTATE is "data exception", such as a text with a NUL. SQLite has no
            // SQLSTATE: its codes are shorter, and it holds any text.
            let is_data = error
                .code()
                .is_some_and(|code| code.len() == 5 && code.starts_with("22"));
            is_data
                || error.is_unique_violation()
                || error.is_foreign_key_violation()
                || error.is_check_violation()
        })
    }
}

/// The database of one relay.
pub(crate) struct Store {
    pool: Pool,
    /// Held while a session reads its messages: however many do so at once, others find a connection.
    reads: Semaphore,
}

impl Store {
    /// Opens the database that `config` names and brings its schema up to date.
    ///
    /// # Errors
    /// When the address is not understood, the database cannot be reached, or a migration fails.
    pub(crate) async fn open(
        config: &Config,
        metrics: Arc<MetricsService>,
    ) -> Result<Self, OpenError> {
        let pool = Pool::open(config, metrics).await?;
        let reads = Semaphore::new((pool.size() / 2).max(1));
        Ok(Self { pool, reads })
    }

    /// Whether the database is known to work.
    ///
    /// # Errors
    /// It kept failing, and is left alone or tried out.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        Ok(self.pool.check()?)
    }

    /// Asks a database that was left alone, each time that is due; its breaker sees the answers. Never
    /// ends.
    pub(crate) async fn probe(&self) {
        loop {
            self.pool.due().await;
            if let Err(error) = self.ask().await {
                tracing::debug!(%error, "the database is still not available");
            }
        }
    }

    /// Asks for a write that changes nothing: a database that can only be read is of no use.
    async fn ask(&self) -> Result<(), StoreError> {
        let mut connection = self.pool.acquire().await?;
        let (database, statement) = connection.statement("probe");
        let work = sqlx::query("delete from messages where sequence < 0").execute(database);
        statement.run(work).await?;
        Ok(())
    }

    /// Waits for statements in flight and closes every connection.
    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

/// The address of the SQLite file at `path`, created when it is missing.
fn sqlite_url(path: &Path) -> String {
    // The address is percent-decoded by the driver, so what would end the path is encoded.
    let path = path.to_string_lossy();
    let path = path
        .replace('%', "%25")
        .replace('?', "%3F")
        .replace('#', "%23");
    format!("sqlite:{path}?mode=rwc")
}
