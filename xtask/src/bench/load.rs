//! What a service still does while it is watched: requests and WebSocket echoes per second.
//!
//! In many short turns, each round forwards or backwards, so that the machine's drift meets all.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use ureq::Agent;

use super::companion::{Companion, run_release};
use super::figure::{Goal, Ratio, Spread};
use super::wrk::Wrk;
use super::{Report, Run, echo_server};
use crate::services::Ports;
use crate::step::pause;
use crate::verdict::client;

/// After the start of a companion: what starting it took, and what ending the last one left, is no
/// part of what it costs to be watched. Without a companion the machine rests as long.
const SETTLED: Duration = Duration::from_secs(1);

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

    fn against_nobody(&self, companion: Companion) -> Spread {
        Spread::of_ratios(self.of(companion), self.of(Companion::Nobody))
    }

    fn render(&self, text: &mut String) -> Result<()> {
        writeln!(
            text,
            "{} {} rounds.\n\n| beside | per second | of none |\n|---|---|---|",
            self.title, self.rounds
        )?;
        for (companion, rates) in &self.rows {
            let (rate, ratio) = (Spread::of(rates), self.against_nobody(*companion));
            writeln!(text, "| {} | {rate} | {ratio} |", companion.label())?;
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
    let mut server = echo_server(&ports, None, &run.interrupt)?;
    let seconds = 1;
    let [nobody, observer] = [Companion::Nobody, Companion::Observer];
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
            &[nobody, observer],
        ),
        Series::new(
            "WebSocket messages, each sent when the one before is echoed.",
            echoes,
            rounds,
            &[nobody, observer],
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
    let ratios = vec![
        Ratio::new(
            "requests/s with the observer / without",
            series[0].against_nobody(observer),
            Goal::AtLeast(0.99),
        ),
        Ratio::new(
            "WebSocket echoes/s with the observer / without",
            series[1].against_nobody(observer),
            Goal::AtLeast(0.99),
        ),
    ];
    let mut section = format!(
        "## What a service does while it is watched\n\n\
         `cargo xtask bench load`: a plain axum server on loopback, rounds of {seconds} s for each, in \
         turns; the observer checks once a second. Client and server have the same CPUs, so all of \
         them are busy: what a companion takes, the service lacks. The quotient is taken in each \
         round. On a shared machine one round is a tenth apart from the next: of {rounds} of them, \
         the median is still uncertain by two hundredths.\n\n"
    );
    for series in &series {
        series.render(&mut section)?;
    }
    Ok(Report::with_ratios(section, ratios))
}
