//! Where the time of the BPF programs goes: by samples of `perf`, under a connection per request.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::thread;

use anyhow::{Context as _, Result};

use super::companion::{Companion, run};
use super::wrk::Wrk;
use super::{Report, Run, echo_server};
use crate::page::circumstances;
use crate::services::Ports;
use crate::verdict::client;
use crate::workspace;

/// The ends of the names that the kernel gives to our programs' code.
const PROGRAMS: [&str; 2] = ["_inet_sock_set_state", "_egress"];

/// Lines of a program's table; the rest is summed.
const LINES: usize = 10;

/// Samples by the program and by the function that ran.
#[derive(Debug, Default, PartialEq, Eq)]
struct Profile {
    samples: u64,
    programs: [BTreeMap<String, u64>; PROGRAMS.len()],
}

/// Samples, and makes a table.
///
/// # Errors
/// `perf` is missing or refused, or something could not be started.
pub(super) fn bench(settings: &Run) -> Result<Report> {
    let ports = Ports::choose()?;
    let _server = echo_server(&ports, None, &settings.interrupt)?;
    let _observer = Companion::Observer.start(&ports, &client(), &settings.interrupt)?;
    let seconds = settings.size(10, 3);
    let load = Wrk {
        url: format!("http://127.0.0.1:{}/", ports.public),
        connections: 16,
        // perf starts a little later, and shall end first.
        seconds: seconds + 3,
        header: Some("connection: close"),
    };
    let file = workspace::root().join("target/xtask/bench-perf.data");
    let record = format!("perf record --quiet -e cpu-clock -F 9999 -a -g -- sleep {seconds}");
    let loaded = thread::scope(|scope| {
        let loading = scope.spawn(|| load.run());
        let mut words = record.split(' ');
        let mut perf = Command::new(words.next().context("no command")?);
        perf.arg(words.next().context("no command")?)
            .arg(format!("--output={}", file.display()))
            .args(words);
        run(&mut perf)?;
        let loaded = loading.join();
        loaded.map_err(|_| anyhow::anyhow!("the loading thread panicked"))?
    })?;
    let said = run(Command::new("perf")
        .args(["script", "-F", "comm,ip,sym"])
        .arg(format!("--input={}", file.display())))?;
    let profile = parse(&said);
    let mut section = format!(
        "## Where the time of the BPF programs goes\n\n\
         `cargo xtask bench profile`: {:.0} connections a second, one request each, from `wrk` to a \
         plain axum server; {} samples of both CPUs in {seconds} s.\n",
        loaded.rate, profile.samples
    );
    for (program, functions) in PROGRAMS.iter().zip(&profile.programs) {
        render(
            program.trim_start_matches('_'),
            functions,
            profile.samples,
            &mut section,
        )?;
    }
    write!(
        section,
        "\nA program's own code is where the caches miss first: the program itself, the socket, its \
         slot, `PORTS`, the counts. The rest are helpers of the kernel.\n\n\
         ```console\n$ {record}\n```\n\n{}.\n",
        circumstances()
    )?;
    Ok(Report {
        section,
        ratios: Vec::new(),
    })
}

/// Of what `perf script` prints: blocks of frames, the innermost first.
fn parse(said: &str) -> Profile {
    let mut profile = Profile::default();
    for block in said.split("\n\n") {
        let frames: Vec<&str> = block
            .lines()
            .filter(|line| line.starts_with(char::is_whitespace))
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        let Some(&leaf) = frames.first() else {
            continue;
        };
        profile.samples += 1;
        let program = frames.iter().find_map(|frame| {
            let is_ours = |end: &&str| frame.starts_with("bpf_prog_") && frame.ends_with(*end);
            Some((frame, PROGRAMS.iter().position(is_ours)?))
        });
        if let Some((frame, index)) = program {
            let name = if leaf == *frame { "its own code" } else { leaf };
            *profile.programs[index].entry(name.to_owned()).or_default() += 1;
        }
    }
    profile
}

fn render(
    name: &str,
    functions: &BTreeMap<String, u64>,
    samples: u64,
    text: &mut String,
) -> Result<()> {
    let all: u64 = functions.values().sum();
    let share = |part: u64, of: u64| 100.0 * part as f64 / of.max(1) as f64;
    writeln!(
        text,
        "\n`{name}`: {:.2} % of the time of the machine, {all} samples.\n\n\
         | function | share of the program, % |\n|---|---:|",
        share(all, samples)
    )?;
    let mut sorted: Vec<_> = functions.iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (function, count) in sorted.iter().take(LINES) {
        writeln!(text, "| {function} | {:.1} |", share(**count, all))?;
    }
    let rest = sorted.iter().skip(LINES).map(|(_, count)| **count).sum();
    writeln!(text, "| others | {:.1} |", share(rest, all))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_belongs_to_the_program_that_called() {
        let said = "wrk\n\tffff1 htab_map_hash\n\tffff2 bpf_prog_0a_inet_sock_set_state\n\
                    \tffff3 tcp_close\n\nwrk\n\tffff2 bpf_prog_0a_inet_sock_set_state\n\n\
                    wrk\n\tffff9 schedule\n\n";
        let profile = parse(said);
        assert_eq!(profile.samples, 3);
        let [changes, packets] = &profile.programs;
        assert_eq!(changes.get("htab_map_hash"), Some(&1));
        assert_eq!(changes.get("its own code"), Some(&1));
        assert!(packets.is_empty());
    }
}
