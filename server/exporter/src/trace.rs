//! The trace that a request is part of, as `traceparent` names it (W3C Trace Context).
//!
//! Knows how it is written. Deliberately starts no trace, and knows nobody who keeps them.

use std::str;

use http::HeaderMap;

/// The identity of a trace: 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId([u8; 32]);

impl TraceId {
    /// The trace of a request, if it is one that is kept: of others there is nothing to look up.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let parent = headers.get("traceparent")?.to_str().ok()?;
        let mut parts = parent.split('-');
        let (_version, trace, _span) = (parts.next()?, parts.next()?, parts.next()?);
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let is_sampled = u8::from_str_radix(parts.next()?, 16).ok()? & 1 == 1;
        let digits: [u8; 32] = trace.as_bytes().try_into().ok()?;
        let is_id = digits.iter().copied().all(is_digit) && digits != [b'0'; 32];
        (is_sampled && is_id).then_some(Self(digits))
    }

    /// Its digits.
    pub(crate) fn as_str(&self) -> &str {
        // They were text when they came.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_is_kept_has_an_id() {
        let check = |parent: &str, expected: Option<&str>| {
            let value = parent.parse().unwrap();
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static("traceparent"), value)]);
            let trace = TraceId::of(&headers);
            assert_eq!(trace.as_ref().map(TraceId::as_str), expected, "{parent}");
        };
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        check(&format!("00-{id}-00f067aa0ba902b7-01"), Some(id));
        check(&format!("00-{id}-00f067aa0ba902b7-00"), None);
        check(&format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None);
        check(&format!("00-{}-00f067aa0ba902b7-01", "\"".repeat(32)), None);
        check("00-1-2-01", None);
        check("", None);
        assert_eq!(TraceId::of(&HeaderMap::new()), None);
    }
}
