//! The server, by its ports: what it claims in its metrics is what was done to it.
//!
//! Each scenario runs on SQLite as a test of its own, and all of them on one PostgreSQL.

#![expect(
    clippy::unwrap_used,
    reason = "scenarios are tests: a panic with the place and the error is what they have to say"
)]

mod breakers;
mod browsers;
mod conformance;
mod data_dir;
mod durability;
mod endings;
mod full_disk;
mod group_commit;
mod half_open;
mod hostile;
mod metrics;
mod of_process;
mod ports;
mod pressure;
mod relaying;
mod retention;
mod start;

use tests::database::Database;
use tests::postgres::{self, Postgres};
use tests::relay::Relay;

/// Starts a server on `database`; `flags` are added to its command line.
async fn start(database: &Database, flags: &[&str]) -> Relay {
    let url = ["--database-url", &database.url];
    let flags: Vec<&str> = url.iter().chain(flags).copied().collect();
    Relay::start_in(database.directory.path(), &flags)
        .await
        .expect("start the server")
}

/// Makes each scenario a test on SQLite, and all of them a function that runs them on PostgreSQL.
macro_rules! scenarios {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(tests::database::Database::new(String::new()).unwrap()).await;
                }
            )+
        }

        pub(super) async fn run_all(postgres: &tests::postgres::Postgres) {
            $(
                let url = postgres.create_database(stringify!($name)).unwrap();
                let database = tests::database::Database::new(url).unwrap();
                let label = concat!(module_path!(), "::", stringify!($name));
                super::report(label);
                $name(database).await;
            )+
        }
    };
}
use scenarios;

#[expect(
    clippy::print_stderr,
    reason = "tells a failure's place in the output of one long test"
)]
fn report(scenario: &str) {
    eprintln!("on PostgreSQL: {scenario}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_holds_on_postgresql() {
    if let Some(obstacle) = postgres::obstacle() {
        return tests::skip(&obstacle);
    }
    let postgres = Postgres::start().await.unwrap();
    metrics::run_all(&postgres).await;
    breakers::run_all(&postgres).await;
    relaying::run_all(&postgres).await;
    group_commit::run_all(&postgres).await;
    endings::run_all(&postgres).await;
    durability::run_all(&postgres).await;
    pressure::run_all(&postgres).await;
    retention::run_all(&postgres).await;
    of_process::run_all(&postgres).await;
    drop(postgres);
    breakers::the_breaker_follows_a_crash_of_postgresql().await;
}
