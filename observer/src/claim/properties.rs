//! What holds of every exposition and every selector, whatever they say.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::*;

/// Pieces out of which nearly well-formed expositions are made.
const PIECES: &[&str] = &[
    "g",
    "h_total",
    " ",
    "\t",
    "\n",
    "\r",
    "{",
    "}",
    "\"",
    "\\",
    "=",
    ",",
    "#",
    "# ",
    "# TYPE ",
    "# HELP ",
    "# UNIT ",
    "# EOF",
    "gauge",
    "counter",
    "1",
    "-7",
    "NaN",
    "+Inf",
    "1e999",
    "\0",
    "ü",
    "x=\"y\"",
    "{x=\"y\"}",
    " # {",
    "g 1\n",
    "# TYPE g gauge\n",
    "# EOF\n",
    "\"g\"",
    "'",
    "`",
    "=~",
];

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        20 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 1..4),
    ];
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Pieces out of which nearly well-formed expressions are made.
fn terms() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "g",
        "h{x=\"y\"}",
        "{__name__=~\"g.*\"}",
        "+",
        "-",
        " ",
        "(",
        ")",
        "1",
        "2.5",
        "1e9",
        "*",
        "{",
        "\"",
        "ü",
    ]);
    vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// The series of the gauge `name` as a client library writes them.
fn render(name: &str, series: &BTreeMap<BTreeMap<String, String>, i32>) -> String {
    let mut exposition = String::new();
    for (labels, value) in series {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("\"{}\"=\"{}\"", escape(label), escape(value)))
            .collect();
        let labels = labels.join(",");
        exposition += &format!("{{\"{}\",{labels}}} {value}\n", escape(name));
    }
    exposition
}

fn text() -> impl Strategy<Value = String> {
    // No NUL: Prometheus' lexers do not take it in names.
    "[^\0]{1,8}"
}

fn label_sets() -> impl Strategy<Value = BTreeMap<BTreeMap<String, String>, i32>> {
    btree_map(btree_map(text(), text(), 0..4), any::<i32>(), 1..6)
}

proptest! {
    #[test]
    fn no_exposition_makes_the_parser_panic(body in pieces()) {
        let selector = Expression::parse("g - h_total").unwrap();
        for format in [Format::Text, Format::OpenMetrics] {
            if let Err(error) = read_claim(&body, format, &selector) {
                let text = Reason::Claim(error).to_string();
                prop_assert!(text.is_ascii());
            }
        }
    }

    #[test]
    fn no_text_makes_the_selector_panic(text in pieces()) {
        let text = String::from_utf8_lossy(&text);
        if let Ok(selector) = Selector::parse(&text) {
            prop_assert!(!selector.matches_name(""));
            let again = Selector::parse(&selector.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&selector));
            // A selector is an expression.
            let expression = Expression::parse(&text).unwrap();
            prop_assert_eq!(expression, selector.into());
        }
    }

    #[test]
    fn no_text_makes_the_expression_panic(text in terms()) {
        if let Ok(expression) = Expression::parse(&text) {
            let again = Expression::parse(&expression.to_string());
            prop_assert_eq!(again, Ok(expression));
        }
    }

    #[test]
    fn a_sum_is_the_sum_of_its_terms(values in vec((any::<bool>(), any::<i32>()), 1..MAX_TERMS), offset in any::<i16>()) {
        let (mut expression, mut page, mut expected) = (offset.to_string(), String::new(), f64::from(offset));
        for (index, (is_added, value)) in values.iter().enumerate() {
            let (sign, signed) = if *is_added { ('+', 1.0) } else { ('-', -1.0) };
            expression += &format!(" {sign} g{{i=\"{index}\"}}");
            page += &format!("g{{i=\"{index}\"}} {value}\n");
            expected += signed * f64::from(*value);
        }
        let expression = Expression::parse(&expression).unwrap();
        let claim = read_claim(page.as_bytes(), Format::Text, &expression).unwrap();
        prop_assert_eq!((claim.value, claim.series), (expected, values.len()));
        prop_assert_eq!(claim.negative.is_some(), values.iter().any(|(_, value)| *value < 0));
    }

    #[test]
    fn what_was_rendered_is_what_is_read(name in text(), series in label_sets()) {
        let selector = Expression::parse(&format!("{{\"{}\"}}", escape(&name))).unwrap();
        let exposition = render(&name, &series);
        let expected = (series.values().copied().map(f64::from).sum::<f64>(), series.len());
        let read = |body: &[u8], format| {
            read_claim(body, format, &selector).map(|claim| (claim.value, claim.series))
        };
        let text = read(exposition.as_bytes(), Format::Text);
        prop_assert_eq!(text, Ok(expected));
        let open_metrics = exposition + "# EOF\n";
        let open_metrics = read(open_metrics.as_bytes(), Format::OpenMetrics);
        prop_assert_eq!(open_metrics, Ok(expected));
    }

    #[test]
    fn what_is_cut_off_is_never_more_than_was_there(name in text(), series in label_sets(), cut in any::<proptest::sample::Index>()) {
        let selector = Expression::parse(&format!("{{\"{}\"}}", escape(&name))).unwrap();
        let whole = render(&name, &series) + "# EOF\n";
        let cut = cut.index(whole.len() - 1);
        let claim = read_claim(&whole.as_bytes()[..cut], Format::OpenMetrics, &selector);
        prop_assert!(claim.is_err(), "{claim:?} of {cut} bytes");
    }
}
