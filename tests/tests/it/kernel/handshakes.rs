//! Connections on which the service has sent nothing: the handshake of its protocol is not done.

use anyhow::ensure;
use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Watched};
use tests::port::free_address;
use tests::scripted::Scripted;
use tests::{kernel_or_skip, wait};
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn who_was_not_answered_is_named_where_the_gauge_says_too_little() {
    if !kernel_or_skip() {
        return;
    }
    let service = Scripted::listen(free_address().expect("a port"), 64).expect("listen");
    let page = ClaimPage::serve().await.expect("page");
    let target = Watched::new("it", &service.address().to_string(), &page.url())
        .with("counts", "established");
    let observer = Observer::start(&[target]).await.expect("observer");
    let observer = observer.seeded().await.expect("ready");
    let suspects = async |verdict: &str, expected: &[String]| {
        let said = wait::until(verdict, BOUND, async || {
            let report = observer.report("it").await?;
            let list = report["suspects"]["list"].as_array();
            let mut named: Vec<_> = list
                .into_iter()
                .flatten()
                .map(|suspect| format!("{} {}", suspect["kind"], suspect["peer"]))
                .collect();
            named.sort();
            ensure!(report["verdict"] == json!(verdict), "{report:#}");
            ensure!(named == expected, "{report:#}");
            Ok(report["sentence"].as_str().unwrap_or_default().to_owned())
        });
        said.await.unwrap_or_else(|error| panic!("{error:?}"))
    };

    // It counts a connection once the handshake is done.
    let mut pairs = Vec::new();
    for number in 0..5 {
        let mut pair = service.pair().await.expect("connect");
        if number < 3 {
            pair.server.write_all(b"welcome").await.expect("answer");
        }
        pairs.push(pair);
    }
    page.claim(3);
    let mut mute: Vec<_> = pairs[3..]
        .iter()
        .map(|pair| {
            let peer = pair.client.local_addr().expect("an address");
            format!("\"unanswered\" \"{peer}\"")
        })
        .collect();
    mute.sort();
    let sentence = suspects("under", &mute).await;
    let said = "2 of them not answered by the service, so that no handshake is done: 127.0.0.1:";
    assert!(sentence.contains(said), "{sentence}");
    // A gauge that counts them as well is right, and nobody is suspected.
    page.claim(5);
    suspects("agree", &[]).await;
    // One that says too much is not about them.
    page.claim(6);
    suspects("over", &[]).await;
}
