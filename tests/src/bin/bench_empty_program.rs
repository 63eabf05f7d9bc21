//! Attaches BPF programs that do nothing, and holds them until it is stopped.
//!
//! `cargo xtask bench kernel` and `load` measure what their hooks cost. It says `attached` on stderr.
#![expect(clippy::print_stderr, reason = "the bench waits for a line of its log")]

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use aya::{Btf, Ebpf};
use clap::Parser;

/// Attaches programs.
#[derive(Parser)]
struct Arguments {
    /// The object that holds the programs.
    #[arg(long)]
    object: PathBuf,
    /// Attach the one of state changes.
    #[arg(long)]
    state_changes: bool,
    /// Attach the one of packets, to the egress of this cgroup.
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments {
        object,
        state_changes,
        cgroup,
    } = Arguments::parse();
    let mut ebpf =
        Ebpf::load_file(&object).with_context(|| format!("load {}", object.display()))?;
    if state_changes {
        attach_tracepoint(&mut ebpf)?;
    }
    if let Some(cgroup) = cgroup {
        let folder = File::open(&cgroup).with_context(|| format!("open {}", cgroup.display()))?;
        attach_egress(&mut ebpf, &folder)?;
    }
    eprintln!("attached");
    std::future::pending().await
}

fn attach_tracepoint(ebpf: &mut Ebpf) -> Result<()> {
    let btf = Btf::from_sys_fs().context("read the kernel's BTF")?;
    let program = ebpf.program_mut("empty_inet_sock_set_state");
    let program: &mut BtfTracePoint = program.context("no such program")?.try_into()?;
    program.load("inet_sock_set_state", &btf)?;
    program.attach().context("attach to the tracepoint")?;
    Ok(())
}

fn attach_egress(ebpf: &mut Ebpf, cgroup: &File) -> Result<()> {
    let program = ebpf.program_mut("empty_egress");
    let program: &mut CgroupSkb = program.context("no such program")?.try_into()?;
    program.load()?;
    program
        .attach(
            cgroup,
            CgroupSkbAttachType::Egress,
            CgroupAttachMode::Single,
        )
        .context("attach to the cgroup's egress")?;
    Ok(())
}
