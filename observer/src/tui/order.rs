//! What the lists can be sorted by, in the order in which a key offers it.

use super::list::Order;
use crate::sockets::Sort;

/// What targets are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum TargetOrder {
    /// The worst verdict first.
    #[default]
    Verdict,
    Name,
    /// The greatest drift first, of either sign.
    Drift,
}

/// What suspects are sorted by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum SuspectOrder {
    #[default]
    Kind,
    /// The oldest first; those of unknown age before them.
    Age,
    /// The longest silent first.
    Silence,
    Peer,
}

impl Order for TargetOrder {
    fn next(self) -> Self {
        match self {
            Self::Verdict => Self::Name,
            Self::Name => Self::Drift,
            Self::Drift => Self::Verdict,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Name => "name",
            Self::Drift => "drift",
        }
    }
}

impl Order for SuspectOrder {
    fn next(self) -> Self {
        match self {
            Self::Kind => Self::Age,
            Self::Age => Self::Silence,
            Self::Silence => Self::Peer,
            Self::Peer => Self::Kind,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Age => "age",
            Self::Silence => "silence",
            Self::Peer => "peer",
        }
    }
}

impl Order for Sort {
    fn next(self) -> Self {
        match self {
            Self::Age => Self::Silence,
            Self::Silence => Self::Bytes,
            Self::Bytes => Self::Age,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Age => "age",
            Self::Silence => "silence",
            Self::Bytes => "bytes",
        }
    }
}
