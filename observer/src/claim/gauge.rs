//! From an exposition to a claim: the sum of the series that a selector selects.
//!
//! Pure: bytes in, a [`Claim`] or the reason why there is none out. It knows no HTTP and no check.

use super::exposition::{Format, Kind, SyntaxError};
use super::selector::Selector;

/// What a service says of its connections.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claim {
    /// The sum over the matching series: whole, finite, and negative where a service says so.
    /// Unit: connections.
    pub value: f64,
    /// How many series matched; at least one.
    pub series: usize,
}

/// Why an exposition holds no claim.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClaimError {
    /// No series of that name with those labels.
    #[error("no series matches the selector")]
    Missing,
    /// x
    #[error("syntax")]
    Syntax(#[source] SyntaxError),
    /// x
    #[error("wrong {0:?}")]
    WrongType(Kind),
}
impl ClaimError {
    pub(super) fn name(&self) -> &'static str {
        "x"
    }
}

/// Reads the claim.
///
/// # Errors
/// See [`ClaimError`].
pub fn read_claim(
    _body: &[u8],
    _format: Format,
    _selector: &Selector,
) -> Result<Claim, ClaimError> {
    Err(ClaimError::Missing)
}
