//! Numbers as Prometheus reads them: Go's `strconv.ParseFloat` as it was before Go 1.13.
//!
//! That is: no underscores, no hexadecimal floats, `NaN` without a sign, infinities with either
//! name, and a finite number that is too large is an error, not an infinity.

/// The number that `word` writes, or `None` where Prometheus would refuse it.
pub(super) fn parse_float(word: &[u8]) -> Option<f64> {
    let (sign, digits) = match word {
        [b'+', rest @ ..] => (1.0, rest),
        [b'-', rest @ ..] => (-1.0, rest),
        _ => (1.0, word),
    };
    if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
        return Some(sign * f64::INFINITY);
    }
    if word.eq_ignore_ascii_case(b"nan") {
        return Some(f64::NAN);
    }
    // What Rust reads beyond this alphabet are only its own names of infinity and NaN.
    let is_decimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !word.iter().all(is_decimal) {
        return None;
    }
    let number: f64 = std::str::from_utf8(word).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// The whole number that decimal digits write, within 64 bits.
pub(super) fn parse_integer(digits: &[u8]) -> Option<i64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}
