//! What of an exposition is the claim: sums and differences of selectors and whole numbers.
//!
//! Everything else of PromQL needs more than one page, and is refused. It knows nothing of
//! expositions.

use std::fmt;
use std::str::FromStr;

use super::claimed::MAX_VALUE;
use super::lexer::{Lexer, Spot};
use super::number::parse_float;
use super::selector::{MAX_LENGTH, Selector, SelectorError};

/// Most selectors of one expression.
pub const MAX_TERMS: usize = 32;

/// Deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

/// A parsed expression such as `accepted_total{job="a"} - closed_total{job="a"} - 1`.
#[derive(Debug, Clone)]
pub struct Expression {
    text: String,
    terms: Vec<Term>,
    /// The numbers of it. Unit: connections; whole.
    offset: f64,
}

/// A selector, the matching series of which are summed.
#[derive(Debug, Clone)]
pub(super) struct Term {
    /// Whether the sum is added, or else subtracted.
    pub(super) is_added: bool,
    pub(super) selector: Selector,
}

/// Why a text is no expression of a claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than any expression that is read.
    #[error("the expression is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// More selectors than are looked for in each line of a page.
    #[error("the expression has more than {MAX_TERMS} selectors: one with a pattern takes many")]
    TooManyTerms,
    /// Parentheses in parentheses in parentheses.
    #[error("parentheses are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// Neither a selector nor a number, or a malformed selector.
    #[error(transparent)]
    Selector(#[from] SelectorError),
    /// Something that is no sum: a function, a range, a product…
    #[error(
        "expected +, - or the end {spot}: a claim is sums and differences of NAME{{label=\"value\"}} \
         and whole numbers; series that match are summed"
    )]
    Operator {
        /// What stands there.
        spot: Spot,
    },
    /// Parentheses that do not close.
    #[error("expected ) {spot}")]
    Parenthesis {
        /// What stands there.
        spot: Spot,
    },
    /// A number that is no number of connections.
    #[error("expected a whole number {spot}")]
    Number {
        /// What stands there.
        spot: Spot,
    },
    /// Only numbers.
    #[error("the expression has no series: a number alone claims nothing")]
    Constant,
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// When the text is none, or is beyond a limit: see [`ExpressionError`].
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.len() > MAX_LENGTH {
            return Err(ExpressionError::TooLong);
        }
        let mut lexer = Lexer::new(text);
        let mut expression = Self {
            text: text.trim().to_owned(),
            terms: Vec::new(),
            offset: 0.0,
        };
        expression.sum(&mut lexer, true, 0)?;
        if !lexer.rest().is_empty() {
            return Err(ExpressionError::Operator { spot: lexer.spot() });
        }
        if expression.terms.is_empty() {
            return Err(ExpressionError::Constant);
        }
        Ok(expression)
    }

    pub(super) fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The names of the metrics that are selected by a name.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().filter_map(|term| term.selector.name())
    }

    pub(super) fn offset(&self) -> f64 {
        self.offset
    }

    /// Reads terms up to something that is neither `+` nor `-`.
    fn sum(
        &mut self,
        lexer: &mut Lexer<'_>,
        is_added: bool,
        depth: usize,
    ) -> Result<(), ExpressionError> {
        if depth > MAX_DEPTH {
            return Err(ExpressionError::TooDeep);
        }
        let mut sign = is_added;
        loop {
            // A sign of the term itself.
            let sign_of_term = if lexer.skip("-") {
                !sign
            } else {
                lexer.skip("+");
                sign
            };
            self.term(lexer, sign_of_term, depth)?;
            if lexer.skip("+") {
                sign = is_added;
            } else if lexer.skip("-") {
                sign = !is_added;
            } else {
                return Ok(());
            }
        }
    }

    fn term(
        &mut self,
        lexer: &mut Lexer<'_>,
        is_added: bool,
        depth: usize,
    ) -> Result<(), ExpressionError> {
        if lexer.skip("(") {
            self.sum(lexer, is_added, depth + 1)?;
            return match lexer.skip(")") {
                true => Ok(()),
                false => Err(ExpressionError::Parenthesis { spot: lexer.spot() }),
            };
        }
        if lexer
            .rest()
            .starts_with(|c: char| c.is_ascii_digit() || c == '.')
        {
            let number = number(lexer)?;
            self.offset += if is_added { number } else { -number };
            return Ok(());
        }
        if self.terms.len() == MAX_TERMS {
            return Err(ExpressionError::TooManyTerms);
        }
        let selector = Selector::read(lexer)?;
        self.terms.push(Term { is_added, selector });
        Ok(())
    }
}

/// A whole number without a sign.
fn number(lexer: &mut Lexer<'_>) -> Result<f64, ExpressionError> {
    let spot = lexer.spot();
    let digits = lexer.number();
    parse_float(digits.as_bytes())
        .filter(|number| number.fract() == 0.0 && *number <= MAX_VALUE)
        .ok_or(ExpressionError::Number { spot })
}

impl From<Selector> for Expression {
    fn from(selector: Selector) -> Self {
        Self {
            text: selector.to_string(),
            terms: vec![Term {
                is_added: true,
                selector,
            }],
            offset: 0.0,
        }
    }
}

impl FromStr for Expression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        Self::parse(text)
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The terms in order, each with its sign, and the numbers.
    fn read(text: &str) -> (String, f64) {
        let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let terms = expression.terms.iter();
        let terms = terms.map(|term| {
            let sign = if term.is_added { '+' } else { '-' };
            format!("{sign}{}", term.selector)
        });
        (terms.collect::<Vec<_>>().join(" "), expression.offset)
    }

    fn refuse(text: &str) -> String {
        match Expression::parse(text) {
            Ok(expression) => panic!("{expression} was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn terms_are_added_and_subtracted() {
        for (text, terms, offset) in [
            ("g", "+g", 0.0),
            (" g ", "+g", 0.0),
            ("a - b", "+a -b", 0.0),
            ("a-b", "+a -b", 0.0),
            ("a{x=\"-\"}+b{}-1", "+a{x=\"-\"} +b{}", -1.0),
            ("-a + 10 - 3", "-a", 7.0),
            ("a - (b - c + 2)", "+a -b +c", -2.0),
            ("-(a - (b))", "-a +b", 0.0),
            ("a - -b + +1e3", "+a +b", 1000.0),
            (
                "{__name__=~\"a.*\"} - {\"b.c\"}",
                "+{__name__=~\"a.*\"} -{\"b.c\"}",
                0.0,
            ),
        ] {
            assert_eq!(read(text), (terms.to_owned(), offset), "{text}");
        }
    }

    #[test]
    fn what_is_no_sum_is_refused_with_its_place() {
        for (text, said) in [
            (
                "sum(g)",
                "expected +, - or the end before \"(g)\", at character 4",
            ),
            (
                "g * 2",
                "expected +, - or the end before \"* 2\", at character 3",
            ),
            ("a - rate(b[5m])", "before \"(b[5m])\", at character 9"),
            ("g[5m]", "before \"[5m]\""),
            ("a b", "before \"b\", at character 3"),
            ("a -", "expected one metric at the end"),
            ("", "expected one metric at the end"),
            ("a - *", "expected one metric before \"*\", at character 5"),
            ("a - {x=\"y\"}", "expected one metric before"),
            (
                "a - b{x}",
                "expected = != =~ or !~ before \"}\", at character 8",
            ),
            ("(a", "expected ) at the end"),
            ("(a b)", "expected ) before \"b)\""),
            ("a)", "before \")\""),
            (
                "a - 1.5",
                "expected a whole number before \"1.5\", at character 5",
            ),
            ("a - 5m", "expected a whole number"),
            ("a - 1e99", "expected a whole number"),
            ("1 - 1", "a number alone claims nothing"),
        ] {
            let error = refuse(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn an_expression_has_limits() {
        let terms = |count: usize| vec!["g"; count].join(" + ");
        assert_eq!(
            Expression::parse(&terms(MAX_TERMS)).unwrap().terms.len(),
            MAX_TERMS
        );
        assert!(refuse(&terms(MAX_TERMS + 1)).contains("more than 32 selectors"));
        let nested = |depth: usize| "(".repeat(depth) + "g" + &")".repeat(depth);
        assert_eq!(read(&nested(MAX_DEPTH)).0, "+g");
        assert!(refuse(&nested(MAX_DEPTH + 1)).contains("nested deeper than 16"));
        assert!(refuse(&"(".repeat(4000)).contains("nested deeper than 16"));
        assert!(refuse(&"g".repeat(5000)).contains("longer than 4096 bytes"));
    }
}
