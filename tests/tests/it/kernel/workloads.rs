//! Targets that are named by what their service is run in: a cgroup, a systemd unit, a container.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde_json::json;
use tests::observer::{BOUND, Observer, Watched};
use tests::process::{Process, Signal};
use tests::{kernel_or_skip, port, skip, wait};

use super::namespace::{Namespace, obstacle};

/// Where cgroup2 is.
fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
    let mut fields = mounts.lines().map(|line| line.split(' '));
    fields.find_map(|mut fields| {
        let (_, folder, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(folder))
    })
}

/// A cgroup, gone when it is dropped.
pub(super) struct Cgroup(pub(super) PathBuf);

impl Cgroup {
    /// Makes one; nothing without cgroup2.
    pub(super) fn add(name: &str) -> Option<Self> {
        let folder = root()?.join(name);
        fs::create_dir(&folder).expect("a cgroup");
        Some(Self(folder))
    }

    fn take_in(&self, process: &Process) {
        let procs = self.0.join("cgroup.procs");
        fs::write(procs, process.id().to_string()).expect("move a process");
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// A service that is started twice, in another network namespace each time, is followed by the name of
/// what it is run in.
async fn is_followed(folder: &str, key: &str, name: &str) {
    if !kernel_or_skip() {
        return;
    }
    if let Some(obstacle) = obstacle() {
        return skip(obstacle);
    }
    let Some(cgroup) = Cgroup::add(folder) else {
        return skip("needs cgroup2");
    };
    let public = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free().expect("port")));
    let page = format!("http://127.0.0.2:{}/metrics", public.port());
    let target = Watched::new("it", &public.to_string(), &page)
        .with("counts", "established")
        .with(key, name);
    let observer = Observer::start_with(&[target], &[])
        .await
        .expect("observer");
    let is_absent = [
        ("verdict", json!("blind")),
        ("reason", json!("no_namespace")),
    ];
    for open in [5_u64, 3] {
        observer
            .reports("it", &is_absent)
            .await
            .expect("nobody is there");
        let namespace = Namespace::add(key);
        let mut worker = namespace.worker(public).await;
        cgroup.take_in(&worker);
        let clients = namespace.clients(public, open as usize).await;
        let agrees = [
            ("verdict", json!("agree")),
            ("claim", json!(open as f64)),
            ("low", json!(open)),
            ("high", json!(open)),
        ];
        observer.reports("it", &agrees).await.expect("it agrees");
        drop(clients);
        worker.signal(Signal::KILL).expect("kill");
        worker.wait_for_exit(BOUND).await.expect("it ends");
    }
    super::nobody_was_blamed(&observer);
    let empty = wait::until_equal("an empty cgroup", BOUND, String::new(), async || {
        Ok(fs::read_to_string(cgroup.0.join("cgroup.procs"))?)
    });
    empty.await.expect("nobody is in it");
}

#[tokio::test]
async fn a_service_is_found_by_its_cgroup_each_time_that_it_is_started() {
    let folder = format!("plumbline-{}.slice", std::process::id());
    is_followed(&folder, "cgroup", &format!("/{folder}")).await;
}

#[tokio::test]
async fn a_service_is_found_by_its_unit_each_time_that_it_is_started() {
    let folder = format!("plumbline-{}.service", std::process::id());
    is_followed(&folder, "unit", &folder).await;
}

#[tokio::test]
async fn a_service_is_found_by_its_container_each_time_that_it_is_started() {
    // As an engine names it after its id, which here begins with this process's.
    let id = format!("{:0>12x}{}", std::process::id(), "ab".repeat(26));
    is_followed(&format!("libpod-{id}"), "container", &id[..12]).await;
}
