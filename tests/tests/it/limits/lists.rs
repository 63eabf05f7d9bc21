//! Lists of sockets, for whoever asks however often: a few at once, and no check waits for them.

use std::net::Ipv4Addr;

use anyhow::ensure;
use futures_util::future::join_all;
use tests::claim_page::ClaimPage;
use tests::http::get;
use tests::observer::{BOUND, Observer, Watched};
use tests::process::raise_descriptor_limit;
use tests::scripted::Scripted;
use tests::{port, wait};

const SOCKETS: u64 = 2_000;

#[tokio::test]
async fn lists_are_made_a_few_at_once_and_the_checks_go_on() {
    raise_descriptor_limit().expect("descriptors");
    let address = (Ipv4Addr::LOCALHOST, port::free().expect("port")).into();
    let scripted = Scripted::listen(address, 64).expect("listen");
    let mut pairs = Vec::new();
    for _ in 0..SOCKETS {
        pairs.push(scripted.pair().await.expect("a pair"));
    }
    let page = ClaimPage::serve().await.expect("a page");
    page.claim(SOCKETS);
    let target = Watched::new("it", &format!(":{}", address.port()), &page.url())
        .with("counts", "established");
    let flags = ["--kernel.backend=sock-diag"];
    let observer = Observer::start_with(&[target], &flags).await;
    let observer = observer.expect("observer").seeded().await.expect("ready");

    let url = format!(
        "{}/api/v1/targets/it/sockets?limit=3&sort=bytes",
        observer.url()
    );
    let answers = join_all((0..60).map(|_| get(&url))).await;
    let (mut made, mut refused) = (0, 0);
    for answer in answers {
        let answer = answer.expect("an answer");
        match answer.status.as_u16() {
            200 => {
                let list: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
                assert_eq!(
                    (list["total"].as_u64(), list["matching"].as_u64()),
                    (Some(SOCKETS), Some(SOCKETS))
                );
                assert_eq!(list["sockets"].as_array().map(Vec::len), Some(3));
                made += 1;
            }
            503 => {
                assert_eq!(answer.headers["retry-after"], "1");
                assert!(answer.body.contains("try again"), "{}", answer.body);
                refused += 1;
            }
            status => panic!("{status}: {}", answer.body),
        }
    }
    assert!(made >= 2 && refused > 0, "{made} made, {refused} refused");

    // While somebody asks in a loop, and never waits.
    let checks = || observer.count_of_checks("it");
    let before = checks().await.expect("checks");
    let go_on = wait::until("ten more checks", BOUND, async || {
        join_all((0..20).map(|_| get(&url))).await;
        let now = checks().await?;
        ensure!(now >= before + 10, "{now} after {before}");
        anyhow::Ok(())
    });
    go_on.await.expect("they go on");
    // There is a place again once they are made.
    let again = wait::until("a list", BOUND, async || {
        let answer = get(&url).await?;
        ensure!(answer.status == 200, "{}", answer.status);
        anyhow::Ok(())
    });
    again.await.expect("a place");
    drop(pairs);
}
