//! Which settings together say what of a page is the claim.

use super::error::TargetProblem;
use super::value::Text;
use super::{ClaimFormat, GAUGE};
use crate::claim::{Expression, Path, Pattern, Selection, Selector};

/// What was said of it; at most one of these is to be set.
pub(super) struct Said {
    pub(super) gauge: Option<Text<Selector>>,
    pub(super) claim: Option<Text<Expression>>,
    pub(super) path: Option<Text<Path>>,
    pub(super) pattern: Option<Text<Pattern>>,
}

/// What of a page is the claim. The format need not be said where it follows from the rest.
pub(super) fn selection(
    format: Option<ClaimFormat>,
    said: Said,
) -> Result<Selection, TargetProblem> {
    let Said {
        gauge,
        claim,
        path,
        pattern,
    } = said;
    let (implied, selection) = match (gauge, claim, path, pattern) {
        (None, None, None, None) => (ClaimFormat::Prometheus, default_gauge()),
        (Some(Text(gauge)), None, None, None) => {
            (ClaimFormat::Prometheus, Selection::Series(gauge.into()))
        }
        (None, Some(Text(claim)), None, None) => {
            (ClaimFormat::Prometheus, Selection::Series(claim))
        }
        (None, None, Some(Text(path)), None) => (ClaimFormat::Json, Selection::Nodes(path)),
        (None, None, None, Some(Text(pattern))) => (ClaimFormat::Text, Selection::Match(pattern)),
        _ => return Err(TargetProblem::TwoClaims),
    };
    match format {
        Some(format) if format != implied => Err(TargetProblem::OtherFormat {
            needs: match format {
                ClaimFormat::Prometheus => "gauge or claim",
                ClaimFormat::Json => "claim-path",
                ClaimFormat::Text => "claim-pattern",
            },
        }),
        _ => Ok(selection),
    }
}

fn default_gauge() -> Selection {
    let gauge = Selector::parse(GAUGE).expect("a bare metric name is a selector");
    Selection::Series(gauge.into())
}
