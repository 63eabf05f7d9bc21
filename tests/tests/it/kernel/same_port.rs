//! A page on the very port that is watched: the observer's own connection is one of those that are open.
//!
//! It is the same from one scrape to the next, so it widens nothing. Where a gauge rightly does not count
//! it, the observer's address is one of the peers that are left out.

use std::net::Ipv4Addr;

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::kernel_or_skip;
use tests::observer::{Observer, Watched};
use tokio::net::{TcpSocket, TcpStream};

/// Where the clients are, which the observer is not.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 1);

/// A service whose page is on its own port, with three clients that say nothing.
struct Scene {
    page: ClaimPage,
    _clients: Vec<TcpStream>,
    observer: Observer,
}

impl Scene {
    async fn start(ignored: &str) -> Self {
        let page = ClaimPage::serve().await.expect("page");
        let url = page.url();
        let address = page.address();
        let mut clients = Vec::new();
        for _ in 0..3 {
            let socket = TcpSocket::new_v4().expect("a socket");
            socket.bind((CLIENTS, 0).into()).expect("bind");
            clients.push(socket.connect(address).await.expect("connect"));
        }
        let target = Watched::new("it", &format!(":{}", address.port()), &url)
            .with("counts", "established")
            .with_toml("ignore-peers", ignored);
        Self {
            observer: Observer::start(&[target]).await.expect("observer"),
            page,
            _clients: clients,
        }
    }

    /// The observer says of a claim that it is off by exactly so much.
    async fn finds(&self, claim: u64, verdict: &str, open: i64, drift: i64) {
        self.page.claim(claim);
        let exact = [
            ("claim", json!(claim as f64)),
            ("verdict", json!(verdict)),
            ("low", json!(open)),
            ("high", json!(open)),
            ("drift_low", json!(drift)),
            ("drift_high", json!(drift)),
        ];
        let said = self.observer.reports("it", &exact).await;
        said.unwrap_or_else(|error| panic!("{claim}: {error:?}"));
    }
}

#[tokio::test]
async fn a_gauge_that_counts_the_scrape_is_held_against_it() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::start("[]").await;
    scene.finds(0, "under", 4, -4).await;
    scene.finds(1, "under", 4, -3).await;
    scene.finds(6, "over", 4, 2).await;
    scene.finds(4, "agree", 4, 0).await;
}

#[tokio::test]
async fn a_gauge_that_does_not_is_compared_without_it() {
    if !kernel_or_skip() {
        return;
    }
    let scene = Scene::start("['127.0.0.1']").await;
    scene.finds(0, "under", 3, -3).await;
    scene.finds(1, "under", 3, -2).await;
    scene.finds(6, "over", 3, 3).await;
    scene.finds(3, "agree", 3, 0).await;
}
