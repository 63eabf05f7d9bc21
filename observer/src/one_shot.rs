//! `observer check`: one verdict, as monitoring plugins give it.
//!
//! It watches for as long as a verdict takes, and no longer: the window of a check, and that of the
//! checks that confirm a drift. Where most connections were open before it came, and may or may not be
//! WebSockets, it waits until they have shown it, for as long as services take from ping to ping.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use observer::{
    api::{TargetList, TargetReport},
    args::Output,
    claim::Selection,
    config::Config,
    watch::Start,
};

use crate::run;

/// Between two scrapes while a verdict is awaited.
const INTERVAL: Duration = Duration::from_millis(500);
/// Between two scrapes of a Prometheus server that is asked: as most are configured, or sooner.
const SCRAPED: Duration = Duration::from_secs(30);
/// Beyond what the checks themselves take.
const SLACK: Duration = Duration::from_secs(10);
/// Most services that ping do so at least every 30 s.
const PING_ROUND: Duration = Duration::from_secs(35);
/// Between two lines that say what is waited for.
const PROGRESS: Duration = Duration::from_secs(5);

/// What was found, of every target.
pub(crate) struct Outcome {
    reports: Vec<TargetReport>,
}

/// Checks every target once.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn check(mut config: Config) -> anyhow::Result<Outcome> {
    let mut patience = SLACK;
    for target in &mut config.targets {
        target.interval = target.interval.min(INTERVAL);
        let beat = match target.claim {
            Selection::Query(_) => SCRAPED,
            _ => INTERVAL,
        };
        let one = target.settle * 2 + target.scrape_timeout + beat;
        let looked = target.settle * 3 + target.scrape_timeout * 2;
        let shown = one * (target.confirm + 1) + target.confirm_for;
        patience = patience.max(SLACK + shown + looked);
    }
    let watch = run::open(&config)?;
    run::block_on(async {
        let mut tasks = watch.spawn(Start::AtOnce)?;
        let began = Instant::now();
        let mut told = began;
        let mut last_unclassified: Option<Instant> = None;
        loop {
            let reports: Vec<_> = watch
                .targets()
                .iter()
                .map(|target| TargetReport::of(target))
                .collect();
            let waited = began.elapsed();
            let unclassified: u64 = reports.iter().map(unclassified).sum();
            if unclassified > 0 {
                last_unclassified = Some(Instant::now());
            }
            // What is not classified by then will not be soon. What just was passes, in the windows of
            // the next checks, for so many that came.
            let is_settled = last_unclassified.is_none_or(|last| last.elapsed() > SLACK);
            let is_round_over = waited > PING_ROUND || is_settled;
            let is_final = |report| is_final(report) && (is_round_over || !is_vain(report));
            let patience = match last_unclassified {
                None => patience,
                Some(_) => patience.max(PING_ROUND + SLACK),
            };
            if reports.iter().all(is_final) || waited > patience {
                drop(tasks);
                return Ok(Outcome { reports });
            }
            if unclassified > 0 && reports.iter().any(is_vain) && told.elapsed() > PROGRESS {
                told = Instant::now();
                let (seconds, most) = (waited.as_secs(), PING_ROUND.as_secs());
                // On a closed stderr there is nobody to tell.
                let _ = writeln!(
                    io::stderr(),
                    "waiting for the next frame of {unclassified} connections that were open \
                     before, to know whether they are WebSockets: {seconds} s of at most {most} s"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL / 10) => {}
                ended = tasks.ended() => return Err(ended.into()),
            }
        }
    })
}

/// Connections that may or may not be of the kind that the gauge counts, and may show it yet.
fn unclassified(report: &TargetReport) -> u64 {
    let connections = report.connections.filter(|_| report.counts == "websocket");
    connections.map_or(0, |connections| connections.unclassified)
}

/// Whether nearly any claim would have agreed.
fn is_vain(report: &TargetReport) -> bool {
    report.reason.as_deref() == Some("too_wide")
}

fn is_final(report: &TargetReport) -> bool {
    match (&*report.verdict, report.reason.as_deref()) {
        ("agree", _) => true,
        // The sockets that it is about are looked for next.
        ("over" | "under", _) => report.suspects.is_some(),
        // These pass by themselves.
        (
            "blind",
            Some("not_seeded" | "restarted" | "lost" | "witnesses_disagree" | "first_reading"),
        ) => false,
        ("blind", _) => report.checks > 0,
        _ => false,
    }
}

impl Outcome {
    /// 0 agree, 1 unsettled, 2 over or under, 3 blind: the worst of all targets.
    pub(crate) fn exit_code(&self) -> u8 {
        let severity = |report: &TargetReport| match &*report.verdict {
            "agree" => 0,
            "unsettled" => 1,
            "blind" => 2,
            _ => 3,
        };
        match self.reports.iter().map(severity).max() {
            Some(0) => 0,
            Some(1) => 1,
            Some(3) => 2,
            _ => 3,
        }
    }

    /// The plugin's line, with the reasoning below it if `is_verbose`; or everything as JSON.
    ///
    /// # Errors
    /// When JSON cannot be written.
    pub(crate) fn render(&self, output: Output, is_verbose: bool) -> anyhow::Result<String> {
        if output == Output::Json {
            let list = TargetList {
                targets: self.reports.clone(),
            };
            return Ok(serde_json::to_string_pretty(&list).context("write JSON")? + "\n");
        }
        let status = match self.exit_code() {
            0 => "OK",
            1 => "WARNING",
            2 => "CRITICAL",
            _ => "UNKNOWN",
        };
        let sentences: Vec<_> = self
            .reports
            .iter()
            .map(|report| report.sentence.as_str())
            .collect();
        // A `|` would end the text: performance data follows it.
        let text = sentences.join(" ").replace('|', "/");
        let mut line = format!("OBSERVER {status} - {text} |");
        for report in &self.reports {
            let name = &report.name;
            if let Some(claim) = report.claim {
                let _ = write!(line, " '{name}_claim'={claim}");
            }
            let resolution = report.resolution.and_then(|widest| widest.try_into().ok());
            for (what, value) in [
                ("low", report.low),
                ("high", report.high),
                ("drift", report.drift),
                ("resolution", resolution),
            ] {
                if let Some(value) = value {
                    let _ = write!(line, " '{name}_{what}'={value}");
                }
            }
        }
        line.push('\n');
        if is_verbose {
            for report in &self.reports {
                let _ = writeln!(line, "{}:", report.name);
                if let Some(reasoning) = &report.reasoning {
                    let _ = write!(line, "{reasoning}");
                }
                if let Some(suspects) = &report.suspects {
                    line.push_str(&suspects.text());
                }
            }
        }
        Ok(line)
    }
}
