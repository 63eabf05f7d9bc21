//! Nobody is blamed who does not deserve it: honest services in every kind of traffic, on a machine that
//! something else keeps busy as well.
//!
//! All through it one service has thousands of short connections a second, and others do what services in
//! the field were seen to do. Every look at the page asks as well whether anything else than a drift of 0
//! is likely of anybody.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tests::dice::Dice;
use tests::load::{Crowd, Ending, Flow, Rate};
use tests::observer::{BOUND, Checks, Observer, Watched};
use tests::process::{Process, Signal};
use tests::{campaign, kernel_or_skip, wait};
use tokio::task::JoinHandle;

use super::sequences;
use super::subjects::{Running, Subject, subjects};

/// Opened and ended in one round of churn.
const CHURN: usize = 500;
/// Opened at once in a burst.
const BURST: usize = 2_000;
/// Connections a second to the service that has them all through the campaign: in full, and as a share.
const STEADY: (u64, u64) = (5_500, 500);
/// How many of these are open at a time, on average.
const OPEN: usize = 200;
/// Loops that keep the machine busy, in full.
const BUSY: u64 = 2;
/// The targets of the services that do what was seen in the field.
const FIELD: [[&str; 2]; 2] = [
    ["field-websockets-0", "field-accepted-0"],
    ["field-websockets-1", "field-accepted-1"],
];
/// Longest pause between two things that one of these does. Unit: ms.
const PAUSE: u64 = 60;
/// Rounds of churn, between which every target is checked a few times.
const ROUNDS: usize = 4;

/// What goes on all through the campaign.
struct Background {
    _busy: Vec<Process>,
    steady: Subject,
    is_over: Arc<AtomicBool>,
    flow: Flow,
    field: Vec<JoinHandle<sequences::Service>>,
    targets: Vec<Watched>,
}

impl Background {
    async fn begin() -> Result<Self> {
        let is_over = Arc::new(AtomicBool::new(false));
        let busy = (0..campaign::size(BUSY, 0))
            .map(|_| Process::start(Command::new("sh").args(["-c", "while :; do :; done"])));
        let steady = Subject::late("steady", 0).await?;
        let mut targets = vec![steady.watched.clone()];
        let mut field = Vec::new();
        for (seed, names) in (1..).zip(FIELD) {
            let service = sequences::Service::open(names).await?;
            targets.extend(service.targets());
            field.push(tokio::spawn(act(service, seed, Arc::clone(&is_over))));
        }
        let rate = Rate {
            per_second: campaign::size(STEADY.0, STEADY.1) as f64,
            open: OPEN,
        };
        Ok(Self {
            _busy: busy.collect::<Result<_>>()?,
            flow: Flow::start(steady.clients.address, rate, tests::dice::first_seed())?,
            steady,
            is_over,
            field,
            targets,
        })
    }

    /// Ends it; returns how many connections there were to the service that had most.
    async fn end(self) -> u64 {
        self.is_over.store(true, Ordering::SeqCst);
        for service in self.field {
            service.await.expect("it is as it was");
        }
        self.flow.stop().expect("it is served").ended()
    }
}

/// Does what was seen in the field, one thing after the other, until it is over.
async fn act(
    mut service: sequences::Service,
    seed: u64,
    is_over: Arc<AtomicBool>,
) -> sequences::Service {
    let mut dice = Dice::seeded(seed);
    while !is_over.load(Ordering::SeqCst) {
        service.act(&mut dice).await.expect("it goes on");
        tokio::time::sleep(Duration::from_millis(dice.roll(PAUSE))).await;
    }
    service
}

struct Campaign {
    observer: Observer,
    subjects: Vec<Subject>,
    background: Background,
    /// Checks of each that are to be made.
    wanted: u64,
    churned: u64,
    churning: f64,
    likely: Likely,
}

/// How often a likely drift was looked at, and how often 0 was not among what was likely.
#[derive(Default)]
struct Likely {
    looks: u64,
    wrong: u64,
}

impl Campaign {
    fn names(&self) -> Vec<&'static str> {
        let subjects = self.subjects.iter().map(|subject| subject.name);
        let field = FIELD.iter().flatten().copied();
        subjects
            .chain([self.background.steady.name])
            .chain(field)
            .collect()
    }

    /// The fewest checks of a target so far. None has blamed anybody.
    async fn fewest(&mut self) -> u64 {
        let mut fewest = u64::MAX;
        for name in self.names() {
            let checks = self.observer.checks(name).await.expect("checks");
            let Checks { agree, blind, .. } = checks;
            assert_eq!((checks.over, checks.under), (0, 0), "{}", self.told(name));
            fewest = fewest.min(agree + checks.unsettled + blind);
            self.look_at_what_is_likely(name).await;
        }
        fewest
    }

    async fn look_at_what_is_likely(&mut self, name: &str) {
        let report = self.observer.report(name).await.expect("a report");
        let likely = &report["likely"];
        if let (Some(low), Some(high)) = (likely["low"].as_i64(), likely["high"].as_i64()) {
            self.likely.looks += 1;
            self.likely.wrong += u64::from(low > 0 || high < 0);
        }
    }

    fn told(&self, name: &str) -> String {
        format!("{name}: {}", self.observer.process.log())
    }

    /// Every target is checked so many times more, whatever is found.
    async fn made(&mut self, more: u64) {
        let before = self.fewest().await;
        let made = wait::until("checks", BOUND, async || {
            let made = self.fewest().await;
            ensure!(made >= before + more, "{made}");
            Ok(())
        });
        made.await.expect("checks go on");
    }

    /// One of them at a time comes under load that stands for a while.
    async fn churn(&mut self) {
        let began = Instant::now();
        for subject in &self.subjects {
            let crowd = Crowd::new(subject.clients.clone());
            for round in 0..ROUNDS {
                let kind = subject.kinds[round % subject.kinds.len()];
                let ending = [Ending::Fin, Ending::Reset, Ending::Clean][round % 3];
                let churned = crowd.churn(kind, ending, CHURN, 64).await;
                churned.expect(subject.name);
            }
            self.churned += crowd.books().ended();
        }
        self.churning += began.elapsed().as_secs_f64();
    }

    async fn burst(&self) {
        for subject in &self.subjects {
            let mut crowd = Crowd::new(subject.clients.clone());
            let opened = crowd.open(subject.kinds[0], BURST, 256).await;
            opened.expect(subject.name);
            crowd.end_all(Ending::Reset).await;
        }
    }

    async fn restart(&mut self) {
        for subject in &mut self.subjects {
            let mut crowd = Crowd::new(subject.clients.clone());
            crowd
                .open(subject.kinds[0], 20, 8)
                .await
                .expect(subject.name);
            subject.restart().await;
            crowd.end_all(Ending::Reset).await;
        }
        self.made(3).await;
    }

    /// Each is stopped until the observer has noticed, while clients come.
    async fn stop(&mut self) {
        let Self {
            observer, subjects, ..
        } = self;
        for subject in subjects {
            subject.signal(Signal::STOP);
            let mut crowd = Crowd::new(subject.clients.clone());
            let open = crowd.open(subject.kinds[0], 30, 30);
            let go_on = async {
                let down = [("reason", json!("target_down"))];
                let noticed = observer.reports(subject.name, &down).await;
                subject.signal(Signal::CONT);
                noticed.expect("it is noticed");
            };
            let (opened, ()) = tokio::join!(open, go_on);
            opened.expect("they are served in the end");
            crowd.end_all(Ending::Fin).await;
        }
        self.made(3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_honest_service_is_ever_blamed() {
    if !kernel_or_skip() {
        return;
    }
    tests::process::raise_descriptor_limit().expect("descriptors");
    let subjects = subjects().await;
    let background = Background::begin().await.expect("what goes on");
    // The product's own settle; a service with one event loop, which has to hear of the end of two
    // thousand connections at once, is later than that. A scrape may take as long as an interval.
    let settled = subjects.iter().map(|subject| {
        let settle = match subject.running {
            Running::Foreign(_) => "3s",
            Running::Relay(_) | Running::Late(..) => "1s",
        };
        subject.watched.clone().with("settle", settle)
    });
    // There, much comes and goes beside little that stays: what counts is that nothing that is said is
    // wrong.
    let background_targets = background.targets.iter().cloned();
    let wide = background_targets.map(|watched| watched.with("too-wide", "1000000%"));
    let targets: Vec<Watched> = settled
        .chain(wide)
        .map(|watched| {
            watched
                .with("interval", "200ms")
                .with("scrape-timeout", "200ms")
        })
        .collect();
    let mut campaign = Campaign {
        observer: Observer::start(&targets).await.expect("observer"),
        subjects,
        wanted: campaign::size(5_000, 100),
        churned: 0,
        churning: 0.0,
        likely: Likely::default(),
        background,
    };
    let begun = Instant::now();
    let progress = campaign::Progress::start("checks of each", campaign.wanted);
    let mut seen = 0;
    loop {
        campaign.made(5).await;
        campaign.churn().await;
        campaign.burst().await;
        campaign.restart().await;
        campaign.stop().await;
        let fewest = campaign.fewest().await;
        progress.advance(fewest - seen);
        seen = fewest;
        if fewest >= campaign.wanted {
            break;
        }
    }
    let mut all = 0;
    for name in campaign.names() {
        let checks = campaign.observer.checks(name).await;
        let Checks {
            agree,
            over,
            under,
            unsettled,
            blind,
        } = checks.expect("checks");
        assert_eq!((over, under), (0, 0), "{}", campaign.told(name));
        // Where it is stopped or overwhelmed nothing can be said; that is not all that is said.
        assert!(10 * agree > unsettled + blind, "{}", campaign.told(name));
        campaign::figure(
            &format!("{name}: agree, unsettled, blind, over, under"),
            format!("{agree}, {unsettled}, {blind}, {over}, {under}"),
        );
        all += agree + unsettled + blind;
    }
    let Likely { looks, wrong } = campaign.likely;
    assert!(looks > 0, "nothing was ever likely");
    assert!(
        wrong * 10_000 <= looks,
        "0 was unlikely in {wrong} of {looks} looks"
    );
    let seconds = begun.elapsed().as_secs_f64();
    let steady = campaign.background.end().await;
    campaign::figure("checks of all of them", all);
    campaign::figure(
        "looks at what is likely, and those where 0 was not",
        format!("{looks}, {wrong}"),
    );
    campaign::figure("busy loops", campaign::size(BUSY, 0));
    campaign::figure(
        "connections a second all through it",
        format!("{:.0}", steady as f64 / seconds),
    );
    let rate = campaign.churned as f64 / campaign.churning;
    campaign::figure("and to one of the others at a time", format!("{rate:.0}"));
}
