//! What one account does, or one part that is slow, hurts nobody else.

use http::{Method, StatusCode};
use tests::database::Database;
use tests::relay::{Account, Relay};

use super::{scenarios, start};

scenarios!(
    an_object_that_is_missing_is_no_failure_of_s3,
    a_breaker_closes_where_nobody_asks,
);

async fn an_object_that_is_missing_is_no_failure_of_s3(database: Database) {
    let relay = start(&database, &["--breaker-failures=2"]).await;
    let (account, bystander) = (
        relay.account().await.unwrap(),
        relay.account().await.unwrap(),
    );
    let upload = async |account: &Account| {
        let uploaded = relay.request(Method::POST, "/v1/attachments", Some(account), "bytes");
        let answer = uploaded.await.unwrap();
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json().unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = upload(&account).await;
    // As a rule of the bucket does with what is old.
    let object = database.directory.path().join("s3/attachments").join(&id);
    std::fs::remove_file(object).unwrap();
    let path = format!("/v1/attachments/{id}");
    for _ in 0..6 {
        let answer = relay.request(Method::GET, &path, Some(&account), "").await;
        assert_eq!(answer.unwrap().status, StatusCode::NOT_FOUND);
    }
    upload(&bystander).await;
    let page = relay.scrape().await.unwrap();
    let state = page.value("circuit_breaker_state", &[("breaker", "s3")]);
    assert_eq!(state.unwrap(), 0.0);
    let missing = page.value(
        "s3_download_duration_seconds_count",
        &[("outcome", "missing")],
    );
    assert_eq!(missing.unwrap(), 6.0);
}

async fn a_breaker_closes_where_nobody_asks(database: Database) {
    let flags = [
        "--database-connections=1",
        "--database-timeout=300ms",
        "--breaker-failures=1",
        "--breaker-cool-down=300ms",
    ];
    let relay = start(&database, &flags).await;
    let account = relay.account().await.unwrap();
    let state = async |breaker: &str, state: f64| {
        relay
            .expect("circuit_breaker_state", &[("breaker", breaker)], state)
            .await
            .unwrap();
    };

    let bucket = database.directory.path().join("s3/attachments");
    let elsewhere = bucket.with_extension("elsewhere");
    std::fs::rename(&bucket, &elsewhere).unwrap();
    let upload = relay.request(Method::POST, "/v1/attachments", Some(&account), "x");
    let status = upload.await.unwrap().status;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    state("s3", 2.0).await;
    std::fs::rename(&elsewhere, &bucket).unwrap();
    state("s3", 0.0).await;

    let lock = database.lock().unwrap();
    let refused = relay.request(Method::POST, "/v1/accounts", None, "").await;
    assert_eq!(refused.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    state("database", 2.0).await;
    assert_eq!(relay.inspect("/readyz").await.unwrap().status, 503);
    drop(lock);
    state("database", 0.0).await;
    assert_eq!(relay.inspect("/readyz").await.unwrap().status, 200);
}
