//! What services of others do, in any order and at any moment: none of them is blamed while it is
//! honest, and none can hide a leak.
//!
//! A round is one service with two gauges: of its WebSockets, and of the connections that it has
//! accepted. It does what real ones were seen to do before and while an observer comes, with the gauges
//! always right; then one gauge goes wrong by a few, and is healed. The seed is printed;
//! `PLUMBLINE_SEED` runs the same rounds again, with other moments.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::dice::{Dice, first_seed};
use tests::observer::{Observer, Watched};
use tests::scripted::UPGRADE;
use tests::{campaign, kernel_or_skip, wait};

use super::sequences::Service;

/// In full, and as a share.
const ROUNDS: (u64, u64) = (200, 8);
/// Services that one observer watches at a time, by the names of their two targets.
const NAMES: [[&str; 2]; 8] = [
    ["websockets-0", "accepted-0"],
    ["websockets-1", "accepted-1"],
    ["websockets-2", "accepted-2"],
    ["websockets-3", "accepted-3"],
    ["websockets-4", "accepted-4"],
    ["websockets-5", "accepted-5"],
    ["websockets-6", "accepted-6"],
    ["websockets-7", "accepted-7"],
];
/// What each service does while it is watched, on average.
const ACTIONS: u64 = 30;
/// Longest pause between two actions of any of them. Unit: ms.
const PAUSE: u64 = 30;
/// Until everything that was done has left the windows of the checks.
const QUIET: Duration = Duration::from_secs(4);

impl Service {
    /// One of its gauges is wrong by a few, and healed: what is said of it.
    async fn lies(&self, observer: &Observer, dice: &mut Dice) -> Result<Found> {
        let at = dice.roll(2) as usize;
        let (name, page) = (self.names[at], &self.pages[at]);
        if !is_sure(observer, name).await? {
            return Ok(Found::Unsure);
        }
        let count = self.true_counts()[at];
        let by = 1 + dice.roll(5);
        let (claim, verdict, drift) = match dice.roll(2) {
            0 if count >= by => (count - by, "under", -(by as i64)),
            _ => (count + by, "over", by as i64),
        };
        page.claim(claim);
        let said = [("verdict", json!(verdict)), ("drift", json!(drift))];
        observer.reports(name, &said).await?;
        page.claim(count);
        let healed = [("verdict", json!("agree"))];
        observer.reports(name, &healed).await?;
        Ok(Found::Exactly)
    }
}

/// What became of a gauge that was wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// It was told to the connection.
    Exactly,
    /// It was said before that it would not show.
    Unsure,
}

/// Whether a gauge that is right is agreed with to the connection; if not, it is said which others would
/// be agreed with, or that nothing can be said at all.
async fn is_sure(observer: &Observer, name: &str) -> Result<bool> {
    let exact = wait::until("an exact answer", QUIET, async || {
        let report = observer.report(name).await?;
        let is_agreed = report["verdict"] == "agree";
        ensure!(is_agreed && report["low"] == report["high"], "{report}");
        Ok(())
    });
    if exact.await.is_ok() {
        return Ok(true);
    }
    let wide = wait::until("an answer that is not exact", QUIET, async || {
        let report = observer.report(name).await?;
        let is_wide = report["verdict"] == "agree" && report["low"] != report["high"];
        ensure!(is_wide || report["reason"] == "too_wide", "{report}");
        Ok(false)
    });
    // A page that was late, on a busy machine, is asked again.
    wide.await
}

/// As many services as one observer watches, from beginning to end; returns how many lies were found
/// exactly.
async fn round(dice: &mut Dice, seed: u64) -> Result<u64> {
    let mut services = Vec::new();
    for names in NAMES {
        let mut service = Service::open(names).await?;
        // Some are in the middle of it when the observer comes.
        for _ in 0..dice.roll(4) * 3 {
            service.act(dice).await?;
        }
        services.push(service);
    }
    let targets: Vec<Watched> = services.iter().flat_map(Service::targets).collect();
    let observer = Observer::start(&targets).await?;
    for _ in 0..ACTIONS * NAMES.len() as u64 {
        let at = dice.roll(NAMES.len() as u64) as usize;
        services[at].act(dice).await?;
        tokio::time::sleep(Duration::from_millis(dice.roll(PAUSE))).await;
    }
    for service in &mut services {
        // So that somebody was seen on each.
        service.accept(&[UPGRADE], true, dice).await?;
        for name in service.names {
            observer.checked(name).await?;
            let checks = observer.checks(name).await?;
            let log = observer.process.log();
            ensure!(
                (checks.over, checks.under) == (0, 0),
                "seed {seed}: {name} is honest: {checks:?}\n{log}"
            );
        }
    }
    let mut exactly = 0;
    for service in &services {
        let found = service.lies(&observer, dice).await?;
        exactly += u64::from(found == Found::Exactly);
    }
    Ok(exactly)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_sequence_of_the_field_is_blamed_and_none_hides_a_leak() {
    if !kernel_or_skip() {
        return;
    }
    let rounds = campaign::size(ROUNDS.0, ROUNDS.1);
    let first = first_seed();
    campaign::figure("first seed", first);
    let progress = campaign::Progress::start("rounds", rounds);
    let at_a_time = NAMES.len() as u64;
    let mut exactly = 0;
    for seed in first..first + rounds.div_ceil(at_a_time) {
        let found = round(&mut Dice::seeded(seed), seed).await;
        exactly += found.unwrap_or_else(|error| panic!("seed {seed}: {error:?}"));
        progress.advance(at_a_time);
    }
    let made = rounds.div_ceil(at_a_time) * at_a_time;
    // Not each: what was there before the observer, and has not spoken since, may be anything.
    assert!(exactly > 0, "{exactly} of {made}");
    campaign::figure("rounds", made);
    campaign::figure("false verdicts of honest gauges", 0);
    campaign::figure("drifts of 1 to 5 found to the connection", exactly);
    campaign::figure(
        "drifts of which it was said before that they would not show",
        made - exactly,
    );
}
