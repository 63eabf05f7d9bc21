//! `ss`: a third pair of eyes, which shares no code with the observer.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Open sockets with this local port by state, in `ss`' words, without listeners and TIME-WAIT.
///
/// # Errors
/// `ss` (iproute2) is missing or fails.
pub fn states(port: u16) -> Result<BTreeMap<String, u64>> {
    let output = Command::new("ss")
        .args(["-H", "-t", "-a", "-n", &format!("sport = :{port}")])
        .output()
        .context("run ss (package iproute2)")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "ss: {}", output.status);
    let mut states = BTreeMap::new();
    for state in text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
    {
        // SYN-RECV is a request, not yet a socket; UNCONN is one that never was or is no more.
        if !["LISTEN", "TIME-WAIT", "SYN-RECV", "UNCONN"].contains(&state) {
            *states.entry(state.to_owned()).or_default() += 1;
        }
    }
    Ok(states)
}

/// As [`states`]: those that are ESTABLISHED, and those that are open otherwise.
///
/// # Errors
/// As of [`states`].
pub fn established_and_closing(port: u16) -> Result<(u64, u64)> {
    let states = states(port)?;
    let established = states.get("ESTAB").copied().unwrap_or(0);
    Ok((established, states.values().sum::<u64>() - established))
}
