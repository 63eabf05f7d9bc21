//! Web servers, proxies, and services of one's own.

use super::package::{GET, NONE, Package, UPGRADE, Wrong};

pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "caddy",
        recipe: "caddy",
        commands: &["caddy"],
        files: &[(
            "Caddyfile",
            "{\n admin 127.0.0.1:$page\n auto_https off\n servers {\n metrics\n }\n}\n\
             http://localhost:$public {\n bind 127.0.0.1\n respond \"hello\"\n}\n",
        )],
        run: &[&["caddy", "run", "--config=Caddyfile", "--adapter=caddyfile"]],
        hello: GET,
        wrong: Wrong::Claim("'caddy_http_requests_in_flight + 8'", 6),
        ..NONE
    },
    Package {
        name: "docker-registry",
        recipe: "docker-registry",
        commands: &["docker-registry"],
        files: &[(
            "registry.yml",
            "version: 0.1\nstorage: { filesystem: { rootdirectory: $folder/data } }\n\
             http:\n  addr: 127.0.0.1:$public\n\
             \x20 debug: { addr: 127.0.0.1:$page, prometheus: { enabled: true } }\n",
        )],
        run: &[&["docker-registry", "serve", "registry.yml"]],
        hello: GET,
        wrong: Wrong::Claim("'registry_http_in_flight_requests + 8'", 6),
        ..NONE
    },
    Package {
        name: "envoy",
        recipe: "envoy",
        commands: &["$envoy"],
        files: &[("envoy.yaml", ENVOY)],
        run: &[&[
            "$envoy",
            "-c",
            "envoy.yaml",
            "--concurrency",
            "1",
            "-l",
            "warn",
        ]],
        settings: &[
            ("gauge-url", "['http://127.0.0.1:$page/stats/prometheus']"),
            ("gauge", "'envoy_listener_downstream_cx_active'"),
        ],
        hello: GET,
        wrong: Wrong::Port(GET),
        ..NONE
    },
    Package {
        name: "haproxy",
        recipe: "haproxy",
        commands: &["haproxy"],
        files: &[(
            "haproxy.cfg",
            "defaults\n mode http\n timeout connect 5s\n timeout client 5m\n timeout server 5m\n\
             frontend web\n bind 127.0.0.1:$public\n bind 127.0.0.1:$inner\n\
             \x20bind 127.0.0.1:$second\n http-request return status 200\n\
             frontend exporter\n bind 127.0.0.1:$page\n\
             \x20http-request use-service prometheus-exporter if { path /metrics }\n",
        )],
        run: &[&["haproxy", "-f", "haproxy.cfg", "-db"]],
        settings: &[("listen", "['127.0.0.1:$public', '127.0.0.1:$inner']")],
        ..NONE
    },
    Package {
        name: "nginx",
        recipe: "nginx",
        commands: &["nginx", "prometheus-nginx-exporter"],
        files: &[("nginx.conf", NGINX)],
        run: &[
            &["nginx", "-p", "$folder", "-c", "nginx.conf"],
            &[
                "prometheus-nginx-exporter",
                "-nginx.scrape-uri=http://127.0.0.1:$other/stub_status",
                "-web.listen-address=127.0.0.1:$page",
            ],
        ],
        settings: &[("listen", "['127.0.0.1:$public', '127.0.0.1:$inner']")],
        hello: GET,
        wrong: Wrong::Port(GET),
        ..NONE
    },
    Package {
        name: "nginx-status",
        recipe: "nginx-status",
        commands: &["nginx"],
        files: &[("nginx.conf", NGINX)],
        run: &[&["nginx", "-p", "$folder", "-c", "nginx.conf"]],
        settings: &[
            (
                "listen",
                "['127.0.0.1:$public', '127.0.0.1:$inner', '127.0.0.1:$other']",
            ),
            ("gauge-url", "['http://127.0.0.1:$other/stub_status']"),
        ],
        hello: GET,
        wrong: Wrong::Port(GET),
        ..NONE
    },
    Package {
        name: "node",
        recipe: "websocket",
        commands: &["node"],
        run: &[&[
            "NODE_PATH=$foreign/node/node_modules",
            "node",
            "$scripts/service.js",
            "$public",
            "$page",
            "honest",
        ]],
        hello: UPGRADE,
        wrong: Wrong::Claim("'active_connections + 2'", 2),
        ..NONE
    },
    Package {
        name: "python",
        recipe: "websocket",
        commands: &["$foreign/python/bin/python3"],
        run: &[&[
            "$foreign/python/bin/python3",
            "$scripts/service.py",
            "$public",
            "$page",
            "honest",
        ]],
        hello: UPGRADE,
        wrong: Wrong::Claim("'active_connections + 2'", 2),
        ..NONE
    },
    Package {
        name: "varnish",
        recipe: "varnish",
        commands: &["varnishd", "varnishstat"],
        user: Some("varnish"),
        run: &[&[
            "varnishd",
            "-F",
            "-n",
            "$folder/varnish",
            "-a",
            "127.0.0.1:$public",
            "-a",
            "127.0.0.1:$second",
            "-T",
            "none",
            "-b",
            "127.0.0.1:$inner",
            "-s",
            "malloc,8m",
            "-p",
            "timeout_idle=300",
            "-j",
            "none",
        ]],
        settings: &[
            ("gauge-url", ""),
            ("gauge", ""),
            (
                "claim-command",
                "['/usr/bin/varnishstat', '-n', '$folder/varnish', '-j', '-f', 'MEMPOOL.sess*.live']",
            ),
            ("claim-user", "'varnish'"),
            (
                "claim-path",
                r#"'$.counters["MEMPOOL.sess0.live", "MEMPOOL.sess1.live"].value'"#,
            ),
        ],
        ..NONE
    },
];

/// One process for all of its ports; its page is on one that is not listed.
const NGINX: &str = "\
daemon off;
pid nginx.pid;
error_log stderr;
worker_processes 2;
events { worker_connections 1024; }
http {
    access_log off;
    keepalive_timeout 300s;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    server {
        listen 127.0.0.1:$public;
        listen 127.0.0.1:$inner;
        listen 127.0.0.1:$second;
        location / { return 200 'hello'; }
    }
    server {
        listen 127.0.0.1:$other;
        location = /stub_status { stub_status; }
    }
}
";

const ENVOY: &str = "\
admin: { address: { socket_address: { address: 127.0.0.1, port_value: $page } } }
static_resources:
  listeners:
  - address: { socket_address: { address: 127.0.0.1, port_value: $public } }
    filter_chains: &chains
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          route_config:
            virtual_hosts:
            - name: all
              domains: [\"*\"]
              routes: [ { match: { prefix: / }, direct_response: { status: 200 } } ]
          http_filters:
          - name: envoy.filters.http.router
            typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router }
  - address: { socket_address: { address: 127.0.0.1, port_value: $second } }
    filter_chains: *chains
";
