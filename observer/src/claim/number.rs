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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expected: Option<f64>) {
        let number = parse_float(word.as_bytes());
        let is_same = match (number, expected) {
            (Some(number), Some(expected)) => {
                number.to_bits() == expected.to_bits() || number.is_nan() && expected.is_nan()
            }
            (number, expected) => number.is_none() && expected.is_none(),
        };
        assert!(is_same, "{word:?}: {number:?}, not {expected:?}");
    }

    #[test]
    fn decimal_numbers_are_read_in_every_form_of_go() {
        check("0", Some(0.0));
        check("-0", Some(-0.0));
        check("+7", Some(7.0));
        check("-7", Some(-7.0));
        check("1.", Some(1.0));
        check(".5", Some(0.5));
        check("1e3", Some(1000.0));
        check("1E+3", Some(1000.0));
        check("25e-2", Some(0.25));
        check("1e308", Some(1e308));
        check("1e-400", Some(0.0));
        check("9007199254740993", Some(9_007_199_254_740_992.0));
    }

    #[test]
    fn infinities_and_nan_are_read_by_every_name_that_go_knows() {
        for word in ["Inf", "+Inf", "inf", "INFINITY", "+infinity"] {
            check(word, Some(f64::INFINITY));
        }
        check("-Inf", Some(f64::NEG_INFINITY));
        check("NaN", Some(f64::NAN));
        check("nan", Some(f64::NAN));
    }

    #[test]
    fn what_prometheus_refuses_is_refused() {
        for word in [
            "", "+", "-", ".", "e", "1e", "e5", "1e+", "--1", "+-1", "1-", "1.2.3", "1_2",
            "0x1p-3", "0x1", "0X1P3", "true", "+NaN", "-nan", "nano", "in", "infinit", "1e999",
            "-1e999", "1,5", "1\r", "\u{661}", "1\0",
        ] {
            check(word, None);
        }
    }
}
