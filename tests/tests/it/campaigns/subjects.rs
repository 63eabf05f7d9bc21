//! Honest services, each with the clients that suit it and what may be done to it.

use std::net::Ipv4Addr;

use anyhow::Result;
use tests::foreign::{self, Manner, Service};
use tests::gallery::Liar;
use tests::honest::Honest;
use tests::load::{Kind, Target};
use tests::observer::Watched;
use tests::process::Signal;

/// A service with everything that may be done to it.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) running: Running,
    pub(super) clients: Target,
    pub(super) kinds: &'static [Kind],
    pub(super) watched: Watched,
}

pub(super) enum Running {
    Relay(Box<Honest>),
    Late(Box<Liar>),
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

    /// Honest, and so late in everything. Unit: ms.
    pub(super) async fn late(name: &'static str, lag: u64) -> Result<Self> {
        let service = Liar::start("to_order", &[format!("--lag={lag}")]).await?;
        Ok(Self {
            name,
            clients: Target::new(service.public, "/"),
            kinds: &[Kind::Tcp],
            watched: Watched::new(name, &service.listen(), &service.page())
                .with("counts", "established"),
            running: Running::Late(Box::new(service)),
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
            .with("netns", netns)
            .with("gauge-netns", "self");
        Self {
            name,
            clients: Target::new(*public, path),
            kinds,
            watched,
            running: Running::Foreign(Box::new(service)),
        }
    }

    pub(super) fn signal(&mut self, signal: Signal) {
        let sent = match &mut self.running {
            Running::Relay(relay) => relay.relay.process.signal(signal),
            Running::Late(service) => service.process.signal(signal),
            Running::Foreign(service) => service.signal(signal),
        };
        sent.expect("a signal");
    }

    pub(super) async fn restart(&mut self) {
        let restarted = match &mut self.running {
            Running::Relay(relay) => relay.restart().await,
            Running::Late(service) => service.restart(Signal::TERM).await,
            Running::Foreign(service) => service.restart().await,
        };
        restarted.expect(self.name);
    }
}

/// All that can run here; for the others the skip is recorded.
pub(super) async fn subjects() -> Vec<Subject> {
    let mut subjects = vec![
        Subject::relay().await.expect("relay"),
        Subject::late("late-500ms", 500).await.expect("late-500ms"),
        Subject::late("late-50ms", 50).await.expect("late-50ms"),
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
