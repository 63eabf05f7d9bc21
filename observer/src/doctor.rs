//! `observer doctor`: what this host lets the observer see, line by line, each with its fix.
//!
//! It tries what `run` would do, in the same order, and undoes it. A refusal (EPERM) is told from a
//! kernel that lacks something: the first is mended with rights, the second is not.

use std::fs;

use serde::Serialize;

use crate::{
    claim::Outcome,
    config::{self, Cgroup, Config, Counts, TcpAddress},
    netns::NetworkNamespace,
    probe::{self, LoadError, Options, Probe, chain},
    watch::{asking, dumps::Listeners, endpoint::Endpoint, endpoints::Endpoints},
};

/// What to do where sockets cannot be listed.
const LOAD: &str = "load the kernel modules inet_diag, tcp_diag and unix_diag";

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// The observer works, and sees less.
    Warn,
    /// The observer, or this target, does not work.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// What was looked at.
    pub check: String,
    /// How it came out.
    pub status: Status,
    /// What was found.
    pub finding: String,
    /// What to do about it.
    pub fix: Option<String>,
}

/// Looks at the host, then at each target.
pub async fn examine(config: &Config) -> Vec<Line> {
    let mut lines = vec![
        kernel(),
        btf(),
        lockdown(),
        cgroup2(&config.kernel.cgroup),
        capability("CAP_BPF", Status::Warn),
        capability("CAP_PERFMON", Status::Warn),
        capability("CAP_NET_ADMIN", Status::Warn),
        programs(config),
    ];
    if config.targets.is_empty() {
        lines.push(
            line(
                "target",
                Status::Ok,
                "none is named: the above is of this host",
            )
            .fix("name a service by --listen and --gauge-url, and it is looked at as well"),
        );
    }
    for target in &config.targets {
        lines.extend(examine_target(target).await);
    }
    lines
}

fn line(check: impl Into<String>, status: Status, finding: impl Into<String>) -> Line {
    Line {
        check: check.into(),
        status,
        finding: finding.into(),
        fix: None,
    }
}

impl Line {
    fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

fn kernel() -> Line {
    let uname = rustix::system::uname();
    line("kernel", Status::Ok, uname.release().to_string_lossy())
}

fn btf() -> Line {
    match fs::metadata("/sys/kernel/btf/vmlinux") {
        Ok(found) => line("btf", Status::Ok, format!("{} bytes", found.len())),
        Err(error) => line(
            "btf",
            Status::Warn,
            format!("/sys/kernel/btf/vmlinux: {error}"),
        )
        .fix("boot a kernel with CONFIG_DEBUG_INFO_BTF=y; until then sock_diag alone counts"),
    }
}

fn lockdown() -> Line {
    // The chosen mode is the bracketed one: "none [integrity] confidentiality".
    match fs::read_to_string("/sys/kernel/security/lockdown") {
        Ok(modes) if modes.contains("[confidentiality]") => line(
            "lockdown",
            Status::Warn,
            "confidentiality: BPF may not read the kernel",
        )
        .fix("boot with lockdown=integrity or without lockdown"),
        Ok(modes) => line("lockdown", Status::Ok, modes.trim()),
        Err(_) => line(
            "lockdown",
            Status::Ok,
            "unknown: securityfs is not mounted; attaching will show",
        ),
    }
}

fn cgroup2(cgroup: &Cgroup) -> Line {
    let folder = match cgroup {
        Cgroup::Path(path) => Some(path.clone()),
        Cgroup::Auto => probe::cgroup2_root(),
    };
    match folder {
        Some(folder) if folder.join("cgroup.procs").exists() => {
            line("cgroup2", Status::Ok, folder.display().to_string())
        }
        Some(folder) => line(
            "cgroup2",
            Status::Warn,
            format!("{} is no cgroup2 folder", folder.display()),
        )
        .fix("name one with --kernel.cgroup"),
        None => line(
            "cgroup2",
            Status::Warn,
            "not mounted: WebSockets cannot be told apart",
        )
        .fix("mount -t cgroup2 none /sys/fs/cgroup/unified"),
    }
}

fn capability(name: &'static str, without: Status) -> Line {
    if probe::has_capability(name) {
        line(name, Status::Ok, "effective")
    } else {
        line(name, without, "missing").fix(format!(
            "run as root, or with AmbientCapabilities={name} in the unit"
        ))
    }
}

/// Attaches the programs to no target, and detaches them.
fn programs(config: &Config) -> Line {
    let options = Options::from(&config.kernel);
    match Probe::attach(&options, &[]) {
        Ok(probe) => match probe.egress_refused() {
            None => line("programs", Status::Ok, "both attach"),
            Some(error) => line(
                "programs",
                Status::Warn,
                format!("WebSockets cannot be told apart: {}", chain(error)),
            )
            .fix(error.hint()),
        },
        Err(error) => {
            let status = match config.kernel.backend {
                config::Backend::Ebpf => Status::Fail,
                _ => Status::Warn,
            };
            line("programs", status, refusal(&error)).fix(error.hint())
        }
    }
}

fn refusal(error: &LoadError) -> String {
    let text = chain(error);
    if text.contains("os error 1)") || text.contains("os error 13)") {
        format!("refused, which does not mean unsupported: {text}")
    } else {
        text
    }
}

async fn examine_target(target: &config::Target) -> Vec<Line> {
    let name = |what: &str| format!("{}: {what}", target.name);
    let netns = match NetworkNamespace::open(&target.netns) {
        Ok(netns) => netns,
        Err(error) => {
            return vec![
                line(name("netns"), Status::Fail, chain(&error))
                    .fix("name a running process or an existing file, and run with CAP_SYS_ADMIN"),
            ];
        }
    };
    let mut lines = vec![line(
        name("netns"),
        Status::Ok,
        format!("net:[{}]", netns.inode()),
    )];
    lines.push(match Endpoints::open(target) {
        Ok(endpoints) => listening(&name("listen"), target, &endpoints),
        Err(error) => line(name("sock_diag"), Status::Fail, chain(&error)).fix(LOAD),
    });
    lines.push(gauge(&name("gauge"), target).await);
    lines
}

fn listening(name: &str, target: &config::Target, endpoints: &[Endpoint]) -> Line {
    if target.counts == Counts::Outgoing {
        return outgoing(name, target, endpoints);
    }
    match Listeners::of(endpoints) {
        Ok(listeners) if listeners.cookies.is_empty() => line(
            name,
            Status::Fail,
            format!("nothing listens on {}", target.listen),
        )
        .fix(match target.listen.tcp().next() {
            Some(TcpAddress { port, .. }) => {
                format!("check the port and the network namespace: `ss -ltn sport = :{port}`")
            }
            None => "check the name and the network namespace: `ss -lxn`".to_owned(),
        }),
        Ok(listeners) => line(
            name,
            Status::Ok,
            format!(
                "{} listening on {}, accept queue {} of {}",
                listeners.cookies.len(),
                target.listen,
                listeners.queue_length,
                listeners.queue_limit
            ),
        ),
        Err(error) => line(name, Status::Fail, chain(&error)).fix(LOAD),
    }
}

/// What is connected to the addresses that connections are to go to.
fn outgoing(name: &str, target: &config::Target, endpoints: &[Endpoint]) -> Line {
    let open: Result<Vec<_>, _> = endpoints.iter().map(Endpoint::open_sockets).collect();
    match open {
        Ok(open) => line(
            name,
            Status::Ok,
            format!(
                "{} connections to {}",
                open.iter().map(Vec::len).sum::<usize>(),
                target.listen
            ),
        ),
        Err(error) => line(name, Status::Fail, chain(&error)).fix(LOAD),
    }
}

async fn gauge(name: &str, target: &config::Target) -> Line {
    let mut claimant = match asking::claimant(target, None) {
        Ok(claimant) => claimant,
        Err(error) => return line(name, Status::Fail, chain(&error)),
    };
    let counts = match target.counts {
        Counts::Websocket => "WebSockets",
        Counts::Established => "established connections",
        Counts::Accepted => "accepted connections",
        Counts::Outgoing => "outgoing connections",
    };
    match claimant.read().await.outcome {
        Outcome::Claimed(claim) => line(
            name,
            Status::Ok,
            format!(
                "{} {counts}, from {} series of {}",
                claim.value, claim.series, target.claim
            ),
        ),
        Outcome::Down(failure) => {
            let fix = match target.claim_command {
                None => "check --gauge-url with curl from this host (and its network namespace)",
                Some(_) => "run the command of --claim-command as --claim-user, with env -i",
            };
            line(name, Status::Fail, failure.to_string()).fix(fix)
        }
        Outcome::Missing(failure) => line(name, Status::Fail, failure.to_string())
            .fix("check what is claimed against the page, or the command's output"),
    }
}
