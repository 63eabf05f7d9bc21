//! A command says what the claim is: it is believed or caught as a page is, and nothing that it starts
//! is left.

use std::fs;
use std::path::Path;

use serde_json::json;
use tests::load::{Crowd, Kind, Target};
use tests::observer::{BOUND, Observer, Prepared, Watched};
use tests::process::Signal;
use tests::{kernel_or_skip, port, skip, wait};

use super::{address, nobody_was_blamed, worker};

/// A command that writes what a page says.
const CURL: &str = "/usr/bin/curl";

/// Whether commands can be run as another user; else the skip is recorded.
fn is_root_or_skip() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        skip("needs root, to run commands as another user");
    }
    is_root && kernel_or_skip()
}

/// A target whose claim is what a command writes.
fn commanded(name: &'static str, listen: &str, words: &[&str]) -> Watched {
    let time = format!("{}ms", 500 * wait::slowness());
    let list: Vec<_> = words.iter().map(|word| format!("'''{word}'''")).collect();
    Watched::new(name, listen, "")
        .with_toml("gauge-url", "[]")
        .with_toml("claim-command", &format!("[{}]", list.join(", ")))
        .with("claim-user", "nobody")
        .with("interval", &time)
        .with("scrape-timeout", &time)
}

/// The same with a script of a shell, which says its number behind `open: `.
fn scripted(name: &'static str, listen: &str, script: &str) -> Watched {
    commanded(name, listen, &["/bin/sh", "-c", script])
        .with("claim-pattern", r"^open: (-?\d+)$")
        .with("counts", "established")
}

/// Processes with this word in their command line.
fn processes(word: &str) -> Vec<String> {
    let folders = fs::read_dir("/proc").expect("/proc").flatten();
    let lines = folders.filter_map(|folder| fs::read(folder.path().join("cmdline")).ok());
    let texts = lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " "));
    texts.filter(|text| text.contains(word)).collect()
}

async fn nothing_is_left_of(word: &str) {
    let left = wait::until(
        "the ends of all processes",
        BOUND,
        async || match processes(word) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        },
    );
    left.await.expect("nothing is left");
}

#[tokio::test]
async fn what_a_command_writes_is_the_claim() {
    if !is_root_or_skip() {
        return;
    }
    if !Path::new(CURL).is_file() {
        return skip("no curl here, to be the command");
    }
    let (public, management) = (address(), address());
    let service = worker(public, management).await;
    let listen = format!(":{}", public.port());
    let page = format!("http://{management}/metrics");
    let fetched = [CURL, "--silent", "--show-error", &page];
    let observer = Observer::start(&[
        commanded("right", &listen, &fetched),
        commanded("many", &listen, &fetched).with("claim", "active_connections + 4"),
    ])
    .await
    .expect("observer");
    let mut crowd = Crowd::new(Target::new(public, "/v1/gateway"));
    crowd.open(Kind::WebSocket, 15, 4).await.expect("open");
    let agree = [("verdict", json!("agree")), ("claim", json!(15.0))];
    observer.reports("right", &agree).await.expect("agree");
    let over = [("verdict", json!("over")), ("drift", json!(4))];
    observer.reports("many", &over).await.expect("over");

    drop(service);
    let told = wait::until("what curl says", BOUND, async || {
        let report = observer.report("right").await?;
        let failure = report["failure"].as_str().unwrap_or_default().to_owned();
        let said = "/usr/bin/curl gives no page: the command ended with exit status 7: curl: (7) ";
        anyhow::ensure!(failure.starts_with(said), "{report}");
        anyhow::Ok(())
    });
    told.await.expect("nobody is there");
}

#[tokio::test]
async fn a_command_has_a_user_of_its_own_no_rights_and_no_environment() {
    if !is_root_or_skip() {
        return;
    }
    let listen = format!(":{}", port::free().expect("port"));
    let rights = "while read name value; do case $name in CapEff:) echo open: ${value#0000};; esac; \
        done < /proc/self/status";
    let observer = Observer::start(&[
        scripted("user", &listen, "echo open: `id -u`"),
        scripted("groups", &listen, "echo open: `id -G`"),
        scripted("rights", &listen, rights),
        scripted("stdin", &listen, "cat; echo open: 5"),
    ])
    .await
    .expect("observer");
    for (target, claim) in [
        ("user", 65534.0),
        ("groups", 65534.0),
        ("rights", 0.0),
        ("stdin", 5.0),
    ] {
        observer
            .reports(target, &[("claim", json!(claim))])
            .await
            .expect(target);
    }
    drop(observer);
    // By itself: on a slow machine each of several commands has less time.
    let environment = commanded("environment", &listen, &["/usr/bin/env"]);
    let observer = Observer::start(&[environment.with("claim-pattern", "(.+)")]).await;
    let observer = observer.expect("observer");
    let told = wait::until("the empty page", BOUND, async || {
        let report = observer.report("environment").await?;
        let failure = report["failure"].as_str().unwrap_or_default().to_owned();
        anyhow::ensure!(failure.ends_with(r#"the text begins with """#), "{report}");
        anyhow::Ok(())
    });
    told.await.expect("no variable is there");
}

#[tokio::test]
async fn a_command_that_misbehaves_is_ended_with_all_of_its_processes_and_told() {
    if !is_root_or_skip() {
        return;
    }
    let listen = format!(":{}", port::free().expect("port"));
    let mark = format!("98765.{}", std::process::id());
    let slow = format!("sleep {mark}1 & sleep {mark}1");
    // It leaves its process group and its parent, and holds the output open.
    let leaving = format!("setsid sleep {mark}2 & echo open: 3");
    let observer = Observer::start(&[
        commanded("endless", &listen, &["/bin/cat", "/dev/zero"]).with("claim-pattern", "(.)"),
        scripted("slow", &listen, &slow),
        scripted("leaving", &listen, &leaving),
        scripted(
            "failing",
            &listen,
            r"printf 'no \033[31mroute\nsecond' >&2; exit 3",
        ),
        scripted("killed", &listen, "kill -9 $$"),
        scripted("garbage", &listen, r"printf '\377\000\033[2J'"),
        commanded("absent", &listen, &["/no/such/program"]),
        scripted(
            "loud",
            &listen,
            "cat /dev/zero >&2 & sleep 0.1; echo open: 2",
        ),
    ])
    .await
    .expect("observer");
    for (target, said) in [
        (
            "endless",
            "/bin/cat gives no page: the command wrote more than 1048576 bytes, and was ended",
        ),
        ("slow", "and was ended (scrape-timeout)"),
        (
            "failing",
            r"the command ended with exit status 3: no \x1b[31mroute",
        ),
        ("killed", "exit status 137"),
        ("garbage", r"\x00\x1b[2J"),
        (
            "absent",
            "exit status 127: cannot be started: No such file or directory",
        ),
    ] {
        let told = wait::until("what is wrong", BOUND, async || {
            let report = observer.report(target).await?;
            let failure = report["failure"].as_str().unwrap_or_default().to_owned();
            anyhow::ensure!(failure.contains(said), "{report}");
            anyhow::Ok(())
        });
        told.await.expect(target);
    }
    observer
        .reports("leaving", &[("claim", json!(3.0))])
        .await
        .expect("its number");
    observer
        .reports("loud", &[("claim", json!(2.0))])
        .await
        .expect("its number");
    // Of the one that has left there is never more than its check's; of the observer's end nothing is left.
    let one = wait::until("a moment between two", BOUND, async || {
        match processes(&format!("{mark}2")) {
            left if left.is_empty() => Ok(()),
            left => Err(left),
        }
    });
    one.await.expect("it is ended with its check");
    nobody_was_blamed(&observer);
    let mut observer = observer;
    observer.process.signal(Signal::KILL).expect("kill");
    nothing_is_left_of(&mark).await;
}

#[tokio::test]
async fn a_command_that_cannot_be_run_as_configured_is_refused_by_config_check() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, of whom a user is wanted");
    }
    let target = "[[target]]\nlisten = ':1'\n";
    for (lines, said) in [
        (
            "claim-command = ['/bin/true']\n",
            "say by claim-user as whom",
        ),
        (
            "claim-command = ['/bin/true']\nclaim-user = 'root'\n",
            "not run as root",
        ),
        (
            "claim-command = ['/bin/true']\nclaim-user = 'nobodyy'\n",
            "no user nobodyy in /etc/passwd",
        ),
        (
            "claim-command = ['true']\nclaim-user = 'nobody'\n",
            "write the program's whole path",
        ),
        (
            "claim-user = 'nobody'\n",
            "claim-user is of use with claim-command only",
        ),
        (
            "claim-command = ['/bin/true']\ngauge-url = 'http://h/'\n",
            "two places to have the claim from",
        ),
        (
            "claim-command = ['/bin/true']\nclaim-query = 'g{job=\"a\"}'\n",
            "with the gauge-url of a Prometheus server only",
        ),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("observer.toml");
        fs::write(&file, format!("{target}{lines}")).expect("write");
        let mut command = Prepared::program().expect("built");
        command.args(["config", "check", "--config"]).arg(&file);
        let output = command.output().expect("run");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{lines}");
        assert!(text.contains(said), "{lines}: {text}");
    }
}
