//! How far from the kernel's moment a service may count: a time, or to be learnt.

use std::str::FromStr;
use std::time::Duration;

use super::value::{Span, ValueError};
use crate::check::Settling;

/// At most a minute, for no service lags longer and means it. Unit of the bounds: ms.
type Declared = Span<0, 60_000>;

/// What is written: a duration, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settle {
    /// To be learnt.
    Auto,
    /// This long.
    Declared(Duration),
}

impl Settle {
    /// Unless something else is said.
    pub const DEFAULT: Self = Self::Declared(Duration::from_secs(1));

    /// The longest that it may be.
    #[must_use]
    pub const fn longest(self) -> Duration {
        match self {
            Self::Auto => Settling::LONGEST,
            Self::Declared(settle) => settle,
        }
    }
}

impl FromStr for Settle {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "auto" => Ok(Self::Auto),
            text => text
                .parse()
                .map(|Span(settle): Declared| Self::Declared(settle)),
        }
    }
}
