//! Dependencies that fail: the breaker's gauge follows, and requests are answered at once.

use http::{Method, StatusCode, header};
use tests::database::Database;
use tests::postgres::{self, Postgres};
use tests::relay::{BOUND, Relay};
use tests::wait;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::watch;

use super::{scenarios, start};

scenarios!(
    the_breaker_of_s3_follows_its_failures,
    a_client_that_tires_of_a_mute_s3_is_seen,
    the_breaker_of_the_database_follows_its_failures,
);

async fn the_breaker_of_s3_follows_its_failures(database: Database) {
    let environment = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "us-east-1"),
    ];
    let flags = [
        "--attachments-bucket=bucket",
        "--breaker-failures=1",
        "--breaker-cool-down=2s",
    ];
    let url = ["--database-url", &database.url];
    let flags: Vec<&str> = url.iter().chain(&flags).copied().collect();
    let relay = Relay::start_with(database.directory.path(), &flags, &environment)
        .await
        .unwrap();
    let account = relay.account().await.unwrap();
    let s3 = [("breaker", "s3")];
    relay
        .expect("circuit_breaker_state", &s3, 0.0)
        .await
        .unwrap();
    let upload = || relay.request(Method::POST, "/v1/attachments", Some(&account), "x");
    assert_eq!(
        upload().await.unwrap().status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let refused = upload().await.unwrap();
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key(header::RETRY_AFTER));
    let failed = [("outcome", "failed")];
    relay
        .expect("s3_upload_duration_seconds_count", &failed, 1.0)
        .await
        .unwrap();
    relay
        .expect("circuit_breaker_state", &s3, 2.0)
        .await
        .unwrap();
    relay
        .expect("circuit_breaker_state", &s3, 1.0)
        .await
        .unwrap();
    // Messages need no S3.
    assert_eq!(
        relay.inspect("/readyz").await.unwrap().status,
        StatusCode::OK
    );
}

async fn a_client_that_tires_of_a_mute_s3_is_seen(database: Database) {
    // It takes connections, by the kernel's hand, and nothing else.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", mute.local_addr().unwrap());
    let environment = [
        ("AWS_ENDPOINT_URL", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_REGION", "us-east-1"),
    ];
    let flags = [
        "--attachments-bucket=bucket",
        "--database-url",
        &database.url,
    ];
    let relay = Relay::start_with(database.directory.path(), &flags, &environment)
        .await
        .unwrap();
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    // The client's patience is shorter than the server's: it leaves, and that is seen.
    let upload = relay.request(Method::POST, "/v1/attachments", Some(&from), "x");
    assert!(upload.await.is_err());
    let cancelled = [("outcome", "cancelled")];
    relay
        .expect("s3_upload_duration_seconds_count", &cancelled, 1.0)
        .await
        .unwrap();
    // Meanwhile messages flow.
    relay.send(&from, &to, "x").await.unwrap();
}

async fn the_breaker_of_the_database_follows_its_failures(database: Database) {
    let flags = [
        "--database-connections=1",
        "--database-timeout=300ms",
        "--breaker-failures=1",
        "--breaker-cool-down=2s",
    ];
    let relay = start(&database, &flags).await;
    let breaker = [("breaker", "database")];
    relay
        .expect("circuit_breaker_state", &breaker, 0.0)
        .await
        .unwrap();
    let lock = database.lock().unwrap();
    let create = || relay.request(Method::POST, "/v1/accounts", None, "");
    let (_, _, ()) = tokio::join!(create(), create(), async {
        relay
            .expect("circuit_breaker_state", &breaker, 2.0)
            .await
            .unwrap();
        let refused = create().await.unwrap();
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.headers.contains_key(header::RETRY_AFTER));
        assert_eq!(relay.inspect("/readyz").await.unwrap().status, 503);
        assert_eq!(relay.inspect("/livez").await.unwrap().status, 200);
        let verbose = relay.inspect("/readyz?verbose").await.unwrap().body;
        assert!(
            verbose.starts_with(b"serving ok\ndatabase failed\ns3 ok\n"),
            "{verbose:?}"
        );
        drop(lock);
    });
    wait::until("an account", BOUND, async || relay.account().await)
        .await
        .unwrap();
    relay
        .expect("circuit_breaker_state", &breaker, 0.0)
        .await
        .unwrap();
}

/// As a host does that is gone: its connections stay, and nothing comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_falls_silent_is_given_up() {
    if let Some(obstacle) = postgres::obstacle() {
        return tests::skip(&obstacle);
    }
    let postgres = Postgres::start().await.unwrap();
    let direct = Database::new(postgres.create_database("silent").unwrap()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = format!("postgres://relay@127.0.0.1:{port}/silent?sslmode=disable");
    let (silence, is_silent) = watch::channel(false);
    let socket = postgres.socket();
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut client, _)) = listener.accept().await {
            let (socket, mut is_silent) = (socket.clone(), is_silent.clone());
            kept.push(tokio::spawn(async move {
                let mut server = UnixStream::connect(socket).await.unwrap();
                tokio::select! {
                    biased;
                    _ = is_silent.wait_for(|&is_silent| is_silent) => {}
                    _ = copy_bidirectional(&mut client, &mut server) => return,
                }
                // It is held open, and nobody reads it.
                std::future::pending::<()>().await;
            }));
        }
    });
    let database = Database::new(url).unwrap();
    let flags = ["--breaker-failures=1", "--breaker-cool-down=300ms"];
    let relay = start(&database, &flags).await;
    let (from, to) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    relay.send(&from, &to, "before").await.unwrap();
    // A statement is under way, so that the silence falls into it.
    let lock = direct.lock().unwrap();
    let acquired = [("outcome", "acquired")];
    let acquisitions = "db_pool_wait_duration_seconds_count";
    let page = relay.scrape().await.unwrap();
    let before = page.value(acquisitions, &acquired).unwrap();
    let message = serde_json::json!({"to": to.id, "body": "x"});
    let (answer, ()) = tokio::join!(relay.post(&from, &message), async {
        let expected = relay.expect(acquisitions, &acquired, before + 1.0);
        expected.await.unwrap();
        silence.send_replace(true);
    });
    drop(lock);
    let answer = answer.unwrap();
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{answer:?}");
    let failed = [("statement", "store_messages"), ("outcome", "failed")];
    relay
        .expect("db_query_duration_seconds_count", &failed, 1.0)
        .await
        .unwrap();
    silence.send_replace(false);
    let sent = wait::until("a message to be accepted", BOUND, async || {
        relay.send(&from, &to, "after").await
    });
    sent.await.unwrap();
}

/// A crash needs a server of its own.
pub(super) async fn the_breaker_follows_a_crash_of_postgresql() {
    let mut postgres = Postgres::start().await.unwrap();
    let database = Database::new(postgres.create_database("crash").unwrap()).unwrap();
    let flags = [
        "--database-timeout=500ms",
        "--breaker-failures=1",
        "--breaker-cool-down=500ms",
    ];
    let relay = start(&database, &flags).await;
    relay.account().await.unwrap();
    postgres.crash().unwrap();
    assert!(relay.account().await.is_err());
    relay
        .expect(
            "circuit_breaker_transitions_total",
            &[("breaker", "database"), ("to", "open")],
            1.0,
        )
        .await
        .unwrap();
    postgres.start_again().await.unwrap();
    wait::until("an account", BOUND, async || relay.account().await)
        .await
        .unwrap();
    relay
        .expect("circuit_breaker_state", &[("breaker", "database")], 0.0)
        .await
        .unwrap();
}
