//! Fifty targets, some of them wrong and one of them hostile.

use anyhow::ensure;
use serde_json::json;
use tests::browser::{Browser, Size};
use tests::wait;
use tokio::net::TcpStream;

use super::service::{PATIENCE, Service, Target};

const NONE: [&str; 0] = [];

/// What a label can hold.
const HOSTILE: &str = r#"<img src=x onerror=alert(1)>&quot;</script>"#;

/// So many targets leave a busy machine time for a browser.
const SELDOM: &str =
    "interval = '1s'\nscrape-timeout = '1s'\nsettle = '300ms'\ntoo-wide = '1000000%'";

#[tokio::test]
async fn fifty_targets_can_be_read() {
    let Some(mut browser) = Browser::start_or_skip().await.expect("a browser") else {
        return;
    };
    let service = Service::open().await;
    let hostile = format!("active_connections{{n=\"{HOSTILE}\"}}");
    let mut page = format!("# TYPE active_connections gauge\n{hostile} 0\n");
    let (mut names, mut gauges) = (Vec::new(), Vec::new());
    for number in 0..50 {
        names.push(format!("t-{number:02}"));
        let gauge = match number {
            41 => hostile.clone(),
            _ => format!("active_connections{{n=\"{number}\"}}"),
        };
        let claim = match number {
            // More than a busy host could make doubtful.
            7 => "1000000",
            33 => "-5",
            _ => "0",
        };
        // One is claimed already, and one is not to be found.
        if ![20, 41].contains(&number) {
            page.push_str(&format!("{gauge} {claim}\n"));
        }
        gauges.push(gauge);
    }
    service.page.say(&page);
    let targets: Vec<_> = names
        .iter()
        .zip(&gauges)
        .map(|(name, gauge)| Target {
            name,
            gauge,
            settings: SELDOM,
        })
        .collect();
    let observer = service.observer(&targets).await;
    let url = observer.url();
    // Of a service that nobody was ever seen on, no number would be too high.
    let visitor = TcpStream::connect(service.address())
        .await
        .expect("connect");
    let seen = wait::until_equal("the visitor", PATIENCE, json!(1), async || {
        Ok(observer.report("t-07").await?["connections"]["unclassified"].clone())
    });
    seen.await.expect("it is seen");
    drop(visitor);

    browser.open(url, Size::Wide, true).await.expect("open");
    // The worst first; what stands below is the worst when the page was opened.
    let worst = wait::until("the verdicts", PATIENCE * 3, async || {
        let title = browser.text("h1").await?;
        ensure!(title == "2 of 50 gauges are wrong", "{title}");
        let rows = browser.rows(".targets").await?;
        let row = |at: usize| {
            [
                rows[at][0].clone(),
                rows[at][1].clone(),
                rows[at][5].clone(),
            ]
        };
        ensure!(row(0)[..2] == ["▲ over", "t-07"], "{:?}", rows[0]);
        ensure!(row(1) == ["▼ under", "t-33", "−5"], "{:?}", rows[1]);
        ensure!(row(2) == ["? blind", "t-20", ""], "{:?}", rows[2]);
        ensure!(row(3) == ["✓ agree", "t-00", "0"], "{:?}", rows[3]);
        Ok(rows)
    });
    assert_eq!(worst.await.expect("the overview").len(), 50);

    // By keys alone: past the list, to a target, to its chart.
    browser.open(url, Size::Wide, true).await.expect("open");
    assert_eq!(browser.press("Tab").await.expect("Tab"), "#main");
    browser.press("Enter").await.expect("Enter");
    assert_eq!(browser.press("Tab").await.expect("Tab"), "filter-text");
    let first = browser.press("Tab").await.expect("Tab");
    assert_eq!(first, "/?target=t-07#target");
    assert_eq!(browser.text("#target-name").await.expect("name"), "t-07");

    browser.fill("#filter-text", "t-4").await.expect("fill");
    let rows = browser.rows(".targets").await.expect("rows");
    assert_eq!(rows.len(), 10, "{rows:?}");
    assert_eq!(
        browser.text("#filter-count").await.expect("count"),
        "10 of 50"
    );
    browser.fill("#filter-text", "").await.expect("fill");
    assert_eq!(browser.pictures("many").await.expect("pictures"), NONE);
    assert_eq!(browser.axe().await.expect("axe"), NONE);

    // What a label holds is text, here as everywhere.
    let of_hostile = format!("{url}/?target=t-41");
    browser
        .open(&of_hostile, Size::Narrow, true)
        .await
        .expect("open");
    let facts = browser.text(".facts").await.expect("facts");
    assert!(facts.contains(HOSTILE), "{facts}");
    assert_eq!(browser.texts("img, b").await.expect("elements"), NONE);
    assert_eq!(browser.problems().await.expect("problems"), NONE);

    // Without scripts the words are all there.
    let of_worst = format!("{url}/?target=t-33");
    browser
        .open(&of_worst, Size::Wide, false)
        .await
        .expect("open");
    let sentence = browser.text("#sentence").await.expect("sentence");
    let start = "The gauge says -5, the kernel ";
    assert!(sentence.starts_with(start), "{sentence}");
    assert!(sentence.contains(": under by "), "{sentence}");
    assert_eq!(browser.rows(".targets").await.expect("rows").len(), 50);
    let checks = browser.rows(".checks").await.expect("checks");
    let latest = [1, 3, 4].map(|column| checks[0][column].as_str());
    assert_eq!(latest, ["−5", "−5", "▼ under"]);
    assert_eq!(browser.texts("#chart").await.expect("chart"), NONE);
    let state = browser.text("#connection").await.expect("state");
    assert!(state.starts_with("snapshot as of "), "{state}");
    assert_eq!(browser.problems().await.expect("problems"), NONE);
    browser.close().await.expect("close");
}
