//! The head of an answer: whether it is one, in which format, and how its body is packed.
//!
//! Pure: it has the head as it came, and reads no body.

use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, LOCATION};

use super::exposition::Format;
use super::fetch::FetchError;
use super::selection::Expected;

/// Most bytes of a header that an error shows, before escaping.
const EXCERPT: usize = 80;

/// Whether the answer is one: a redirect is not followed. Prometheus says why it refuses a query.
pub(super) fn check_status(
    status: StatusCode,
    headers: &HeaderMap,
    expected: Expected,
) -> Result<(), FetchError> {
    let is_said = || {
        let is_refusal = matches!(status.as_u16(), 400 | 422 | 500 | 503);
        is_refusal && expected == Expected::Answer && is_of_type(headers, "application/json")
    };
    if status == StatusCode::OK || is_said() {
        Ok(())
    } else if status.is_redirection() && headers.contains_key(LOCATION) {
        Err(FetchError::Redirect {
            status,
            location: excerpt(headers, &LOCATION),
        })
    } else {
        Err(FetchError::Status { status })
    }
}

/// The format by the media type; text where it is missing or unknown, as before Prometheus 3.
pub(super) fn format(headers: &HeaderMap) -> Result<Format, FetchError> {
    let is = |name: &str| is_of_type(headers, name);
    if is("application/openmetrics-text") {
        Ok(Format::OpenMetrics)
    } else if is("text/html") || is("application/xhtml+xml") {
        Err(FetchError::Html)
    } else {
        Ok(Format::Text)
    }
}

fn is_of_type(headers: &HeaderMap, name: &str) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], |value| value.as_bytes());
    let media_type = value.split(|&byte| byte == b';').next().unwrap_or_default();
    media_type
        .trim_ascii()
        .eq_ignore_ascii_case(name.as_bytes())
}

/// Whether the body is packed; only gzip was asked for.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, FetchError> {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let coding = codings
        .next()
        .map_or(&b"identity"[..], |value| value.as_bytes())
        .trim_ascii();
    let is = |name: &str| coding.eq_ignore_ascii_case(name.as_bytes());
    let is_only = codings.next().is_none();
    if is_only && (is("gzip") || is("x-gzip")) {
        Ok(true)
    } else if is_only && (is("identity") || coding.is_empty()) {
        Ok(false)
    } else {
        Err(FetchError::Encoding {
            encoding: excerpt(headers, &CONTENT_ENCODING),
        })
    }
}

/// What a header says, bounded and escaped; several of one name are joined.
fn excerpt(headers: &HeaderMap, name: &HeaderName) -> String {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| value.as_bytes())
        .collect();
    let value = values.join(&b", "[..]);
    value[..value.len().min(EXCERPT)].escape_ascii().to_string()
}
