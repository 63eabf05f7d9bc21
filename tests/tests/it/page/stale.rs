//! A page whose observer has gone says so, and goes on by itself when it is back.

use anyhow::ensure;
use tests::browser::{Browser, Size};
use tests::wait;

use super::service::{PATIENCE, Service};

#[tokio::test]
async fn what_is_old_is_seen_to_be_old() {
    let Some(mut browser) = Browser::start_or_skip().await.expect("a browser") else {
        return;
    };
    let service = Service::open().await;
    let mut observer = service.observed().await;
    let url = observer.url().to_owned();
    browser.open(&url, Size::Wide, true).await.expect("open");
    says(&mut browser, "live · as of ").await;
    assert_eq!(browser.problems().await.expect("problems"), [""; 0]);

    observer.process.terminate(PATIENCE).await.expect("it ends");
    says(
        &mut browser,
        "Disconnected; trying again. What stands here is as of ",
    )
    .await;
    let wide = browser.pictures("stale").await.expect("pictures");
    assert_eq!(wide, [""; 0]);
    assert_eq!(browser.axe().await.expect("axe"), [""; 0]);

    let again = service.observed().await;
    assert_eq!(again.url(), url);
    says(&mut browser, "live · as of ").await;
    browser.close().await.expect("close");
}

async fn says(browser: &mut Browser, start: &str) {
    let said = wait::until(start, PATIENCE, async || {
        let said = browser.text("#connection").await?;
        ensure!(said.starts_with(start), "{said}");
        anyhow::Ok(())
    });
    said.await.expect("it says so");
}
