//! Attaches a BPF program that does nothing, and holds it until it is stopped.
//!
//! `cargo xtask bench kernel` measures what its hook costs. It says `attached` on stderr.
#![expect(clippy::print_stderr, reason = "the bench waits for a line of its log")]

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use aya::programs::{BtfTracePoint, CgroupAttachMode, CgroupSkb, CgroupSkbAttachType};
use aya::{Btf, Ebpf};
use clap::Parser;

/// Attaches one program.
#[derive(Parser)]
struct Arguments {
    /// The object that holds the programs.
    #[arg(long)]
    object: PathBuf,
    /// The cgroup to whose egress the one of packets is attached; without it, the one of state
    /// changes is attached.
    #[arg(long)]
    cgroup: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let Arguments { object, cgroup } = Arguments::parse();
    let mut ebpf =
        Ebpf::load_file(&object).with_context(|| format!("load {}", object.display()))?;
    match cgroup {
        None => attach_tracepoint(&mut ebpf)?,
        Some(cgroup) => attach_egress(
            &mut ebpf,
            &File::open(&cgroup).with_context(|| format!("open {}", cgroup.display()))?,
        )?,
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
