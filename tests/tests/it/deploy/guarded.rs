//! Ports for operators behind TLS and a password, by the file that Prometheus' exporters have.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::process::Process;
use tests::prometheus::{self, Prometheus};
use tests::scripted::Scripted;
use tests::{http, kernel_or_skip, port, wait};

/// A folder with a key, a certificate for this host and a `web.yml` that lets `alice` in.
struct Folder(TempDir);

impl Folder {
    fn new(password: &str) -> Result<Self> {
        let folder = Self(TempDir::new()?);
        let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
        let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
        folder.write("key.pem", &made.signing_key.serialize_pem())?;
        folder.write("cert.pem", &made.cert.pem())?;
        folder.let_in(password)?;
        Ok(folder)
    }

    /// From now on by this password.
    fn let_in(&self, password: &str) -> Result<()> {
        let hash = bcrypt::hash(password, 5).context("hash a password")?;
        let text = format!(
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n\
             basic_auth_users:\n  alice: {hash}\n"
        );
        self.write("web.yml", &text)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.0.path().join(name), text).with_context(|| format!("write {name}"))
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// A job that trusts the certificate, and is alice with this password.
    fn job(&self, name: &str, address: &str, password: &str) -> String {
        let tls = format!("{{ca_file: '{}'}}", self.path("cert.pem"));
        let alice = format!("{{username: alice, password: {password}}}");
        format!(
            "{{job_name: {name}, scheme: https, tls_config: {tls}, basic_auth: {alice}, \
             static_configs: [{{targets: ['{address}']}}]}}"
        )
    }
}

#[tokio::test]
async fn the_relay_s_private_port_is_guarded_by_the_same_file() {
    if !prometheus::is_here_or_skip() {
        return;
    }
    let folder = Folder::new("first").expect("a folder");
    let address = || port::free_address().expect("a port");
    let (public, management) = (address(), address());
    let server = Process::spawn(
        "server",
        [
            format!("--public-address={public}"),
            format!("--management-address={management}"),
            format!("--management-config-file={}", folder.path("web.yml")),
            format!("--data-dir={}", folder.path("data")),
        ],
    );
    let _server = server.expect("start the relay");
    let management = management.to_string();
    let jobs = ["first", "second"].map(|password| folder.job(password, &management, password));
    let prometheus = Prometheus::start_with(&[], jobs.into_iter()).await;
    let prometheus = prometheus.expect("Prometheus");
    is_let_in(&prometheus, "first", "second").await;
    // Who speaks no TLS there is counted, and the public port has none.
    http::get(&format!("http://{management}/metrics"))
        .await
        .expect_err("it speaks TLS");
    let counted = wait::until("a failed handshake", BOUND, async || {
        let failed = "http_connection_errors_total{cause='tls',port='management'} > 0";
        ensure!(prometheus.query(failed).await?.len() == 1, "none");
        Ok(())
    });
    counted.await.expect("it is counted");
    let plain = http::get(&format!("http://{public}/none")).await;
    assert_eq!(plain.expect("an answer").status, 404);
}

/// Waits until who has the one password is let in, and who has the other is not.
async fn is_let_in(prometheus: &Prometheus, up: &str, down: &str) {
    let is_up = wait::until("who is let in", BOUND, async || {
        let query = format!("up{{job='{up}'}} == 1 unless on () (up{{job='{down}'}} == 1)");
        let series = prometheus.query(&query).await?;
        ensure!(series.len() == 1, "{series:?}");
        Ok(())
    });
    is_up.await.unwrap_or_else(|error| panic!("{error:?}"));
}

#[tokio::test]
async fn prometheus_is_let_in_by_a_password_over_tls_and_strangers_are_not() {
    if !kernel_or_skip() || !prometheus::is_here_or_skip() {
        return;
    }
    let address = (Ipv4Addr::LOCALHOST, port::free().expect("a port")).into();
    let service = Scripted::listen(address, 16).expect("listen");
    let page = ClaimPage::serve().await.expect("a page");
    let target = Watched::new("it", &service.address().to_string(), &page.url());
    let folder = Folder::new("first").expect("a folder");
    let flag = format!("--web.config-file={}", folder.path("web.yml"));
    let observer = Observer::start_with(&[target], &[&flag]).await;
    let observer = observer.expect("observer");
    let plain = http::get(&format!("http://{}/metrics", observer.address())).await;
    plain.expect_err("it speaks TLS");

    let jobs = ["first", "second"];
    let jobs = jobs.map(|password| folder.job(password, observer.address(), password));
    let prometheus = Prometheus::start_with(&[], jobs.into_iter()).await;
    let prometheus = prometheus.expect("Prometheus");
    is_let_in(&prometheus, "first", "second").await;
    folder.let_in("second").expect("write");
    is_let_in(&prometheus, "second", "first").await;
    // What is no such file leaves in force what was.
    folder
        .write("web.yml", "basic_auth_users: {alice: plain}")
        .expect("write");
    let refused = wait::until("a refusal", BOUND, async || {
        let log = observer.process.log();
        let is_refused = log.contains("the new web configuration is refused");
        is_refused.then_some(()).ok_or(log)
    });
    refused.await.expect("it is refused");
    is_let_in(&prometheus, "second", "first").await;
}
