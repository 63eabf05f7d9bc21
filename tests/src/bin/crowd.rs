//! Clients in a process of their own: to be killed, or to be put into a network namespace.
//!
//! It opens its connections, says `open` on stderr, and holds them until it is stopped.
#![expect(clippy::print_stderr, reason = "the test waits for a line of its log")]

use std::net::SocketAddr;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use tests::load::{Crowd, Kind, Target};
use tests::process::raise_descriptor_limit;

/// Opens connections and holds them.
#[derive(Parser)]
struct Arguments {
    /// Where to.
    #[arg(long)]
    address: SocketAddr,
    /// The path that is asked for.
    #[arg(long, default_value = "/v1/gateway")]
    path: String,
    /// What is spoken.
    #[arg(long, value_enum)]
    kind: Spoken,
    /// The bearer token that they show.
    #[arg(long)]
    bearer: Option<String>,
    /// How many.
    #[arg(long)]
    count: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Spoken {
    Tcp,
    Http,
    Websocket,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let kind = match arguments.kind {
        Spoken::Tcp => Kind::Tcp,
        Spoken::Http => Kind::Http,
        Spoken::Websocket => Kind::WebSocket,
    };
    raise_descriptor_limit()?;
    let mut target = Target::new(arguments.address, &arguments.path);
    if let Some(token) = &arguments.bearer {
        target = target.bearer(token);
    }
    let mut crowd = Crowd::new(target);
    crowd.open(kind, arguments.count, 16).await?;
    eprintln!("open");
    std::future::pending().await
}
