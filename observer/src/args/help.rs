//! What the help of each command says behind its flags: examples, and what exit codes mean. Text only.

/// Of the program, and of `run`.
pub(super) const EXAMPLES: &str = "\
Examples:
  Watch one service, and publish the verdict on http://127.0.0.1:10090/metrics:
    observer run --listen :3000 --gauge-url http://127.0.0.1:9090/metrics

  One verdict about an HAProxy front end, for cron, CI or a monitoring system:
    observer check --listen :443 --gauge-url http://127.0.0.1:8405/metrics \\
        --gauge 'haproxy_frontend_current_sessions{proxy=\"web\"}' --counts established

  Watch what a file says:
    observer config default > observer.toml
    observer run --config observer.toml";

/// Of `check`.
pub(super) const CHECK_HELP: &str = "\
Exit codes, as monitoring plugins have them:
  0  agree      the gauge says what the kernel sees
  1  unsettled  it does not, but not for long enough to be sure
  2  over or under
  3  blind, or wrong usage";

/// Of `sockets`.
pub(super) const SOCKETS_HELP: &str = "\
The list comes from the observer that runs at --web.listen-address. Where none does, sock_diag
lists the sockets by itself; it knows no class and no age.

Examples:
  The ten sockets that have been silent for longest:
    observer sockets --listen :3000 --gauge-url http://127.0.0.1:9090/metrics \\
        --sort silence --limit 10";

/// Of `top`.
pub(super) const TOP_HELP: &str = "\
With targets it measures by itself, as run does, and listens nowhere. Without any it asks the
observer that runs, which needs no privileges.

Examples:
  What the observer at --web.listen-address sees:
    observer top

  What another one sees:
    observer top --url http://10.0.0.7:10090

  Without an observer:
    observer top --listen :3000 --gauge-url http://127.0.0.1:9090/metrics";

/// Of `discover`.
pub(super) const DISCOVER_HELP: &str = "\
Every listener of this network namespace is asked for /metrics, and who answers by HTTP for what the
recipes name; at most 128 addresses, a second for each. --page asks nobody else. What is printed is a
configuration file; what was found besides is in its comments. It looks once: observer check proves.

Examples:
  Everything on this host:
    observer discover > observer.toml
    observer check --config observer.toml

  A service and its exporter:
    observer discover :80 --page http://127.0.0.1:9113/metrics";

/// Of `recipes`.
pub(super) const RECIPES_HELP: &str = "\
One recipe is a part of a configuration file, its comments included.

Examples:
  What there is:
    observer recipes

  A configuration for nginx, to be adapted:
    observer recipes nginx > observer.toml
    observer config check --config observer.toml";
