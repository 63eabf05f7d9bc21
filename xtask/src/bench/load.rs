//! What a service still does while it is watched: requests and WebSocket echoes per second.
//!
//! In many short turns, each round forwards or backwards, so that the machine's drift meets all; and
//! on one CPU, so that it is no matter of luck which thread shares a CPU with which.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;
use ureq::Agent;

use super::companion::{Companion, run_release};
use super::figure::{Goal, Ratio, Spread, quotients, short};
use super::wrk::Wrk;
use super::{Report, Run, echo_server};
use crate::services::Ports;
use crate::step::pause;
use crate::verdict::client;

/// After the start of a companion: what starting it took, and what ending the last one left, is no
/// part of what it costs to be watched. Without a companion the machine rests as long.
const SETTLED: Duration = Duration::from_secs(1);

/// This thread, and what it starts from now on, has one CPU; until this is dropped.
struct OneCpu {
    before: CpuSet,
}

impl OneCpu {
    /// The last that it may use: the first ones are those that serve devices.
    ///
    /// # Errors
    /// The kernel refuses.
    fn take() -> Result<Self> {
        let before = sched_getaffinity(None).context("ask for the CPUs")?;
        let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| before.is_set(cpu));
        let mut one = CpuSet::new();
        one.set(last.context("no CPU")?);
        sched_setaffinity(None, &one).context("choose a CPU")?;
        Ok(Self { before })
    }
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        // It was its own before.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// What the service is asked.
enum Load {
    /// A connection per request.
    Requests(Wrk),
    /// Echoes on WebSockets; the arguments of `bench_echo`.
    Echoes(Vec<String>),
}

impl Load {
    /// Loads, and tells how many were answered per second.
    fn rate(&self) -> Result<f64> {
        match self {
            Self::Requests(wrk) => Ok(wrk.run()?.rate),
            Self::Echoes(arguments) => {
                let said = run_release("bench_echo", arguments)?;
                let said: Value = serde_json::from_str(&said).context("parse what it says")?;
                let number = |key| said.get(key).and_then(Value::as_f64).context("no number");
                Ok(number("messages")? / number("seconds")?)
            }
        }
    }

    fn command(&self) -> String {
        match self {
            Self::Requests(wrk) => format!("wrk {}", wrk.arguments().join(" ")),
            Self::Echoes(arguments) => format!("bench_echo {}", arguments.join(" ")),
        }
    }
}

/// One load, with the rounds of each companion. Unit: answers per second.
struct Series {
    title: &'static str,
    load: Load,
    rounds: u64,
    rows: Vec<(Companion, Vec<f64>)>,
}

impl Series {
    fn new(title: &'static str, load: Load, rounds: u64, companions: &[Companion]) -> Self {
        Self {
            title,
            load,
            rounds,
            rows: companions
                .iter()
                .map(|&companion| (companion, Vec::new()))
                .collect(),
        }
    }

    fn round(&mut self, turn: u64, ports: &Ports, client: &Agent, run: &Run) -> Result<()> {
        let mut rows: Vec<_> = self.rows.iter_mut().collect();
        if turn % 2 == 1 {
            rows.reverse();
        }
        for (companion, rates) in rows {
            ensure!(!run.interrupt.came(), "interrupted");
            let _beside = companion.start(ports, client, &run.interrupt)?;
            pause(SETTLED);
            rates.push(self.load.rate()?);
        }
        Ok(())
    }

    fn of(&self, companion: Companion) -> &[f64] {
        let row = self.rows.iter().find(|(other, _)| *other == companion);
        row.map_or(&[], |(_, rates)| rates)
    }

    /// What is left beside one companion of what is left beside another, in each round.
    fn against(&self, companion: Companion, other: Companion) -> Vec<f64> {
        quotients(self.of(companion), self.of(other))
    }

    fn render(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "{} {} rounds.\n\n| beside | per second | of none | median within |\n|---|---|---|---|",
            self.title, self.rounds
        )?;
        for (companion, rates) in &self.rows {
            let ratios = self.against(*companion, Companion::Nobody);
            let (low, high) = Spread::median_within(&ratios);
            writeln!(
                text,
                "| {} | {} | {} | {low:.3}–{high:.3} |",
                companion.label(),
                Spread::of(rates),
                Spread::of(&ratios)
            )?;
        }
        writeln!(text, "\n```console\n$ {}\n```\n", self.load.command())?;
        Ok(())
    }
}

/// Measures both loads.
///
/// # Errors
/// Something could not be started or measured.
pub(super) fn bench(run: &Run) -> Result<Report> {
    let client = client();
    let ports = Ports::choose()?;
    let one_cpu = OneCpu::take()?;
    let mut server = echo_server(&ports, None, &run.interrupt)?;
    let seconds = 1;
    let [nobody, observer] = [Companion::Nobody, Companion::Observer];
    let companions = match run.quick {
        true => vec![nobody, observer],
        false => vec![nobody, Companion::EmptyPair, observer],
    };
    let requests = || {
        Load::Requests(Wrk {
            url: format!("http://127.0.0.1:{}/", ports.public),
            connections: 16,
            seconds,
            header: Some("connection: close"),
        })
    };
    let echoes = Load::Echoes(vec![
        format!("--address=127.0.0.1:{}", ports.public),
        format!("--seconds={seconds}"),
    ]);
    // What costs little takes many rounds to be seen at all.
    let rounds = run.size(41, 5);
    let mut series = vec![
        Series::new(
            "Requests, a connection for each.",
            requests(),
            rounds,
            &companions,
        ),
        Series::new(
            "WebSocket messages, each sent when the one before is echoed.",
            echoes,
            rounds,
            &companions,
        ),
    ];
    if !run.quick {
        series.push(Series::new(
            "Requests, a connection for each, beside what people use instead.",
            requests(),
            11,
            &[nobody, Companion::TcpStates, Companion::Ss],
        ));
    }
    for series in &mut series {
        for turn in 0..series.rounds {
            eprintln!("{} Round {}", series.title, turn + 1);
            server.check_running()?;
            series.round(turn, &ports, &client, run)?;
        }
    }
    // The report tells how many CPUs there are.
    drop(one_cpu);
    let ratios = vec![
        Ratio::new(
            "requests/s with the observer / without",
            Spread::of(&series[0].against(observer, nobody)),
            Goal::AtLeast(0.99),
        ),
        Ratio::new(
            "WebSocket echoes/s with the observer / without",
            Spread::of(&series[1].against(observer, nobody)),
            Goal::AtLeast(0.99),
        ),
    ];
    let mut section = format!(
        "## What a service does while it is watched\n\n\
         `cargo xtask bench load`: a plain axum server on loopback, rounds of {seconds} s for each, in \
         turns; the observer checks once a second. Client, server and companion have one CPU together, \
         which is busy all along: what a companion takes, the service lacks. The quotient is taken in \
         each round; *median within* is where the median of endless rounds is, with a confidence of \
         95 %.\n\n"
    );
    if !run.quick {
        section += &floor(&series[0], &series[1]);
    }
    for series in &series {
        series.render(&mut section)?;
    }
    Ok(Report::with_ratios(section, ratios))
}

/// What the hooks take, whatever runs there, in words.
fn floor(requests: &Series, echoes: &Series) -> String {
    let left = |series: &Series, companion, other| {
        short(Spread::of(&series.against(companion, other)).median)
    };
    let [nobody, empty, observer] = [Companion::Nobody, Companion::EmptyPair, Companion::Observer];
    format!(
        "The empty programs do nothing, on the observer's two hooks. Both ends are on this host, and \
         each of them runs the hooks: a request takes eleven state changes and ten packets, an echo two \
         packets. That the kernel runs a program there, whatever it does, leaves {} of the requests and \
         {} of the echoes. Of what empty programs leave, the observer leaves {} and {}.\n\n",
        left(requests, empty, nobody),
        left(echoes, empty, nobody),
        left(requests, observer, empty),
        left(echoes, observer, empty),
    )
}
