//! Threads: as many as the unit lets it have, however many targets are in other network namespaces, and
//! however long the system's resolver takes.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::ensure;
use tests::claim_page::ClaimPage;
use tests::observer::{BOUND, Observer, Prepared};
use tests::{skip, wait};

use super::status;

const TARGETS: usize = 100;

/// The limit of the unit that is shipped.
fn tasks_of_unit() -> u64 {
    let unit =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/systemd/plumbline-observer.service");
    let text = fs::read_to_string(unit).expect("the unit");
    let limit = text.lines().find_map(|line| line.strip_prefix("TasksMax="));
    limit.expect("it has one").parse().expect("a number")
}

/// A control group whose processes may have so many threads together.
struct TaskLimit(PathBuf);

impl TaskLimit {
    /// None where there can be none here.
    fn new(most: u64) -> Option<Self> {
        let folder = PathBuf::from("/sys/fs/cgroup/pids");
        let folder = folder.join(format!("plumbline-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let limit = Self(folder);
        fs::write(limit.0.join("pids.max"), most.to_string()).ok()?;
        Some(limit)
    }

    /// The observer within it.
    fn observer(&self) -> Command {
        let script = "echo $$ > \"$1\" && shift && exec \"$@\"";
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        command.arg(self.0.join("cgroup.procs"));
        command.arg(Prepared::program().expect("built").get_program());
        command
    }
}

impl Drop for TaskLimit {
    fn drop(&mut self) {
        // It goes with its last process, which may take a moment to be gone.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Network namespaces, gone when they are dropped.
struct Namespaces(Vec<String>);

impl Namespaces {
    fn add(count: usize) -> Self {
        let name = |number| format!("plumbline-{}-{number}", std::process::id());
        let namespaces = Self((0..count).map(name).collect());
        assert!(namespaces.each("add"), "ip netns add");
        namespaces
    }

    fn each(&self, action: &str) -> bool {
        self.0.iter().all(|name| {
            let status = Command::new("ip").args(["netns", action, name]).status();
            status.is_ok_and(|status| status.success())
        })
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.each("delete");
    }
}

/// Checks so far that were blind for this reason, of how many targets.
async fn reasons(observer: &Observer, reason: &str) -> anyhow::Result<usize> {
    let page = observer.page().await?;
    let mut blind = 0;
    for number in 0..TARGETS {
        let name = format!("t{number}");
        let labels = [("target", name.as_str()), ("reason", reason)];
        blind += page.value("observer_blind", &labels)? as usize;
    }
    Ok(blind)
}

#[tokio::test]
async fn a_hundred_targets_in_namespaces_fit_into_the_units_limit() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to make network namespaces");
    }
    let Some(limit) = TaskLimit::new(tasks_of_unit()) else {
        return skip("needs the control groups' pids controller at /sys/fs/cgroup/pids");
    };
    let namespaces = Namespaces::add(TARGETS);
    let page = ClaimPage::serve().await.expect("a page");
    let mut text = String::from("[kernel]\nbackend = 'sock-diag'\n");
    for (number, namespace) in namespaces.0.iter().enumerate() {
        let _ = write!(
            text,
            "[[target]]\nname = 't{number}'\nlisten = ':80'\nnetns = 'path:/run/netns/{namespace}'\n\
             gauge-netns = 'self'\ngauge-url = ['{}']\ncounts = 'established'\ninterval = '1s'\nsettle = '200ms'\n",
            page.url()
        );
    }
    let prepared = Prepared::of_text(&text, &[]).expect("a configuration");
    let observer = prepared.start(limit.observer()).await.expect("it starts");
    // Each was looked into: nothing listens there.
    let looked = wait::until_equal("the reasons", BOUND, (0, TARGETS), async || {
        let absent = reasons(&observer, "no_namespace").await?;
        Ok((absent, reasons(&observer, "not_listening").await?))
    });
    let log = || observer.process.log();
    looked
        .await
        .unwrap_or_else(|error| panic!("{error:#}\n{}", log()));
    assert!(!log().contains("panicked"), "{}", log());
    let events = fs::read_to_string(limit.0.join("pids.events")).expect("events");
    assert_eq!(events.trim(), "max 0", "the limit was met");
}

#[tokio::test]
async fn a_name_server_that_is_dead_takes_few_threads_and_holds_up_nobody() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to be the name server and to say who it is");
    }
    // It hears everything, and answers nothing.
    let [_, _, c, d] = std::process::id().to_be_bytes();
    let silent = Ipv4Addr::new(127, 77, c, d);
    let Ok(_socket) = UdpSocket::bind((silent, 53)) else {
        return skip("the name server's port is taken");
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("resolv.conf");
    fs::write(&file, format!("nameserver {silent}\n")).expect("write");
    let mut text = String::from("[kernel]\nbackend = 'sock-diag'\n");
    let mut target = |name: &str, url: &str, every: &str| {
        let _ = write!(
            text,
            "[[target]]\nname = '{name}'\nlisten = ':1'\ncounts = 'established'\n\
             gauge-url = ['{url}']\ninterval = '{every}'\nscrape-timeout = '{every}'\nsettle = '100ms'\n"
        );
    };
    for number in 0..40 {
        target(
            &format!("t{number}"),
            &format!("http://host{number}.example:9/metrics"),
            "100ms",
        );
    }
    let page = ClaimPage::serve().await.expect("a page");
    target("here", &page.url().replace("127.0.0.1", "localhost"), "2s");

    let script = "mount --bind \"$1\" /etc/resolv.conf && shift && exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(&file);
    command.arg(Prepared::program().expect("built").get_program());
    let prepared = Prepared::of_text(&text, &[]).expect("a configuration");
    let observer = prepared.start(command).await.expect("it starts");
    let tried = wait::until("attempts", BOUND, async || {
        let page = observer.page().await?;
        for number in 0..40 {
            let name = format!("t{number}");
            let labels = [("target", name.as_str()), ("verdict", "blind")];
            let checks = page.value("observer_checks_total", &labels)?;
            ensure!(checks >= 15.0, "{name}: {checks}");
        }
        // It needs no name server.
        let is_up = page.value("observer_target_up", &[("target", "here")])?;
        ensure!(is_up == 1.0, "localhost is down");
        anyhow::Ok(())
    });
    tried.await.expect("attempts go on");
    let threads = status(&observer, "Threads");
    assert!(threads <= tasks_of_unit(), "{threads} threads");
    let report = observer.report("t0").await.expect("a report");
    let text = report.to_string();
    assert!(text.contains("looking up the host's name"), "{text}");
}
