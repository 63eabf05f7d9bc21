//! A server goes from truth to a lie and back, and the page tells it: sentence, chart and table.

use anyhow::{Result, ensure};
use tests::browser::{Browser, Size};
use tests::gallery::Liar;
use tests::load::{Crowd, Ending, Kind, Target};
use tests::observer::{BOUND, Observer, Watched};
use tests::process::Signal;
use tests::{kernel_or_skip, wait};

const NONE: [&str; 0] = [];

/// What a step is to look like.
struct Step<'a> {
    headline: &'a str,
    claim: &'a str,
    kernel: &'a str,
    drift: &'a str,
    verdict: &'a str,
    /// How the sentence begins, and what else it has.
    sentence: [&'a str; 2],
    /// How the chart's last check is read out, after its time.
    chart: &'a str,
}

#[tokio::test]
async fn from_truth_to_a_lie_and_back() {
    if !kernel_or_skip() {
        return;
    }
    let Some(mut browser) = Browser::start_or_skip().await.expect("a browser") else {
        return;
    };
    let liar = Liar::start("no_decrement_on_abort", &[]).await;
    let mut liar = liar.expect("the liar");
    let public = liar.public;
    let connections = format!("http://{}/connections", liar.management);
    let relay =
        Watched::new("relay", &liar.listen(), &liar.page()).with("connections-url", &connections);
    let observer = Observer::start(&[relay]).await;
    let observer = observer.expect("the observer");
    browser
        .open(observer.url(), Size::Wide, true)
        .await
        .expect("open");

    let gateway = || Crowd::new(Target::new(public, "/v1/gateway"));
    let mut crowd = gateway();
    crowd.open(Kind::WebSocket, 20, 8).await.expect("clients");
    let truth = Step {
        headline: "The gauge agrees with the kernel",
        claim: "20",
        kernel: "20",
        drift: "0",
        verdict: "✓ agree",
        sentence: ["The gauge says 20, the kernel counts 20: they agree.", ""],
        chart: "gauge 20 · kernel 20 · agree",
    };
    shows(&mut browser, "agree", &truth).await;

    crowd.end(4, Ending::Reset).await;
    let lie = Step {
        headline: "The gauge is wrong",
        claim: "20",
        kernel: "16",
        drift: "+4",
        verdict: "▲ over",
        sentence: [
            "The gauge says 20, the kernel counts 16: over by 4 since ",
            "a decrement is lost",
        ],
        chart: "gauge 20 · kernel 16 · drift +4 · over",
    };
    shows(&mut browser, "over", &lie).await;
    // The table of suspects has those that the service lists and the kernel does not have.
    let report = observer.report("relay").await.expect("a report");
    let list = report["suspects"]["list"].as_array().expect("suspects");
    let expected: Vec<_> = list
        .iter()
        .map(|suspect| suspect["peer"].as_str().expect("a peer"))
        .collect();
    assert_eq!(expected.len(), 4, "{report}");
    let rows = browser.rows(".suspects").await.expect("rows");
    assert_eq!(rows.len(), expected.len(), "{rows:?}");
    for (row, peer) in rows.iter().zip(expected) {
        assert_eq!(row[..2], [peer, "phantom: listed, and not in the kernel"]);
    }
    let told = browser.text("#announcement").await.expect("told");
    assert!(told.starts_with("relay: The gauge says 20"), "{told}");

    let restarted = liar.restart(Signal::KILL).await;
    restarted.expect("the liar again");
    let mut crowd = gateway();
    crowd.open(Kind::WebSocket, 7, 4).await.expect("clients");
    let truth = Step {
        claim: "7",
        kernel: "7",
        sentence: ["The gauge says 7, the kernel counts 7: they agree.", ""],
        chart: "gauge 7 · kernel 7 · agree",
        ..truth
    };
    shows(&mut browser, "again", &truth).await;
    assert_eq!(browser.texts(".suspects").await.expect("tables"), NONE);

    // The chart remembers: from the last check back to one that was a lie.
    browser.focus("#chart").await.expect("focus");
    browser.press("End").await.expect("End");
    let back = wait::until("the lie", BOUND, async || {
        browser.press("ArrowLeft").await?;
        let read = browser.text("#readout").await?;
        ensure!(read.ends_with(lie.chart), "{read}");
        anyhow::Ok(())
    });
    back.await.expect("the chart has the lie");
    assert_eq!(browser.problems().await.expect("problems"), NONE);
    browser.close().await.expect("close");
}

async fn shows(browser: &mut Browser, name: &str, step: &Step<'_>) {
    let shown = wait::until(name, BOUND, async || is_shown(browser, step).await);
    shown.await.expect("the page shows it");
    let wide = browser.pictures(name).await.expect("pictures");
    assert_eq!(wide, NONE, "wider than the window");
    assert_eq!(browser.axe().await.expect("axe"), NONE);
    assert_eq!(browser.problems().await.expect("problems"), NONE);
}

async fn is_shown(browser: &mut Browser, step: &Step<'_>) -> Result<()> {
    let headline = browser.text("h1").await?;
    ensure!(headline == step.headline, "{headline}");
    let title = browser.title().await?;
    ensure!(title == format!("{headline} · observer"), "{title}");
    let sentence = browser.text("#sentence").await?;
    let [start, part] = step.sentence;
    ensure!(
        sentence.starts_with(start) && sentence.contains(part),
        "{sentence}"
    );
    let verdict = browser.text("#target > header .badge").await?;
    ensure!(verdict == step.verdict, "{verdict}");
    for (figure, expected) in [
        ("#figure-claim", step.claim),
        ("#figure-kernel", step.kernel),
        ("#figure-drift", step.drift),
    ] {
        let found = browser.text(figure).await?;
        ensure!(found == expected, "{figure} is {found}");
    }
    let checks = browser.rows(".checks").await?;
    let expected = [step.claim, step.kernel, step.drift, step.verdict];
    ensure!(
        checks.first().is_some_and(|row| row[1..5] == expected),
        "{checks:?}"
    );
    let classes = browser.rows(".classes").await?;
    ensure!(classes[0][..2] == ["websocket", step.kernel], "{classes:?}");
    browser.focus("#chart").await?;
    browser.press("End").await?;
    let read = browser.text("#readout").await?;
    ensure!(read.ends_with(&format!("UTC · {}", step.chart)), "{read}");
    Ok(())
}
