//! `cargo xtask`: the project's tasks, one file each.
//!
//! This file knows their names and options only.
#![expect(clippy::print_stderr, reason = "a command line talks")]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bpf_toolchain;
mod build_ebpf;
mod workspace;

/// Plumbline's tasks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile the BPF programs, and put the object where the observer embeds it.
    BuildEbpf,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::BuildEbpf => build_ebpf::build_ebpf(),
    }
}
