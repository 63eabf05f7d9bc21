//! Which web pages may use the relay: a browser connects for any page, so the page's origin is checked;
//! and it lets a page of another host send requests only where it is told that the page may.
//!
//! Clients that are no browsers send no `Origin` and are let through: they hold a token.

use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember that a page may send.
const REMEMBERED: Duration = Duration::from_secs(600);

/// Tells browsers that pages of allowed origins may send requests (CORS); tokens are the pages' own, so
/// no credentials of the browser's are asked for.
pub(super) fn allow(allowed: &[String]) -> CorsLayer {
    let allowed = allowed.to_vec();
    let is_allowed =
        AllowOrigin::predicate(move |_, request| is_allowed(&request.headers, &allowed));
    CorsLayer::new()
        .allow_origin(is_allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers([header::RETRY_AFTER])
        .max_age(REMEMBERED)
}

/// Whether a request comes from no page, from a page of this host or from an allowed one.
pub(super) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else {
        return false;
    };
    if allowed
        .iter()
        .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    {
        return true;
    }
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    is_same_host(origin, host)
}

/// Answers a browser that asks first: what it may do stands in the headers of [`allow`].
pub(super) async fn ask() -> StatusCode {
    StatusCode::NO_CONTENT
}

fn is_same_host(origin: &str, host: Option<&str>) -> bool {
    let (Ok(origin), Some(host)) = (origin.parse::<Uri>(), host) else {
        return false;
    };
    let default_port = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let Some(authority) = origin.authority() else {
        return false;
    };
    let Ok(host) = host.parse::<axum::http::uri::Authority>() else {
        return false;
    };
    !authority.as_str().contains('@')
        && matches!(origin.path(), "" | "/")
        && authority.host().eq_ignore_ascii_case(host.host())
        && authority.port_u16().unwrap_or(default_port) == host.port_u16().unwrap_or(default_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, host: &str, expected: bool) {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let allowed = ["https://app.example".to_owned()];
        assert_eq!(
            is_allowed(&headers, &allowed),
            expected,
            "{origin:?} at {host}"
        );
    }

    #[test]
    fn pages_of_other_hosts_are_refused_unless_listed() {
        check(None, "relay.example", true);
        check(Some("https://relay.example"), "relay.example", true);
        check(Some("https://relay.example:443"), "relay.example", true);
        check(
            Some("http://relay.example:3000"),
            "relay.example:3000",
            true,
        );
        check(
            Some("http://RELAY.example:3000"),
            "relay.example:3000",
            true,
        );
        check(Some("https://app.example"), "relay.example", true);
        check(Some("http://app.example"), "relay.example", false);
        check(Some("https://app.example:444"), "relay.example", false);
        check(Some("https://app.example.evil"), "relay.example", false);
        check(
            Some("http://relay.example:3001"),
            "relay.example:3000",
            false,
        );
        check(Some("https://relay.example@evil"), "relay.example", false);
        check(Some("https://evil"), "relay.example", false);
        check(Some("null"), "relay.example", false);
        check(Some("file://"), "relay.example", false);
        check(Some(""), "relay.example", false);
        check(Some("://"), "relay.example", false);
    }
}
