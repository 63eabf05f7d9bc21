//! What browsers are told: which pages may send, and that others may not.

use http::{Method, header};
use tests::relay::Relay;

const ALLOWED: &str = "https://app.example";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_an_allowed_origin_may_send_and_no_other_may() {
    let relay = Relay::start(&["--allowed-origins", ALLOWED]).await.unwrap();
    let url = |path: &str| format!("http://{}{path}", relay.public);
    let paths = ["/v1/messages", "/v1/attachments", "/v1/accounts"];
    for path in paths {
        for (origin, expected) in [(ALLOWED, Some(ALLOWED)), ("https://evil.example", None)] {
            let preflight = [
                ("origin", origin),
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "authorization,content-type",
                ),
            ];
            let answer = tests::http::request(Method::OPTIONS, &url(path), &preflight).await;
            let answer = answer.unwrap();
            let told = answer.headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
            let told = told.map(|origin| origin.to_str().unwrap());
            assert_eq!(told, expected, "{path} for {origin}");
            if expected.is_none() {
                continue;
            }
            assert!(answer.status.is_success(), "{}", answer.status);
            let list = |name| {
                let value: &header::HeaderValue = &answer.headers[name];
                value.to_str().unwrap().to_lowercase()
            };
            assert!(list(header::ACCESS_CONTROL_ALLOW_METHODS).contains("post"));
            let headers = list(header::ACCESS_CONTROL_ALLOW_HEADERS);
            assert!(headers.contains("authorization") && headers.contains("content-type"));
        }
        // What it is answered, it may read: refusals too.
        let refused = tests::http::request(Method::POST, &url(path), &[("origin", ALLOWED)]).await;
        let headers = refused.unwrap().headers;
        assert_eq!(
            headers[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            ALLOWED,
            "{path}"
        );
    }
    let asked = [
        ("origin", ALLOWED),
        ("access-control-request-method", "GET"),
    ];
    let nowhere = tests::http::request(Method::OPTIONS, &url("/metrics"), &asked).await;
    assert_eq!(nowhere.unwrap().status, 404);
}
