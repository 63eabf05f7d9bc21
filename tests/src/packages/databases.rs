//! Databases, and what stands before them.

use super::package::{NONE, Package, Wrong};

/// PostgreSQL's startup packet, for the user and the database `postgres`.
const STARTUP: &[u8] =
    b"\x00\x00\x00\x29\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00";

const POSTGRES: &str = "/usr/lib/postgresql/15/bin/postgres";

pub(super) const PACKAGES: &[Package] = &[
    Package {
        name: "mariadb",
        recipe: "mariadb",
        commands: &[
            "mariadbd",
            "mariadb-install-db",
            "prometheus-mysqld-exporter",
        ],
        user: Some("mysql"),
        prepare: &[&[
            "mariadb-install-db",
            "--no-defaults",
            "--datadir=$folder/data",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]],
        run: &[
            &[
                "mariadbd",
                "--no-defaults",
                "--datadir=$folder/data",
                "--port=$public",
                "--bind-address=127.0.0.1",
                "--socket=$folder/sock",
                "--connect-timeout=300",
            ],
            &[
                "DATA_SOURCE_NAME=root@(127.0.0.1:$public)/",
                "prometheus-mysqld-exporter",
                "--web.listen-address=127.0.0.1:$page",
            ],
        ],
        wrong: Wrong::Unix("sock"),
        ..NONE
    },
    Package {
        name: "memcached",
        recipe: "memcached",
        commands: &["memcached", "memcstat"],
        run: &[&[
            "memcached",
            "-u",
            "nobody",
            "-l",
            "127.0.0.1:$public",
            "-l",
            "127.0.0.1:$second",
        ]],
        // Each listening socket beyond the first is in the number.
        settings: &[
            ("gauge-url", ""),
            ("claim", ""),
            (
                "claim-command",
                "['/bin/sh', '-c', 'echo $(( $(/usr/bin/memcstat --servers=127.0.0.1:$public | \
                 /bin/sed -n \"s/.*curr_connections: //p\") - 1 ))']",
            ),
            ("claim-user", "'nobody'"),
            ("claim-pattern", r"'^(\d+)$'"),
        ],
        ..NONE
    },
    Package {
        name: "pgbouncer",
        recipe: "pgbouncer",
        commands: &["pgbouncer", "/usr/lib/postgresql/15/bin/psql"],
        user: Some("postgres"),
        files: &[(
            "pgbouncer.ini",
            "[databases]\npostgres = host=127.0.0.1 port=$inner\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = $public\nunix_socket_dir = $folder\n\
             auth_type = any\nadmin_users = postgres\ntcp_defer_accept = 0\n\
             client_login_timeout = 300\n",
        )],
        run: &[&["pgbouncer", "pgbouncer.ini"]],
        settings: &[
            ("gauge-url", ""),
            ("gauge", ""),
            (
                "claim-command",
                "['/usr/lib/postgresql/15/bin/psql', '-h127.0.0.1', '-p$public', '-Upostgres', \
                 '-At', '-cshow lists', 'pgbouncer']",
            ),
            ("claim-user", "'nobody'"),
            ("claim-pattern", r"'^used_clients\|(\d+)$'"),
        ],
        wrong: Wrong::Unix(".s.PGSQL.$public"),
        ..NONE
    },
    Package {
        name: "postgresql",
        recipe: "postgresql",
        commands: &[POSTGRES, "prometheus-postgres-exporter"],
        user: Some("postgres"),
        prepare: &[&[
            "/usr/lib/postgresql/15/bin/initdb",
            "--pgdata=$folder/data",
            "--auth=trust",
            "--username=postgres",
        ]],
        run: &[
            &[
                POSTGRES,
                "-D",
                "$folder/data",
                "-p",
                "$public",
                "-h",
                "127.0.0.1",
                "-k",
                "$folder",
                "-cauthentication_timeout=5min",
            ],
            &[
                "DATA_SOURCE_NAME=postgresql://postgres@127.0.0.1:$public/postgres?sslmode=disable",
                "prometheus-postgres-exporter",
                "--web.listen-address=127.0.0.1:$page",
            ],
        ],
        hello: STARTUP,
        wrong: Wrong::Silent,
        ..NONE
    },
    Package {
        name: "redis",
        recipe: "redis",
        commands: &["redis-server", "prometheus-redis-exporter"],
        files: &[(
            "redis.conf",
            "port $public\nbind 127.0.0.1\nunixsocket $folder/sock\nsave \"\"\ndir $folder\n",
        )],
        run: &[
            &["redis-server", "redis.conf"],
            &[
                "prometheus-redis-exporter",
                "--redis.addr=redis://127.0.0.1:$public",
                "--web.listen-address=127.0.0.1:$page",
            ],
        ],
        wrong: Wrong::Unix("sock"),
        ..NONE
    },
];
