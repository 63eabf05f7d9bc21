//! Nobody is blamed who does not deserve it: honest services in every kind of traffic.

use std::net::Ipv4Addr;
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::foreign::{self, Manner, Service};
use tests::honest::Honest;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Checks, Observer, Watched};
use tests::port::free_address;
use tests::process::{Process, Signal};
use tests::{campaign, kernel_or_skip, wait};

/// Opened and ended in one round of churn.
const CHURN: usize = 500;
/// Opened at once in a burst.
const BURST: usize = 2_000;
/// Rounds of churn, between which every target is checked a few times.
const ROUNDS: usize = 4;

/// A service with everything that may be done to it.
struct Subject {
    name: &'static str,
    running: Running,
    clients: Target,
    kinds: &'static [Kind],
    watched: Watched,
}

enum Running {
    Relay(Box<Honest>),
    Late(Process, Vec<String>),
    Foreign(Box<Service>),
}

impl Subject {
    async fn relay() -> Result<Self> {
        let relay = Honest::start(Ipv4Addr::LOCALHOST.into()).await?;
        Ok(Self {
            name: "server",
            clients: relay.gateway(Ipv4Addr::LOCALHOST),
            kinds: &[Kind::WebSocket, Kind::Http],
            watched: Watched::new("server", &relay.listen(), &relay.gauge_url()),
            running: Running::Relay(Box::new(relay)),
        })
    }

    /// Honest, and half a second late in everything.
    async fn late() -> Result<Self> {
        let (public, management) = (free_address()?, free_address()?);
        let arguments = vec![
            format!("--public-address={public}"),
            format!("--management-address={management}"),
            "--lag=500".to_owned(),
        ];
        let mut process = Process::spawn("liar_to_order", &arguments)?;
        let page = format!("http://{management}/metrics");
        process.wait_for_url(&page, BOUND).await?;
        let listen = format!(":{}", public.port());
        Ok(Self {
            name: "late",
            running: Running::Late(process, arguments),
            clients: Target::new(public, "/"),
            kinds: &[Kind::Tcp],
            watched: Watched::new("late", &listen, &page).with("counts", "established"),
        })
    }

    fn foreign(service: Service) -> Self {
        let Service {
            name,
            public,
            gauge_url,
            claim: (setting, claim),
            counts,
            netns,
            ..
        } = &service;
        let (path, kinds): (_, &[Kind]) = match *name {
            "nginx" => ("/", &[Kind::Http]),
            "haproxy" => ("/v1/gateway", &[Kind::Http, Kind::WebSocket]),
            _ => ("/", &[Kind::WebSocket]),
        };
        let watched = Watched::new(name, &format!(":{}", public.port()), gauge_url)
            .with(setting, claim)
            .with("counts", counts)
            .with("netns", netns);
        Self {
            name,
            clients: Target::new(*public, path),
            kinds,
            watched,
            running: Running::Foreign(Box::new(service)),
        }
    }

    fn signal(&mut self, signal: Signal) {
        let sent = match &mut self.running {
            Running::Relay(relay) => relay.relay.process.signal(signal),
            Running::Late(process, _) => process.signal(signal),
            Running::Foreign(service) => service.signal(signal),
        };
        sent.expect("a signal");
    }

    async fn restart(&mut self) {
        let restarted = match &mut self.running {
            Running::Relay(relay) => relay.restart().await,
            Running::Late(process, arguments) => restart(process, arguments).await,
            Running::Foreign(service) => service.restart().await,
        };
        restarted.expect(self.name);
    }
}

async fn restart(process: &mut Process, arguments: &[String]) -> Result<()> {
    process.signal(Signal::TERM)?;
    process.wait_for_exit(BOUND).await?;
    *process = Process::spawn("liar_to_order", arguments)?;
    Ok(())
}

/// All that can run here; for the others the skip is recorded.
async fn subjects() -> Vec<Subject> {
    let mut subjects = vec![
        Subject::relay().await.expect("relay"),
        Subject::late().await.expect("late"),
    ];
    for name in ["haproxy", "nginx", "python", "node"] {
        if let Some(reason) = foreign::obstacle(name).expect("a service") {
            tests::skip(&reason);
            continue;
        }
        let service = match name {
            "haproxy" => Service::haproxy(4_000).await,
            "nginx" => Service::nginx().await,
            "python" => Service::python(Manner::Honest).await,
            _ => Service::node(Manner::Honest).await,
        };
        subjects.push(Subject::foreign(service.expect(name)));
    }
    subjects
}

struct Campaign {
    observer: Observer,
    subjects: Vec<Subject>,
    /// Checks of each that are to be made.
    wanted: u64,
    churned: u64,
    churning: f64,
}

impl Campaign {
    async fn checks(&self, subject: &Subject) -> u64 {
        let checks = self.observer.checks(subject.name).await.expect("checks");
        let Checks { agree, blind, .. } = checks;
        let all = agree + checks.over + checks.under + checks.unsettled + blind;
        assert_eq!(
            (checks.over, checks.under),
            (0, 0),
            "{}",
            self.told(subject)
        );
        all
    }

    fn told(&self, subject: &Subject) -> String {
        format!("{}: {}", subject.name, self.observer.process.log())
    }

    async fn fewest(&self) -> u64 {
        let mut fewest = u64::MAX;
        for subject in &self.subjects {
            fewest = fewest.min(self.checks(subject).await);
        }
        fewest
    }

    /// Every target is checked so many times more, whatever is found.
    async fn made(&self, more: u64) {
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
    // The product's own settle; a service with one event loop, which has to hear of the end of two
    // thousand connections at once, is later than that. A scrape may take as long as an interval.
    let targets: Vec<Watched> = subjects
        .iter()
        .map(|subject| {
            let watched = subject.watched.clone();
            let settle = match subject.running {
                Running::Foreign(_) => "3s",
                Running::Relay(_) | Running::Late(..) => "1s",
            };
            watched
                .with("settle", settle)
                .with("interval", "100ms")
                .with("scrape-timeout", "100ms")
        })
        .collect();
    let mut campaign = Campaign {
        observer: Observer::start(&targets).await.expect("observer"),
        subjects,
        wanted: campaign::size(10_000, 150),
        churned: 0,
        churning: 0.0,
    };
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
    for subject in &campaign.subjects {
        let checks = campaign.observer.checks(subject.name).await;
        let Checks {
            agree,
            over,
            under,
            unsettled,
            blind,
        } = checks.expect("checks");
        assert_eq!((over, under), (0, 0), "{}", campaign.told(subject));
        // Where it is stopped or overwhelmed nothing can be said; not for most of the time.
        assert!(agree > unsettled + blind, "{}", campaign.told(subject));
        campaign::figure(
            &format!("{}: agree, unsettled, blind, over, under", subject.name),
            format!("{agree}, {unsettled}, {blind}, {over}, {under}"),
        );
    }
    let rate = campaign.churned as f64 / campaign.churning;
    campaign::figure("churn: connections a second", format!("{rate:.0}"));
}
