//! A page that is made now and then: what it says was true when it was made.
//!
//! With a time stamp the claim is held against what the kernel counted at that time. Without one it
//! is taken for a claim of now, and is late by more than `settle` allows.

use std::net::Ipv4Addr;
use std::time::SystemTime;

use anyhow::ensure;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Checks, Observer, Watched};
use tests::scripted::{Pair, Scripted, UPGRADE};
use tests::{kernel_or_skip, port, wait};

/// How old the page is. Unit: ms.
const LAG: u64 = 600;

/// A service that connections keep coming to, and its page of a while ago.
struct Lagging {
    scripted: Scripted,
    page: ClaimPage,
    /// Each connection, and when it was opened. Unit: ms.
    opened: Vec<(u64, Pair)>,
    is_stamped: bool,
}

impl Lagging {
    async fn start(is_stamped: bool) -> Self {
        let address = (Ipv4Addr::LOCALHOST, port::free().expect("port")).into();
        Self {
            scripted: Scripted::listen(address, 16).expect("listen"),
            page: ClaimPage::serve().await.expect("page"),
            opened: Vec::new(),
            is_stamped,
        }
    }

    fn target(&self) -> Watched {
        let listen = format!(":{}", self.scripted.address().port());
        Watched::new("it", &listen, &self.page.url())
            .with("interval", "1s")
            .with("settle", "100ms")
    }

    /// One more connection, unless the last one is of just now, and a new page.
    async fn go_on(&mut self) {
        let last = self.opened.last().map_or(0, |(at, _)| *at);
        if now() > last + LAG / 10 {
            let pair = self.scripted.pair_that_got(&[UPGRADE]).await;
            self.opened.push((now(), pair.expect("a pair")));
        }
        let then = now() - LAG;
        let count = self.opened.partition_point(|(at, _)| *at <= then);
        match self.is_stamped {
            true => self
                .page
                .say(&format!("active_connections {count} {then}\n")),
            false => self.page.claim(count as u64),
        }
    }

    /// Goes on until the observer's checks are `enough`, and returns them.
    async fn until(&mut self, enough: impl Fn(Checks) -> bool) -> Checks {
        self.go_on().await;
        let observer = Observer::start(&[self.target()]).await.expect("observer");
        let checks = wait::until("checks", BOUND, async || {
            self.go_on().await;
            let checks = observer.checks("it").await?;
            ensure!(
                enough(checks),
                "{checks:?}: {}",
                observer.report("it").await?
            );
            Ok(checks)
        });
        checks.await.expect("checks")
    }
}

/// Since 1970. Unit: ms.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.expect("after 1970").as_millis() as u64
}

#[tokio::test]
async fn a_time_stamp_tells_when_the_claim_was_true() {
    if !kernel_or_skip() {
        return;
    }
    let mut lagging = Lagging::start(true).await;
    let checks = lagging.until(|checks| checks.agree >= 6).await;
    let wrong = checks.over + checks.under + checks.unsettled;
    assert_eq!(wrong, 0, "{checks:?}");
}

#[tokio::test]
async fn without_a_time_stamp_an_old_page_is_wrong() {
    if !kernel_or_skip() {
        return;
    }
    let mut lagging = Lagging::start(false).await;
    let checks = lagging.until(|checks| checks.under > 0).await;
    assert_eq!(checks.over, 0, "{checks:?}");
}
