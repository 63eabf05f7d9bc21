//! A service that only listens, and observers of it that need no rights: `sock_diag` alone.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;

use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Prepared};
use tests::port::free_address;
use tokio::net::TcpListener;

/// A service with nobody on it, so that a claim of 0 is true.
pub(super) struct Service {
    pub(super) page: ClaimPage,
    /// Where its observers answer.
    web: SocketAddr,
    listener: TcpListener,
}

/// A target of such an observer: its name, its gauge, and further settings.
pub(super) struct Target<'a> {
    pub(super) name: &'a str,
    pub(super) gauge: &'a str,
    pub(super) settings: &'a str,
}

impl Service {
    pub(super) async fn open() -> Self {
        let address = free_address().expect("a port");
        Self {
            page: ClaimPage::serve().await.expect("a page"),
            web: free_address().expect("a port"),
            listener: TcpListener::bind(address).await.expect("listen"),
        }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("the address")
    }

    /// An observer of these targets, always at the same address.
    pub(super) async fn observer(&self, targets: &[Target<'_>]) -> Observer {
        let mut text = String::from("[kernel]\nbackend = 'sock-diag'\n");
        for Target {
            name,
            gauge,
            settings,
        } in targets
        {
            let (port, url) = (self.address().port(), self.page.url());
            let _ = write!(
                text,
                "[[target]]\nname = '{name}'\nlisten = ':{port}'\ngauge-url = ['{url}']\n\
                 gauge = '{gauge}'\ncounts = 'established'\n{settings}\n"
            );
        }
        let web = format!("--web.listen-address={}", self.web);
        let prepared = Prepared::of_text(&text, &[&web]).expect("a configuration");
        let program: Command = Prepared::program().expect("the observer");
        let observer = prepared.start(program).await.expect("it starts");
        observer.seeded().await.expect("it is seeded")
    }

    /// An observer of the service's one gauge, which checks often.
    pub(super) async fn observed(&self) -> Observer {
        self.observer(&[Target {
            name: "quiet",
            gauge: "active_connections",
            settings: OFTEN,
        }])
        .await
    }
}

/// For a verdict within a second, however much `sock_diag` allows for what other ports opened.
pub(super) const OFTEN: &str =
    "interval = '300ms'\nscrape-timeout = '300ms'\nsettle = '300ms'\ntoo-wide = '1000000%'";

/// How long anything may take.
pub(super) const PATIENCE: std::time::Duration = BOUND;
