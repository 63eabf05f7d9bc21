//! `cargo xtask`: the project's tasks, one file each.
//!
//! This file knows their names and options only.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod bench;
mod bpf_toolchain;
mod build_ebpf;
mod campaign;
mod crowd;
mod dashboards;
mod demo;
mod dist;
mod fuzz;
mod imports;
mod kernels;
mod orphans;
mod page;
mod services;
mod setup;
mod step;
mod test;
mod tidy;
mod up;
mod verdict;
mod workspace;

use setup::Purpose;

/// Plumbline's tasks.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// List what is missing to build, run and test, and install it.
    Setup {
        /// Only tell, and fail if something is missing.
        #[arg(long)]
        check: bool,
    },
    /// Compile the BPF programs, and put the object where the observer embeds it.
    BuildEbpf,
    /// Watch the observer judge an honest server and a lying one.
    Demo,
    /// Run a server and an observer until Ctrl-C.
    Up,
    /// Run the kernel tests on Debian's older kernels, in QEMU.
    Kernels(kernels::Options),
    /// Run a long test in full, and write what it came to into CAMPAIGNS.md.
    Campaign(campaign::Options),
    /// Give what the observer reads of others to a fuzzer.
    Fuzz(fuzz::Options),
    /// Measure what the programs cost, and write it into BENCHMARKS.md.
    Bench(bench::Options),
    /// Write the Grafana dashboards into deploy/grafana.
    Dashboards,
    /// Build the Debian packages into target/dist.
    Dist(dist::Options),
    /// Check and test everything; list what could not be tested here.
    Test(test::Options),
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
        Task::Setup { check: true } => setup::check(),
        Task::Setup { check: false } => setup::setup(Purpose::Test),
        Task::BuildEbpf => build_ebpf::build_ebpf(),
        Task::Demo => demo::demo(),
        Task::Up => up::up(),
        Task::Kernels(options) => kernels::kernels(&options),
        Task::Campaign(options) => campaign::campaign(&options),
        Task::Fuzz(options) => fuzz::fuzz(options),
        Task::Bench(options) => bench::bench(&options),
        Task::Dashboards => dashboards::dashboards(),
        Task::Dist(options) => dist::dist(options),
        Task::Test(options) => test::test(options),
    }
}
