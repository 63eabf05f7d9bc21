//! What the kernel says of each program: attached, how often it ran, for how long, what it missed.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    time::Duration,
};

use aya::{Ebpf, programs::Program};

use super::{EGRESS, LIFECYCLE};

/// The state of one program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProgramReport {
    /// Its name.
    pub name: &'static str,
    /// Whether it is loaded, which here means attached.
    pub is_attached: bool,
    /// Runs, if the kernel counts them (`kernel.bpf_stats_enabled`).
    pub runs: Option<u64>,
    /// Time spent in it, if the kernel counts it.
    pub run_time: Option<Duration>,
    /// Events that the kernel did not hand to it since it was running on that CPU already
    /// (`recursion_misses`, Linux 5.12; counted for raw tracepoints since 6.1); none where the kernel
    /// does not say. It is not all: what a kernel withholds for a reason of its own it may not count.
    pub missed: Option<u64>,
}

/// More than the kernel prints of a program.
const REPORT: usize = 2_048;

/// The report on each program.
pub(super) fn report(ebpf: &Ebpf) -> Vec<ProgramReport> {
    [LIFECYCLE, EGRESS]
        .map(|name| report_of(ebpf, name))
        .to_vec()
}

/// The report on one program.
pub(super) fn report_of(ebpf: &Ebpf, name: &'static str) -> ProgramReport {
    let program = ebpf.program(name);
    let fd = match program {
        Some(Program::BtfTracePoint(program)) => program.fd().ok(),
        Some(Program::CgroupSkb(program)) => program.fd().ok(),
        _ => None,
    };
    let Some(fd) = fd else {
        return ProgramReport {
            name,
            ..ProgramReport::default()
        };
    };
    // bpf_prog_show_fdinfo() of kernel/bpf/syscall.c prints these for a program's fd.
    let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
    let mut text = [0; REPORT];
    let length = File::open(path).and_then(|file| file.read_at(&mut text, 0));
    let text = str::from_utf8(&text[..length.unwrap_or(0)]).unwrap_or_default();
    let field = |key: &str| {
        text.lines().find_map(|line| {
            line.strip_prefix(key)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        })
    };
    // Without bpf_stats both stay 0: not measured, which is not the same as none.
    let run_time = field("run_time_ns").filter(|ns| *ns > 0);
    ProgramReport {
        name,
        is_attached: true,
        runs: run_time.and(field("run_cnt")),
        run_time: run_time.map(Duration::from_nanos),
        missed: field("recursion_misses"),
    }
}
