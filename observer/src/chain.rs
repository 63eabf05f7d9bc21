//! An error in one sentence: what it says, and then each of its causes.
//!
//! A variant's own text never contains its cause, so nothing is said twice.

use std::{error::Error, fmt};

/// Shows an error with all of its causes, divided by `: `.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain<'a>(pub(crate) &'a (dyn Error + 'a));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        for cause in std::iter::successors(self.0.source(), |&error| error.source()) {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}
