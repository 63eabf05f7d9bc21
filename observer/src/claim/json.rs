//! Claims in JSON documents, by an RFC 9535 path.
//!
//! A path may select several nodes, as one with a wildcard or a filter does: they are summed, as
//! series are. Each must be a number; a number in quotes is a text. A document is bounded before it
//! is parsed, and nesting by the parser. Pure.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::claimed::{Claim, ClaimError, in_range, whole};
use super::gauge::MAX_SERIES;
use super::hints::printable;
use crate::similar::Similar;

/// Largest document. Unit: bytes. As a tree it takes some twenty times as much.
pub const MAX_DOCUMENT: usize = 1 << 20;

/// Longest path. Unit: bytes.
const MAX_PATH: usize = 512;

/// Most brackets and parentheses that a path opens: its parser calls itself for each.
const MAX_OPENED: usize = 10;

/// Most values of a document that are looked at for a hint.
const LOOKED_AT: usize = 2_000;

/// Most paths that a hint shows.
const SHOWN: usize = 3;

/// A path such as `$.connections` or `$.workers[*].open`.
#[derive(Debug, Clone)]
pub struct Path {
    text: String,
    path: JsonPath,
}

/// Why a text is no path of a claim.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Longer than any path that is read.
    #[error("the path is longer than {MAX_PATH} bytes")]
    TooLong,
    /// Brackets in brackets in brackets.
    #[error("the path has more than {MAX_OPENED} opening brackets and parentheses")]
    TooDeep,
    /// Not RFC 9535.
    #[error(
        "expected a JSONPath as of RFC 9535, such as $.connections or $.workers[*].open: {problem}"
    )]
    Syntax {
        /// What is wrong, and where.
        problem: String,
    },
    /// What takes time and memory by the square of the document's size, or more.
    #[error(
        "a path may have .. once and no query in a filter that begins with $: name the members"
    )]
    TooBroad,
}

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH {
            return Err(PathError::TooLong);
        }
        // Those in quotes count as well: what is in quotes is for the parser to say.
        if text.matches(['(', '[']).count() > MAX_OPENED {
            return Err(PathError::TooDeep);
        }
        let path = JsonPath::parse(text).map_err(|error| PathError::Syntax {
            problem: error.to_string(),
        })?;
        if text.matches("..").count() > 1 || text.matches('$').count() > 1 {
            return Err(PathError::TooBroad);
        }
        Ok(Self {
            text: text.to_owned(),
            path,
        })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Path {}

/// Reads the claim out of a whole document.
///
/// # Errors
/// When it is no JSON, is beyond a limit, or the path selects anything but whole numbers.
pub fn read_json(body: &[u8], path: &Path) -> Result<Claim, ClaimError> {
    if body.len() > MAX_DOCUMENT {
        return Err(ClaimError::DocumentTooLarge);
    }
    let document: Value = serde_json::from_slice(body).map_err(|error| ClaimError::NoJson {
        problem: printable(&error.to_string()),
    })?;
    let nodes = path.path.query_located(&document);
    let mut claim = Claim::none();
    for node in nodes.iter() {
        let place = || printable(&node.location().to_string());
        let Value::Number(number) = node.node() else {
            return Err(ClaimError::NotNumber {
                place: place(),
                kind: kind(node.node()),
            });
        };
        if claim.series == MAX_SERIES {
            return Err(ClaimError::TooManySeries);
        }
        let number = whole(number.as_f64().unwrap_or(f64::NAN))?;
        if number < 0.0 && claim.negative.is_none() {
            claim.negative = Some(place());
        }
        claim.value += number;
        claim.series += 1;
    }
    if claim.series == 0 {
        return Err(ClaimError::NoNode {
            path: path.text.clone(),
            there_is: instead(&document, &path.text),
        });
    }
    in_range(claim.value)?;
    Ok(claim)
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Where there are numbers of a similar name; else what the document is made of.
fn instead(document: &Value, path: &str) -> String {
    let mut numbers: Vec<(String, String)> = Vec::new();
    let mut waiting = VecDeque::from([("$".to_owned(), String::new(), document)]);
    let mut seen = 0;
    while let Some((place, name, value)) = waiting.pop_front() {
        seen += 1;
        if seen > LOOKED_AT {
            break;
        }
        match value {
            Value::Number(_) => numbers.push((name, place)),
            Value::Object(members) => {
                waiting.extend(members.iter().take(LOOKED_AT).map(|(name, value)| {
                    (format!("{place}{}", segment(name)), name.clone(), value)
                }))
            }
            Value::Array(items) => {
                let items = items.iter().take(LOOKED_AT).enumerate();
                waiting.extend(
                    items.map(|(index, value)| (format!("{place}[{index}]"), name.clone(), value)),
                );
            }
            _ => {}
        }
    }
    let is_in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    let wanted = path.trim_end_matches(|c| !is_in_name(c));
    let wanted = wanted.rsplit(|c| !is_in_name(c)).next().unwrap_or_default();
    let mut similar = Similar::new(wanted, SHOWN);
    numbers.iter().for_each(|(name, _)| similar.note(name));
    let similar = similar.into_words();
    let of_name = |word| numbers.iter().filter(move |(name, _)| name == word);
    let places = similar.iter().flat_map(of_name);
    let mut places: Vec<_> = places.map(|(_, place)| printable(place)).collect();
    if places.is_empty() {
        let some = numbers.iter().take(SHOWN);
        places = some.map(|(_, place)| printable(place)).collect();
    }
    places.truncate(SHOWN);
    match places.is_empty() {
        true => "it has no numbers at all".to_owned(),
        false => format!("there is {}", places.join(", ")),
    }
}

/// A member's name as a path has it.
fn segment(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.is_empty()
        && name.chars().all(is_plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        format!(".{name}")
    } else {
        format!("[{}]", Value::from(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, document: impl AsRef<[u8]>) -> Result<(f64, usize), String> {
        let path: Path = path
            .parse()
            .unwrap_or_else(|error| panic!("{path}: {error}"));
        let claim = read_json(document.as_ref(), &path).map_err(|error| error.to_string());
        claim.map(|claim| (claim.value, claim.series))
    }

    fn refuse(path: &str) -> String {
        match path.parse::<Path>() {
            Ok(path) => panic!("{path} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    /// As nats-server's /varz, cut short.
    const VARZ: &str = r#"{"server_id":"NA","connections":5,"total_connections":9,"mem":1.5,
        "cluster":{"urls":[]},"workers":[{"open":2},{"open":3},{"idle":1}]}"#;

    #[test]
    fn the_numbers_that_a_path_selects_are_summed() {
        assert_eq!(read("$.connections", VARZ), Ok((5.0, 1)));
        assert_eq!(read("$['connections']", VARZ), Ok((5.0, 1)));
        assert_eq!(read("$.workers[*].open", VARZ), Ok((5.0, 2)));
        assert_eq!(read("$.workers[?@.open > 2].open", VARZ), Ok((3.0, 1)));
        assert_eq!(read("$..open", VARZ), Ok((5.0, 2)));
        assert_eq!(read("$", "7"), Ok((7.0, 1)));
        assert_eq!(read("$", "-7"), Ok((-7.0, 1)));
        assert_eq!(read("$.a", "{\"a\": 3.0}"), Ok((3.0, 1)));
    }

    #[test]
    fn what_is_no_whole_number_is_no_claim() {
        for (path, said) in [
            ("$.server_id", "$['server_id'] is a text"),
            ("$.cluster", "$['cluster'] is an object"),
            ("$.workers", "is an array"),
            ("$.mem", "1.5 is not a whole number"),
        ] {
            let error = read(path, VARZ).unwrap_err();
            assert!(error.contains(said), "{path}: {error}");
        }
        assert!(read("$", "null").unwrap_err().contains("is null"));
        assert!(read("$", "1e300").unwrap_err().contains("no count"));
    }

    #[test]
    fn what_is_missing_is_an_error_that_says_what_there_is() {
        for (path, said) in [
            (
                "$.conections",
                "nothing is at $.conections: there is $.connections",
            ),
            (
                "$.server.connections",
                "there is $.connections, $.total_connections",
            ),
            (
                "$.workers[9].open",
                "there is $.workers[0].open, $.workers[1].open",
            ),
            ("$.workers[?@.closed].closed", "there is $."),
        ] {
            let error = read(path, VARZ).unwrap_err();
            assert!(error.contains(said), "{path}: {error}");
        }
        assert!(read("$.a", "{}").unwrap_err().contains("no numbers at all"));
        assert!(
            read("$.a", "{\"b c\": 1}")
                .unwrap_err()
                .contains("$[\"b c\"]")
        );
    }

    #[test]
    fn documents_and_paths_have_limits() {
        assert!(
            read("$", "[".repeat(MAX_DOCUMENT))
                .unwrap_err()
                .contains("no JSON")
        );
        assert!(
            read("$", "[".repeat(MAX_DOCUMENT + 1))
                .unwrap_err()
                .contains("larger than")
        );
        let many = format!("[{}1]", "1,".repeat(MAX_SERIES));
        assert!(read("$[*]", many).unwrap_err().contains("more than 10000"));
        for document in [
            "",
            "g 1\n",
            "{\"a\":1",
            "{\"a\":1} x",
            "{'a':1}",
            "\u{feff}1",
        ] {
            let error = read("$.a", document).unwrap_err();
            assert!(error.contains("no JSON"), "{document}: {error}");
        }
        assert!(refuse(&"$".repeat(600)).contains("longer than 512"));
        assert!(refuse("$..*..*").contains("once"));
        assert!(refuse("$[?$..x]").contains("once"));
        for text in [
            "",
            "connections",
            "$.",
            "$.a b",
            "$[",
            "$[?",
            "$.a + 1",
            ".a",
        ] {
            assert!(refuse(text).contains("RFC 9535"), "{text}");
        }
        for open in ["(", "!(", "@[?"] {
            let nested = |depth: usize| format!("$[?{}", open.repeat(depth));
            assert!(refuse(&nested(9)).contains("RFC 9535"), "{open}");
            assert!(refuse(&nested(10)).contains("more than 10"), "{open}");
            assert!(refuse(&nested(100)).contains("more than 10"), "{open}");
        }
        let nested = format!("$[?{}@.a{}].b", "(".repeat(9), ")".repeat(9));
        assert_eq!(read(&nested, "[{\"a\": 1, \"b\": 2}]"), Ok((2.0, 1)));
    }
}
