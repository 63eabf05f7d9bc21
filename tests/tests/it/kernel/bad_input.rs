//! What is wrong is said in one clear line, with the right exit code, and nothing is half-started.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

use serde_json::json;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Ended, Observer, Prepared, Watched};
use tests::scripted::{Scripted, UPGRADE};
use tests::{kernel_or_skip, port, skip};

/// Runs `observer SUBCOMMAND` with this configuration until it ends by itself.
async fn run(subcommand: &str, targets: &[Watched]) -> Ended {
    let prepared = Prepared::new(targets, &[]).expect("prepare");
    let program = Prepared::program().expect("program");
    let ended = prepared.run(program, subcommand).await;
    ended.expect("it ends")
}

/// It ended with this code, and said one line that has all of these in it.
fn assert_said(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{ended:?}");
    for word in words {
        assert!(lines[0].contains(word), "{word:?} is not in {ended:?}");
    }
}

/// A service with two WebSockets, and its page.
async fn service() -> (Scripted, Vec<tests::scripted::Pair>, ClaimPage) {
    let address = (Ipv4Addr::LOCALHOST, port::free().expect("port")).into();
    let scripted = Scripted::listen(address, 16).expect("listen");
    let page = ClaimPage::serve().await.expect("page");
    let mut pairs = Vec::new();
    for _ in 0..2 {
        pairs.push(scripted.pair_that_got(&[UPGRADE]).await.expect("a pair"));
    }
    (scripted, pairs, page)
}

fn target(scripted: &Scripted, page: &ClaimPage) -> Watched {
    let listen = format!(":{}", scripted.address().port());
    // `check` may have one answer to go by: a stall of a busy machine is not to be it.
    Watched::new("it", &listen, &page.url())
        .with("counts", "established")
        .with("interval", "1s")
        .with("scrape-timeout", "1s")
}

#[tokio::test]
async fn a_port_in_use_is_said_before_the_kernel_is_touched() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to become another user");
    }
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let flags = [
        &*format!("--web.listen-address={address}"),
        "--kernel.backend=ebpf",
    ];
    let targets = [Watched::new("it", ":1", "http://127.0.0.1:1/")];
    let prepared = Prepared::new(&targets, &flags).expect("prepare");
    // A user who may not load programs would be told so, had the kernel been asked first.
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(prepared.copy_program().expect("copy"));
    let ended = prepared.run(nobody, "run").await.expect("it ends");
    assert_said(&ended, 1, &["error: cannot listen on", &address, "hint: "]);
}

#[tokio::test]
async fn an_observer_that_may_not_load_programs_says_which_capability_is_missing() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to become another user");
    }
    let targets = [Watched::new("it", ":1", "http://127.0.0.1:1/")];
    let prepared = Prepared::new(&targets, &["--kernel.backend=ebpf"]).expect("prepare");
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    nobody.arg(prepared.copy_program().expect("copy"));
    let ended = prepared.run(nobody, "run").await.expect("it ends");
    assert_said(&ended, 1, &["error: CAP_BPF is missing"]);
}

#[tokio::test]
async fn a_url_that_is_none_is_said_with_its_place() {
    let targets = [Watched::new("it", ":1", "nonsense")];
    for (subcommand, code) in [("run", 1), ("check", 3)] {
        let ended = run(subcommand, &targets).await;
        assert_eq!(ended.code, Some(code), "{ended:?}");
        // What runs plugins reads their stdout; that of the others is for data.
        let said = match subcommand {
            "check" => {
                let line = ended.stdout.strip_prefix("OBSERVER UNKNOWN - ");
                assert!(ended.stderr.is_empty(), "{ended:?}");
                line.unwrap_or_else(|| panic!("{ended:?}"))
            }
            _ => {
                assert!(ended.stdout.is_empty(), "{ended:?}");
                &ended.stderr
            }
        };
        let place = "observer.toml:4:13: expected a URL such as http";
        assert!(said.contains(place), "{ended:?}");
        assert_eq!(said.lines().count(), 1, "{ended:?}");
    }
}

#[test]
fn a_reader_of_stdout_that_has_left_is_no_error() {
    for line in ["completions zsh", "man", "config default", "run --help"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut program = Prepared::program().expect("program");
        program.args(line.split(' ')).stdout(writer);
        let ended = program.output().expect("it ends");
        assert!(
            ended.status.success() && ended.stderr.is_empty(),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn an_unknown_key_is_said_with_line_and_column() {
    let text = "[[target]]\nlisten = ':1'\ngauge-url = 'http://127.0.0.1:1/'\ngauge_url = 'x'\n";
    for (subcommand, code) in [("run", 1), ("check", 3)] {
        let prepared = Prepared::of_text(text, &[]).expect("prepare");
        let program = Prepared::program().expect("program");
        let ended = prepared.run(program, subcommand).await.expect("it ends");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        let said = format!("{}{}", ended.stdout, ended.stderr);
        let meant = "observer.toml:4:1: unknown field `gauge_url`: did you mean `gauge-url`?";
        assert_eq!(said.matches(meant).count(), 1, "{ended:?}");
    }
}

#[tokio::test]
async fn a_target_that_does_not_listen_is_said_to_be_so() {
    if !kernel_or_skip() {
        return;
    }
    let port = port::free().expect("port");
    let page = ClaimPage::serve().await.expect("page");
    let targets = [Watched::new("it", &format!(":{port}"), &page.url())];
    let mut observer = Observer::start(&targets).await.expect("observer");
    let sentence = format!("it: blind: nothing listens on :{port}.");
    let blind = [
        ("verdict", json!("blind")),
        ("reason", json!("not_listening")),
        ("sentence", json!(sentence)),
    ];
    observer.reports("it", &blind).await.expect("not listening");
    let logged = |log: &str| {
        log.lines()
            .filter(|line| line.contains("reason=not_listening"))
            .count()
    };
    // What is published first may be read first.
    let line = observer.process.wait_for_log("reason=not_listening", BOUND);
    line.await.expect("a line of the log");
    assert_eq!(logged(&observer.process.log()), 1);

    let ended = run("check", &targets).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    let line = format!("OBSERVER UNKNOWN - {sentence} |");
    assert!(ended.stdout.starts_with(&line), "{ended:?}");

    // And when it listens after all, it is seen.
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let scripted = Scripted::listen(address, 16).expect("listen");
    let pair = scripted.pair_that_got(&[UPGRADE]).await.expect("a pair");
    page.claim(1);
    let agree = [("verdict", json!("agree")), ("claim", json!(1.0))];
    observer.reports("it", &agree).await.expect("agree");
    drop(pair);
}

#[tokio::test]
async fn a_page_without_a_usable_gauge_is_said_to_be_so() {
    if !kernel_or_skip() {
        return;
    }
    let (scripted, _pairs, page) = service().await;
    let targets = [target(&scripted, &page)];
    let observer = Observer::start(&targets).await.expect("observer");
    let nobody = format!("http://127.0.0.1:{}/metrics", port::free().expect("port"));
    for (text, words) in [
        ("other 1\n", "no series matches active_connections"),
        (
            "active_conections 2\n",
            "no series matches active_connections: there is active_conections",
        ),
        ("{\"active_connections\": 2}", "this is JSON"),
        ("active_connections NaN\n", "NaN"),
        ("active_connections many\n", "many"),
        ("<html>\n", "html"),
    ] {
        page.say(text);
        let ended = run("check", &targets).await;
        assert_eq!(ended.code, Some(3), "{text:?}: {ended:?}");
        let is_one_line = ended.stdout.lines().count() == 1;
        assert!(is_one_line && ended.stdout.contains(words), "{ended:?}");
        let blind = [("verdict", json!("blind")), ("claim", json!(null))];
        observer.reports("it", &blind).await.expect("blind");
        page.claim(2);
        let agree = [("verdict", json!("agree"))];
        observer.reports("it", &agree).await.expect("agree again");
    }
    // Nobody answers there.
    let ended = run("check", &[targets[0].clone().with_urls(&[&nobody])]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    assert!(ended.stdout.contains("refused"), "{ended:?}");
}

#[tokio::test]
async fn check_exits_0_on_agree_1_on_unsettled_and_2_on_over_and_under() {
    if !kernel_or_skip() {
        return;
    }
    let (scripted, _pairs, page) = service().await;
    let targets = [target(&scripted, &page)];
    for (claims, code, words) in [
        (
            &[2][..],
            0,
            "OBSERVER OK - it: the gauge says 2, the kernel counts 2",
        ),
        (
            &[7],
            2,
            "OBSERVER CRITICAL - it: the gauge says 7, the kernel counts 2: over by 5",
        ),
        (
            &[0],
            2,
            "OBSERVER CRITICAL - it: the gauge says 0, the kernel counts 2: under by 2",
        ),
        // Now too many, now too few: nothing stands for long enough.
        (&[3, 1], 1, "OBSERVER WARNING"),
    ] {
        page.claim_in_turn(claims);
        let ended = run("check", &targets).await;
        assert_eq!(ended.code, Some(code), "{claims:?}: {ended:?}");
        assert!(ended.stdout.starts_with(words), "{ended:?}");
    }
}

#[tokio::test]
async fn what_is_at_most_the_connections_can_only_be_over() {
    if !kernel_or_skip() {
        return;
    }
    let (scripted, _pairs, page) = service().await;
    let targets = [target(&scripted, &page).with("bound", "at-most")];
    let observer = Observer::start(&targets).await.expect("observer");
    for claim in [0, 1, 2] {
        page.claim(claim);
        let agree = [
            ("verdict", json!("agree")),
            ("claim", json!(claim as f64)),
            ("low", json!(0)),
            ("high", json!(2)),
        ];
        observer.reports("it", &agree).await.expect("agree");
    }
    page.claim(5);
    let over = [("verdict", json!("over")), ("drift", json!(3))];
    observer.reports("it", &over).await.expect("over");
    assert_eq!(observer.checks("it").await.expect("checks").under, 0);
}

#[tokio::test]
async fn a_negative_series_is_named_also_where_the_sum_is_right() {
    if !kernel_or_skip() {
        return;
    }
    let (scripted, _pairs, page) = service().await;
    let observer = Observer::start(&[target(&scripted, &page)]).await;
    let observer = observer.expect("observer");
    let named = "active_connections{w=\"2\"} is negative";
    page.say("active_connections{w=\"1\"} 3\nactive_connections{w=\"2\"} -1\n");
    let said = tests::wait::until("the sentence", BOUND, async || {
        let report = observer.report("it").await?;
        let sentence = report["sentence"].as_str().unwrap_or_default();
        anyhow::ensure!(
            report["verdict"] == "agree" && sentence.contains(named),
            "{report}"
        );
        Ok(())
    });
    said.await.expect("it is named");
    page.say("active_connections{w=\"1\"} 1\nactive_connections{w=\"2\"} 1\n");
    let said = tests::wait::until("the sentence", BOUND, async || {
        let report = observer.report("it").await?;
        let sentence = report["sentence"].as_str().unwrap_or_default();
        anyhow::ensure!(!sentence.contains("negative"), "{report}");
        Ok(())
    });
    said.await.expect("it is named no longer");
}

#[tokio::test]
async fn check_says_one_line_and_why_only_where_it_is_asked() {
    if !kernel_or_skip() {
        return;
    }
    let (scripted, _pairs, page) = service().await;
    page.claim(2);
    let targets = [target(&scripted, &page)];
    let ended = run("check", &targets).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");

    let prepared = Prepared::new(&targets, &["--verbose"]).expect("prepare");
    let program = Prepared::program().expect("program");
    let ended = prepared.run(program, "check").await.expect("it ends");
    assert!(ended.stdout.lines().count() > 5, "{ended:?}");
    assert!(ended.stderr.contains("level=info"), "{ended:?}");
}

#[test]
fn doctor_needs_no_target() {
    let mut program = Prepared::program().expect("program");
    let ended = program.arg("doctor").output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(said.contains("kernel"), "{ended:?}");
    assert!(said.contains("this host"), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}
