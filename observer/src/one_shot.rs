//! `observer check`: one verdict, as monitoring plugins give it.
//!
//! It watches for as long as a verdict takes, and no longer: the window of a check, and that of the
//! checks that confirm a drift.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use observer::{
    api::{TargetList, TargetReport},
    args::Output,
    config::Config,
    watch::Start,
};

use crate::run;

/// Between two scrapes while a verdict is awaited.
const INTERVAL: Duration = Duration::from_millis(500);
/// Beyond what the checks themselves take.
const SLACK: Duration = Duration::from_secs(10);

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
        let one = target.settle * 2 + target.scrape_timeout + INTERVAL;
        let looked = target.settle * 3 + target.scrape_timeout * 2;
        patience = patience.max(SLACK + one * (target.confirm + 1) + looked);
    }
    let watch = run::open(&config)?;
    run::block_on(async {
        let mut tasks = watch.spawn(Start::AtOnce)?;
        let give_up = Instant::now() + patience;
        loop {
            let reports: Vec<_> = watch
                .targets
                .iter()
                .map(|target| TargetReport::of(target))
                .collect();
            if reports.iter().all(is_final) || Instant::now() > give_up {
                drop(tasks);
                return Ok(Outcome { reports });
            }
            tokio::select! {
                () = tokio::time::sleep(INTERVAL / 10) => {}
                ended = tasks.ended() => return Err(ended.into()),
            }
        }
    })
}

fn is_final(report: &TargetReport) -> bool {
    match (&*report.verdict, report.reason.as_deref()) {
        ("agree", _) => true,
        // The sockets that it is about are looked for next.
        ("over" | "under", _) => report.suspects.is_some(),
        // These pass by themselves.
        ("blind", Some("not_seeded" | "restarted" | "lost" | "witnesses_disagree")) => false,
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
            for (what, value) in [
                ("low", report.low),
                ("high", report.high),
                ("drift", report.drift),
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
