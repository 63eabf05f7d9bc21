//! Unix sockets: by their path, by another path of the same file, by an abstract name.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::ensure;
use serde_json::json;
use tempfile::TempDir;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::port::free_address;
use tests::scripted::Scripted;
use tests::wait;

/// A service at a Unix socket; both ends of each connection are in the test's hands.
struct Service {
    listener: UnixListener,
    address: SocketAddr,
}

impl Service {
    fn at(address: SocketAddr) -> Self {
        Self {
            listener: UnixListener::bind_addr(&address).expect("bind"),
            address,
        }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect_addr(&self.address).expect("connect")
    }

    fn pairs(&self, count: usize) -> Vec<(UnixStream, UnixStream)> {
        let pair = |_| (self.connect(), self.listener.accept().expect("accept").0);
        (0..count).map(pair).collect()
    }
}

fn path() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("it.sock");
    (directory, path)
}

struct Scene {
    page: ClaimPage,
    observer: Observer,
}

impl Scene {
    async fn of(listen: &[&str]) -> Self {
        let page = ClaimPage::serve().await.expect("page");
        let target = Watched::new("it", "", &page.url())
            .with_toml("listen", &format!("['{}']", listen.join("', '")))
            .with("counts", "accepted")
            .with("too-wide", "1000000%");
        let observer = Observer::start_with(&[target], &[]).await;
        Self {
            observer: observer.expect("observer").seeded().await.expect("ready"),
            page,
        }
    }

    /// With a drift of at least so many, or at most where it is negative: other sockets of the host
    /// are made meanwhile, those of the page's scrapes among them.
    async fn says(&self, claim: u64, verdict: &str, least: i64) {
        self.page.claim(claim);
        let said = wait::until(verdict, BOUND, async || {
            let report = self.observer.report("it").await?;
            let drift = report["drift"].as_i64().unwrap_or_default();
            let is_so = drift * least.signum() >= least.abs();
            ensure!(report["verdict"] == json!(verdict) && is_so, "{report}");
            Ok(())
        });
        said.await.unwrap_or_else(|error| panic!("{error:?}"));
    }
}

#[tokio::test]
async fn the_connections_of_a_unix_socket_are_counted_by_its_path() {
    let (_directory, path) = path();
    let service = Service::at(SocketAddr::from_pathname(&path).expect("an address"));
    let before = service.pairs(2);
    let scene = Scene::of(&[&format!("unix:{}", path.display())]).await;
    scene.says(2, "agree", 0).await;
    let since = service.pairs(3);
    scene.says(5, "agree", 0).await;
    // The service has not noticed that these peers have gone: it still holds the connections.
    let held: Vec<_> = since.into_iter().map(|(_client, server)| server).collect();
    scene.says(5, "agree", 0).await;
    drop(held);
    scene.says(2, "agree", 0).await;
    // Who waits to be accepted is nobody's yet, and is told.
    let _waiting = [service.connect(), service.connect()];
    let waits = wait::until("the queue is told", BOUND, async || {
        let report = scene.observer.report("it").await?;
        ensure!(report["unaccepted"] == json!(2), "{report}");
        Ok(())
    });
    waits.await.expect("two wait");
    scene.says(2, "agree", 0).await;
    scene.says(1_002, "over", 500).await;
    scene.says(1, "under", -1).await;
    drop(before);
}

#[tokio::test]
async fn a_unix_socket_is_found_by_another_path_and_by_an_abstract_name() {
    let (directory, path) = path();
    let service = Service::at(SocketAddr::from_pathname(&path).expect("an address"));
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let name = format!("plumbline-{}", std::process::id());
    let hidden = Service::at(SocketAddr::from_abstract_name(&name).expect("an address"));
    let public = Scripted::listen(free_address().expect("a port"), 8).expect("listen");
    let scene = Scene::of(&[
        &format!("unix:{}", link.display()),
        &format!("unix:@{name}"),
        &public.address().to_string(),
    ])
    .await;
    let _by_path = service.pairs(3);
    let _by_name = hidden.pairs(2);
    let _over_tcp = public.pair().await.expect("connect");
    scene.says(6, "agree", 0).await;
    scene.says(5, "under", -1).await;
    scene.says(1_006, "over", 500).await;
}

/// Each of these lives for less than the time between two lists of sockets.
#[tokio::test]
async fn connections_that_no_list_shows_are_not_held_against_a_unix_socket() {
    let (_directory, path) = path();
    let service = Service::at(SocketAddr::from_pathname(&path).expect("an address"));
    let _open = service.pairs(3);
    let scene = Scene::of(&[&format!("unix:{}", path.display())]).await;
    scene.says(3, "agree", 0).await;
    let checks = async || scene.observer.count_of_checks("it").await.expect("a count");
    let enough = checks().await + 30;
    while checks().await < enough {
        let pairs = service.pairs(2);
        scene.page.claim(5);
        // Meanwhile the page may be read.
        checks().await;
        drop(pairs);
        scene.page.claim(3);
    }
    let checks = scene.observer.checks("it").await.expect("checks");
    assert_eq!((checks.over, checks.under), (0, 0), "{checks:?}");
}
