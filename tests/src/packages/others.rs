//! Brokers, name servers, and what counts others.

use std::net::Ipv4Addr;

use super::package::{GET, NONE, Package, UPGRADE, Wrong};

/// MQTT's CONNECT, without a name and without a time-out.
const MQTT: &[u8] = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00";

pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "dnsdist",
        recipe: "dnsdist",
        commands: &["dnsdist"],
        files: &[
            (
                "dnsdist.conf",
                "setSecurityPollSuffix(\"\")\nsetLocal(\"127.0.0.1:$public\")\n\
                 addLocal(\"127.0.0.1:$second\")\nsetTCPRecvTimeout(300)\n\
                 newServer(\"127.0.0.1:$inner\")\nwebserver(\"127.0.0.1:$page\")\n\
                 setWebserverConfig({password=\"secret\", acl=\"127.0.0.0/8\"})\n",
            ),
            ("password", "secret"),
        ],
        run: &[&[
            "dnsdist",
            "--supervised",
            "--disable-syslog",
            "-C",
            "dnsdist.conf",
        ]],
        settings: &[
            ("username", "'anyone'"),
            ("password-file", "'$folder/password'"),
        ],
        ..NONE
    },
    Package {
        name: "nats",
        recipe: "nats",
        commands: &["nats-server"],
        files: &[(
            "nats.conf",
            "listen: 127.0.0.1:$public\nhttp: 127.0.0.1:$page\n\
             websocket { listen: \"127.0.0.1:$second\", no_tls: true }\n",
        )],
        run: &[&["nats-server", "-c", "nats.conf"]],
        settings: &[("gauge-url", "['http://127.0.0.1:$page/varz']")],
        wrong: Wrong::Port(UPGRADE),
        ..NONE
    },
    Package {
        name: "pdns-recursor",
        recipe: "pdns-recursor",
        commands: &["pdns_recursor"],
        run: &[&[
            "pdns_recursor",
            "--config-dir=$folder",
            "--socket-dir=$folder",
            "--local-address=127.0.0.1,127.0.0.2",
            "--local-port=$public",
            "--daemon=no",
            "--write-pid=no",
            "--security-poll-suffix=",
            "--client-tcp-timeout=300",
            "--max-tcp-per-client=0",
            "--webserver=yes",
            "--webserver-address=127.0.0.1",
            "--webserver-port=$page",
            "--webserver-allow-from=127.0.0.0/8",
        ]],
        wrong: Wrong::Address(Ipv4Addr::new(127, 0, 0, 2)),
        ..NONE
    },
    Package {
        name: "prometheus",
        recipe: "prometheus",
        commands: &["prometheus"],
        files: &[("prometheus.yml", "global: {}\n")],
        run: &[&[
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=$folder/data",
            "--web.listen-address=127.0.0.1:$public",
            "--log.level=warn",
        ]],
        settings: &[("gauge-url", "['http://127.0.0.1:$public/metrics']")],
        wrong: Wrong::Claim(
            "'net_conntrack_listener_conn_accepted_total{listener_name=\"http\"} \
             - net_conntrack_listener_conn_closed_total{listener_name=\"http\"} - 2'",
            -2,
        ),
        ..NONE
    },
    Package {
        name: "prosody",
        recipe: "prosody",
        commands: &["prosody"],
        user: Some("prosody"),
        files: &[("prosody.cfg.lua", PROSODY)],
        run: &[&["prosody", "-F", "--config", "$folder/prosody.cfg.lua"]],
        ..NONE
    },
    Package {
        name: "rabbitmq",
        recipe: "rabbitmq",
        commands: &["/usr/lib/rabbitmq/bin/rabbitmq-server", "epmd"],
        user: Some("rabbitmq"),
        files: &[
            (
                "rabbitmq.conf",
                "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:$public\n\
                 prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = $page\n",
            ),
            ("plugins", "[rabbitmq_mqtt,rabbitmq_prometheus].\n"),
        ],
        // In the foreground, where it ends with the test.
        beside: &["epmd", "-port", "$other"],
        run: &[&[
            "ERL_EPMD_PORT=$other",
            "RABBITMQ_NODENAME=plumbline@localhost",
            "RABBITMQ_CONFIG_FILE=$folder/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE=/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE=$folder/plugins",
            "RABBITMQ_MNESIA_BASE=$folder/mnesia",
            "RABBITMQ_LOG_BASE=$folder",
            "RABBITMQ_LOGS=-",
            "RABBITMQ_DIST_PORT=$inner",
            "/usr/lib/rabbitmq/bin/rabbitmq-server",
        ]],
        hello: MQTT,
        wrong: Wrong::Silent,
        ..NONE
    },
    Package {
        name: "victoriametrics",
        recipe: "victoriametrics",
        commands: &["victoria-metrics"],
        run: &[&[
            "victoria-metrics",
            "-httpListenAddr=127.0.0.1:$public",
            "-graphiteListenAddr=127.0.0.1:$second",
            "-storageDataPath=$folder/data",
        ]],
        settings: &[("gauge-url", "['http://127.0.0.1:$public/metrics']")],
        hello: GET,
        ..NONE
    },
];

/// A page that is made anew at each scrape.
const PROSODY: &str = "\
pidfile = \"$folder/prosody.pid\"
data_path = \"$folder\"
log = { info = \"*console\" }
modules_enabled = { \"http_openmetrics\" }
modules_disabled = { \"s2s\" }
statistics = \"internal\"
statistics_interval = \"manual\"
openmetrics_allow_ips = { \"127.0.0.1\" }
c2s_ports = { $public, $second }
c2s_interfaces = { \"127.0.0.1\" }
http_ports = { $page }
http_interfaces = { \"127.0.0.1\" }
https_ports = { }
authentication = \"internal_hashed\"
VirtualHost \"localhost\"
";
