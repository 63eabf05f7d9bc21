//! What the kernel says of a process's BPF programs: how often they ran, and for how long.
//!
//! By `kernel.bpf_stats_enabled` and the descriptors in `/proc/PID/fdinfo`: so it works alike for
//! our programs and for other people's.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;

use anyhow::{Context as _, Result};

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// The kernel measures programs for as long as this lives; then the switch is as it was.
pub(super) struct Measuring {
    before: String,
}

impl Measuring {
    /// Turns the switch on.
    ///
    /// # Errors
    /// Not root, or a kernel without BPF.
    pub(super) fn start() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("read {SWITCH}"))?;
        fs::write(SWITCH, "1").with_context(|| format!("write {SWITCH}: needs root"))?;
        Ok(Self { before })
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        // Nothing can be done about it here, and nothing depends on it.
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// The hooks that are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// A cgroup's packets.
    Packets,
    /// Any other: here, the tracepoint of state changes.
    StateChanges,
}

impl Hook {
    /// By `enum bpf_prog_type` of `include/uapi/linux/bpf.h`.
    fn of_type(program_type: u64) -> Self {
        const CGROUP_SKB: u64 = 8;
        match program_type {
            CGROUP_SKB => Self::Packets,
            _ => Self::StateChanges,
        }
    }
}

/// Runs of a process's programs on one hook.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// Of the program that ran most often: each event runs every program once.
    pub(super) count: u64,
    /// In all of them. Unit: nanoseconds.
    pub(super) nanoseconds: u64,
}

impl Runs {
    /// What the process's programs have run so far.
    ///
    /// # Errors
    /// The process is gone.
    pub(super) fn of(process: u32, hook: Hook) -> Result<Self> {
        let mut programs = BTreeMap::new();
        let folder = format!("/proc/{process}/fdinfo");
        for entry in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
            // A descriptor may be closed between the two.
            let text = fs::read_to_string(entry?.path()).unwrap_or_default();
            if let Some((id, program)) = parse(&text, hook) {
                // Two descriptors may be of one program.
                programs.insert(id, program);
            }
        }
        Ok(Self {
            count: programs.values().map(|runs| runs.count).max().unwrap_or(0),
            nanoseconds: programs.values().map(|runs| runs.nanoseconds).sum(),
        })
    }

    /// Nanoseconds for each event; not a number where there was none.
    pub(super) fn each(self) -> f64 {
        self.nanoseconds as f64 / self.count as f64
    }
}

impl Sub for Runs {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            nanoseconds: self.nanoseconds.saturating_sub(earlier.nanoseconds),
        }
    }
}

/// Whether a process holds any BPF program.
pub(super) fn has_programs(process: u32) -> bool {
    let entries = fs::read_dir(format!("/proc/{process}/fdinfo"));
    entries
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("prog_id:")))
}

/// A descriptor that is a program of this hook: its id, and its runs.
fn parse(text: &str, hook: Hook) -> Option<(u64, Runs)> {
    let field = |key: &str| -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        line.strip_prefix(':')?.trim().parse().ok()
    };
    // A link's descriptor names the program and has no count.
    let runs = Runs {
        count: field("run_cnt")?,
        nanoseconds: field("run_time_ns")?,
    };
    (Hook::of_type(field("prog_type")?) == hook).then_some((field("prog_id")?, runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_known_by_its_descriptor() {
        let text = "pos:\t0\nprog_type:\t26\nprog_jited:\t1\nprog_tag:\tab\nmemlock:\t4096\n\
                    prog_id:\t7\nrun_time_ns:\t300\nrun_cnt:\t3\nrecursion_misses:\t0\n";
        let runs = Runs {
            count: 3,
            nanoseconds: 300,
        };
        assert_eq!(parse(text, Hook::StateChanges), Some((7, runs)));
        assert_eq!(parse(text, Hook::Packets), None);
        assert_eq!(parse("link_id:\t4\nprog_id:\t7\n", Hook::Packets), None);
        assert_eq!(runs.each(), 100.0);
    }
}
