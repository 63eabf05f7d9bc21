//! A PostgreSQL for the benches, with an empty database, until it is stopped.
//!
//! It says one line of JSON: the database's address, and the folder of its socket.
#![expect(clippy::print_stderr, reason = "the bench waits for a line of its log")]

use anyhow::{Context as _, Result};
use serde_json::json;
use tests::postgres::Postgres;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut stopped = signal(SignalKind::terminate()).context("wait for SIGTERM")?;
    let postgres = Postgres::start().await?;
    let url = postgres.create_database("relay")?;
    let socket = postgres.socket();
    let folder = socket.parent().context("a socket is in a folder")?;
    eprintln!("{}", json!({ "url": url, "folder": folder }));
    stopped.recv().await;
    Ok(())
}
