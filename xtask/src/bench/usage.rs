//! What processes and the machine use: CPU time and memory, as the kernel accounts for them.

use std::fs;

use anyhow::{Context as _, Result};

use crate::page::field;

/// CPU time of all threads of a process. Unit: seconds.
///
/// By `/proc/PID/task/*/schedstat`, which counts nanoseconds; `stat` counts hundredths of a second.
///
/// # Errors
/// The process is gone.
pub(super) fn cpu_seconds(process: u32) -> Result<f64> {
    let folder = format!("/proc/{process}/task");
    let mut nanoseconds = 0;
    for entry in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
        // A thread may end between the two.
        let text = fs::read_to_string(entry?.path().join("schedstat")).unwrap_or_default();
        let on_cpu = text.split(' ').next().and_then(|word| word.parse().ok());
        nanoseconds += on_cpu.unwrap_or(0_u64);
    }
    Ok(nanoseconds as f64 / 1e9)
}

/// What a process has in memory. Unit: KiB.
///
/// # Errors
/// The process is gone.
pub(super) fn resident_kib(process: u32) -> Result<u64> {
    let text = field(format!("/proc/{process}/status"), "VmRSS").context("no VmRSS")?;
    let kib = text.strip_suffix(" kB").context("VmRSS is not in kB")?;
    kib.parse().context("VmRSS is no number")
}

/// What the BPF maps of a process have in the kernel. Unit: KiB.
///
/// # Errors
/// The process is gone.
pub(super) fn maps_kib(process: u32) -> Result<u64> {
    let folder = format!("/proc/{process}/fdinfo");
    let mut maps = std::collections::BTreeMap::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("list {folder}"))? {
        let path = entry?.path();
        let number = |key| field(&path, key)?.parse::<u64>().ok();
        if let (Some(id), Some(bytes)) = (number("map_id"), number("memlock")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum::<u64>() >> 10)
}

/// CPU time that the machine spent on anything, over all CPUs. Unit: seconds.
///
/// # Errors
/// `/proc/stat` is not as proc(5) has it.
pub(super) fn machine_cpu_seconds() -> Result<f64> {
    let text = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = text
        .lines()
        .next()
        .and_then(|line| line.strip_prefix("cpu "));
    let fields: Vec<u64> = line
        .context("/proc/stat does not begin with `cpu `")?
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields[..] else {
        anyhow::bail!("/proc/stat has too few fields");
    };
    // Unit: USER_HZ, 100 on every architecture that is supported.
    Ok((user + nice + system + irq + softirq) as f64 / 100.0)
}
