//! A service in the test's hands, and an observer of it: what was done is known to the segment.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Classes, Observer, Watched};
use tests::scripted::{Pair, Scripted};
use tests::{port, ss, wait};

/// Least and most that an honest service can claim.
pub(crate) type Allowed = (u64, u64);

/// A scripted service with a page for each kind of gauge.
pub(crate) struct Service {
    pub(crate) scripted: Scripted,
    websockets: ClaimPage,
    connections: ClaimPage,
}

/// The service, and the observer that watches both of its gauges.
pub(crate) struct Stage {
    pub(crate) service: Service,
    pub(crate) observer: Observer,
}

impl Service {
    /// On a loopback address; `backlog` connections may wait to be accepted.
    pub(crate) async fn open(backlog: u32) -> Self {
        let address: IpAddr = Ipv4Addr::LOCALHOST.into();
        let address = (address, port::free().expect("port")).into();
        Self {
            scripted: Scripted::listen(address, backlog).expect("listen"),
            websockets: ClaimPage::serve().await.expect("page"),
            connections: ClaimPage::serve().await.expect("page"),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.scripted.address().port()
    }

    /// Its gauges as targets: WebSockets, established connections, accepted connections.
    pub(crate) fn targets(&self) -> Vec<Watched> {
        let listen = format!(":{}", self.port());
        // What is asked is which numbers are allowed, however many they are.
        let target = |name, page: &ClaimPage| {
            Watched::new(name, &listen, &page.url()).with("too-wide", "1000000%")
        };
        vec![
            target("websockets", &self.websockets),
            target("connections", &self.connections).with("counts", "established"),
            target("accepted", &self.connections).with("counts", "accepted"),
        ]
    }

    /// What its gauge of WebSockets says from now on.
    pub(crate) fn claims_websockets(&self, count: u64) {
        self.websockets.claim(count);
    }

    /// What its gauge of connections says from now on.
    pub(crate) fn claims_connections(&self, count: u64) {
        self.connections.claim(count);
    }

    /// An observer comes to it.
    pub(crate) async fn watched(self) -> Stage {
        let observer = Observer::start(&self.targets()).await.expect("observer");
        Stage {
            service: self,
            observer,
        }
    }
}

impl Stage {
    /// A service without connections, and an observer of it.
    pub(crate) async fn open() -> Self {
        Service::open(512).await.watched().await
    }

    /// A new connection on which the server has sent these segments.
    pub(crate) async fn pair(&self, segments: &[&[u8]]) -> Pair {
        let pair = self.service.scripted.pair_that_got(segments).await;
        pair.expect("a connection")
    }

    /// The observer says exactly this, after everything that has happened: so many connections of
    /// each class, and so many WebSockets that an honest service can claim; `ss` says the same of
    /// the states, nothing was lost, and no repair was needed.
    pub(crate) async fn shows(&self, classes: Classes, websockets: Allowed) {
        let Classes {
            websocket,
            http,
            unclassified,
            closing,
        } = classes;
        let established = websocket + http + unclassified;
        let connections = (established, established + closing);
        let gauges = [
            ("websockets", &self.service.websockets, websockets),
            ("connections", &self.service.connections, connections),
        ];
        // Either end of what is allowed is agreed with.
        for is_low in [false, true] {
            let said = gauges.map(|(target, page, (low, high))| {
                let claim = if is_low { low } else { high };
                page.claim(claim);
                (target, claim, low, high)
            });
            for (target, claim, low, high) in said {
                self.agrees(target, claim, (low, high)).await;
                let settled = self.observer.settles(target, classes).await;
                settled.unwrap_or_else(|error| panic!("{error:?}"));
            }
            if websockets.0 == websockets.1 && closing == 0 {
                break;
            }
        }
        let seen = wait::until_equal("ss", BOUND, (established, closing), async || {
            ss::established_and_closing(self.service.port())
        });
        seen.await.expect("ss sees the same");
        self.nothing_is_lost().await;
    }

    /// The claim is agreed with, and exactly this was allowed.
    pub(crate) async fn agrees(&self, target: &str, claim: u64, (low, high): Allowed) {
        self.observer.checked(target).await.expect("a check");
        let said = [
            ("verdict", json!("agree")),
            ("claim", json!(claim as f64)),
            ("low", json!(low)),
            ("high", json!(high)),
        ];
        let reported = self.observer.reports(target, &said).await;
        reported.unwrap_or_else(|error| panic!("{error:?}"));
    }

    /// As [`Self::shows`], where every WebSocket is known to be one and to be alive.
    pub(crate) async fn shows_exactly(&self, classes: Classes) {
        self.shows(classes, (classes.websocket, classes.websocket))
            .await;
    }

    /// As [`Self::shows`], of the connections that the service has accepted.
    pub(crate) async fn claims_accepted(&self, claim: u64, allowed: Allowed) {
        self.service.connections.claim(claim);
        self.agrees("accepted", claim, allowed).await;
    }

    /// What the service's gauges say from now on.
    pub(crate) fn claims(&self, websockets: u64, connections: u64) {
        self.service.websockets.claim(websockets);
        self.service.connections.claim(connections);
    }

    /// As [`Self::shows_exactly`], after something was lost: that stays on record.
    pub(crate) async fn is_right_again(&self, classes: Classes) {
        let Classes {
            websocket, http, ..
        } = classes;
        let established = websocket + http;
        self.claims(websocket, established);
        for (target, claim) in [("websockets", websocket), ("connections", established)] {
            self.agrees(target, claim, (claim, claim)).await;
            let settled = self.observer.settles(target, classes).await;
            settled.unwrap_or_else(|error| panic!("{error:?}"));
        }
        let seen = ss::established_and_closing(self.service.port()).expect("ss");
        assert_eq!(seen, (established, 0));
    }

    /// The observer has counted so many openings and closings in all.
    pub(crate) async fn counted(&self, opened: u64, closed: u64) {
        let counts = wait::until_equal("opened, closed", BOUND, (opened, closed), async || {
            let count = async |metric| self.observer.count(metric, "connections").await;
            Ok((
                count("observer_kernel_connections_opened_total").await?,
                count("observer_kernel_connections_closed_total").await?,
            ))
        });
        counts.await.expect("the counts");
    }

    /// Nothing was lost, and no repair was needed.
    pub(crate) async fn nothing_is_lost(&self) {
        let page = self.observer.page().await.expect("page");
        let target = ("target", "connections");
        let map_full = ("cause", "map_full");
        for (metric, labels) in [
            ("observer_witness_disagreement", &[target][..]),
            ("observer_repairs_total", &[target]),
            ("observer_untracked_sockets_total", &[target, map_full]),
        ] {
            assert_eq!(page.value(metric, labels).expect(metric), 0.0, "{metric}");
        }
    }
}

/// So many WebSockets and nothing else.
pub(crate) fn websockets(websocket: u64) -> Classes {
    Classes {
        websocket,
        ..Classes::default()
    }
}

/// So many HTTP connections and nothing else.
pub(crate) fn http(http: u64) -> Classes {
    Classes {
        http,
        ..Classes::default()
    }
}

/// So many connections of which nothing is known, and nothing else.
pub(crate) fn unclassified(unclassified: u64) -> Classes {
    Classes {
        unclassified,
        ..Classes::default()
    }
}
