//! A `/metrics` page whose gauge says what the test tells it to: the claim, under the test's hand.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is answered, in turn.
type Texts = Arc<Mutex<VecDeque<String>>>;

/// A page that is served for as long as the value lives.
#[derive(Debug)]
pub struct ClaimPage {
    texts: Texts,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

impl ClaimPage {
    /// Serves a page whose gauge `active_connections` says 0.
    ///
    /// # Errors
    /// No port is free.
    pub async fn serve() -> Result<Self> {
        let texts = Texts::default();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.context("listen for scrapes")?;
        let address = listener.local_addr().context("ask for the port")?;
        let router = Router::new()
            .route("/metrics", get(render))
            .with_state(Arc::clone(&texts));
        let server = tokio::spawn(axum::serve(listener, router).into_future());
        let page = Self {
            texts,
            address,
            server,
        };
        page.claim(0);
        Ok(page)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// The gauge says `count` from now on.
    pub fn claim(&self, count: u64) {
        self.claim_in_turn(&[count]);
    }

    /// The gauge says one of these after the other, and again, from now on.
    pub fn claim_in_turn(&self, counts: &[u64]) {
        let texts = counts
            .iter()
            .map(|count| format!("# TYPE active_connections gauge\nactive_connections {count}\n"));
        *self.texts.lock().unwrap_or_else(PoisonError::into_inner) = texts.collect();
    }

    /// The page is `text` from now on.
    pub fn say(&self, text: &str) {
        let only = VecDeque::from([text.to_owned()]);
        *self.texts.lock().unwrap_or_else(PoisonError::into_inner) = only;
    }
}

impl Drop for ClaimPage {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn render(State(texts): State<Texts>) -> String {
    let mut texts = texts.lock().unwrap_or_else(PoisonError::into_inner);
    texts.rotate_left(1);
    texts.back().cloned().unwrap_or_default()
}
