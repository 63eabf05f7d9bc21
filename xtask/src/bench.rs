//! `cargo xtask bench`: what the programs cost on this machine, written into `BENCHMARKS.md`.
//!
//! Here is the page that every bench has a section of. What is measured stands in a file for each.

use anyhow::Result;
use clap::Subcommand;

use crate::page::Page;

mod server;

/// What can be measured.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Bench {
    /// Resident memory of idle WebSockets, beside a plain axum server.
    Server(server::Options),
}

/// Measures, prints what was found, and writes it down.
///
/// # Errors
/// Something could not be built, started or measured, or a goal was missed.
pub(crate) fn bench(what: &Bench) -> Result<()> {
    match what {
        Bench::Server(options) => server::bench(options),
    }
}

const PAGE: Page = Page {
    file: "BENCHMARKS.md",
    head: "# Benchmarks\n\n\
        What the programs cost. Each section is written by the command that it names.\n",
};
