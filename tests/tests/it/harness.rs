//! The harness, tested: its failures included.

use std::process::Command;
use std::time::Duration;

use tests::gallery::Liar;
use tests::load::{Books, Crowd, Ending, Kind, Target};
use tests::process::{Process, Signal};
use tests::{scrape, wait};

const BOUND: Duration = Duration::from_secs(10);

async fn liar() -> Liar {
    let liar = Liar::start("no_decrement_on_abort", &[]).await;
    liar.expect("start the liar")
}

async fn gauge_becomes(page: &str, expected: f64) {
    wait::until_equal("active_connections", BOUND, expected, async || {
        scrape::fetch(page).await?.value("active_connections", &[])
    })
    .await
    .expect("the gauge");
}

#[tokio::test]
async fn the_liar_is_honest_about_clean_ends_and_lies_about_aborts() {
    let liar = liar().await;
    let page = liar.page();
    let mut crowd = Crowd::new(Target::new(liar.public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 20, 5).await.expect("open");
    gauge_becomes(&page, 20.0).await;

    crowd.end(5, Ending::Clean).await;
    gauge_becomes(&page, 15.0).await;

    crowd.end(4, Ending::Reset).await;
    crowd.end(3, Ending::Fin).await;
    crowd.end(1, Ending::Clean).await;
    gauge_becomes(&page, 14.0).await;

    let expected = Books {
        opened: 20,
        clean: 6,
        fin: 3,
        reset: 4,
        ..Books::default()
    };
    assert_eq!(crowd.books(), expected);
    assert_eq!(crowd.books().open(), 7);
}

#[tokio::test]
async fn books_know_who_ended() {
    let liar = liar().await;
    let mut crowd = Crowd::new(Target::new(liar.public, "/"));
    crowd.open(Kind::Http, 3, 3).await.expect("open");
    crowd.open(Kind::Tcp, 2, 1).await.expect("open");
    assert_eq!(crowd.books().open(), 5);
    drop(liar);
    wait::until_equal("ended by the peer", BOUND, 5, async || {
        Ok(crowd.books().by_peer)
    })
    .await
    .expect("all five");
    // Those have ended: to end them again changes nothing.
    crowd.end_all(Ending::Reset).await;
    assert_eq!(crowd.books().reset, 0);

    crowd
        .open(Kind::Tcp, 2, 2)
        .await
        .expect_err("nobody listens");
    assert_eq!((crowd.books().failed, crowd.books().opened), (2, 5));
}

#[tokio::test]
async fn churn_is_booked_to_the_last_one() {
    let liar = liar().await;
    let crowd = Crowd::new(Target::new(liar.public, "/"));
    for (kind, ending) in [(Kind::Http, Ending::Fin), (Kind::Tcp, Ending::Reset)] {
        crowd.churn(kind, ending, 500, 16).await.expect("churn");
    }
    let expected = Books {
        opened: 1000,
        fin: 500,
        reset: 500,
        ..Books::default()
    };
    assert_eq!(crowd.books(), expected);
}

#[tokio::test]
async fn a_process_says_how_it_ended_and_what_it_said() {
    let mut shell =
        Process::start(Command::new("sh").args(["-c", "echo data; echo talk >&2; exit 3"]))
            .expect("start");
    let status = shell.wait_for_exit(BOUND).await.expect("ends");
    assert_eq!(status.code(), Some(3));
    assert_eq!(
        (shell.stdout(), shell.log()),
        ("data".into(), "talk".into())
    );

    let error = shell.wait_for_log("never", BOUND).await;
    let text = format!("{:#}", error.expect_err("it has ended"));
    assert!(
        text.contains("ended first") && text.contains("talk"),
        "{text}"
    );
}

#[tokio::test]
async fn a_process_is_ended_by_signal_and_by_drop() {
    let mut sleeper = Process::start(Command::new("sleep").arg("60")).expect("start");
    sleeper.signal(Signal::KILL).expect("kill");
    let status = sleeper.wait_for_exit(BOUND).await.expect("ends");
    assert!(!status.success());
    sleeper
        .signal(Signal::TERM)
        .expect("a signal to nobody is none");

    let sleeper = Process::start(Command::new("sleep").arg("60")).expect("start");
    let folder = format!("/proc/{}", sleeper.id());
    assert!(std::path::Path::new(&folder).exists());
    drop(sleeper);
    assert!(!std::path::Path::new(&folder).exists());
}

/// A worker outlives the process that started it, as nginx' do: not the value.
#[tokio::test]
async fn what_a_process_has_started_ends_with_it() {
    for is_killed in [false, true] {
        let script = "sleep 60 & echo $! >&2; wait";
        let mut master = Process::start(Command::new("sh").args(["-c", script])).expect("start");
        let worker = master.wait_for_log("", BOUND).await.expect("its worker");
        let worker = std::path::PathBuf::from(format!("/proc/{worker}"));
        if is_killed {
            master.signal(Signal::KILL).expect("kill");
            master.wait_for_exit(BOUND).await.expect("ends");
        }
        assert!(worker.exists());
        drop(master);
        let ended = wait::until("the worker's end", BOUND, async || {
            // It is nobody's until init has taken note of its end.
            let state = std::fs::read_to_string(worker.join("stat")).unwrap_or_default();
            let is_gone = state.is_empty() || state.contains(") Z ");
            is_gone.then_some(()).ok_or(state)
        });
        ended.await.expect("it has ended");
    }
}

#[tokio::test]
async fn a_wait_that_is_in_vain_says_what_it_saw() {
    let error = wait::until_equal("the answer", Duration::from_millis(50), 42, async || Ok(41));
    let text = error.await.expect_err("41 is not 42").to_string();
    assert!(text.contains("the answer") && text.contains("41"), "{text}");
}

#[tokio::test]
async fn a_binary_that_is_not_built_is_named() {
    let error = Process::spawn("no-such-binary", [""; 0]).expect_err("there is none");
    assert!(error.to_string().contains("no-such-binary is not built"));
}

/// Tests that want the whole machine.
mod heavy {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn churn_goes_beyond_one_address_of_ports() {
        let liar = liar().await;
        let crowd = Crowd::new(Target::new(liar.public, "/"));
        // One source address has 28,232 ephemeral ports by default, each held for a minute after.
        let churned = crowd.churn(Kind::Http, Ending::Fin, 40_000, 64).await;
        churned.expect("no port runs out");
        let books = crowd.books();
        assert_eq!((books.opened, books.fin, books.failed), (40_000, 40_000, 0));
    }
}
