//! Which settings together say what the claim is, and who is asked for it.

use std::path::PathBuf;
use std::str::FromStr;

use url::Url;

use super::error::TargetProblem;
use super::value::Text;
use super::{ClaimFormat, GAUGE, MAX_WORDS};
use crate::claim::{
    Access, Authorization, Command, Expression, Path, Pattern, Query, Selection, Selector, User,
};

/// Longest word of a command. Unit: bytes.
const MAX_WORD: usize = 4096;

/// A word of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word(pub String);

/// A text that no program can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a word without a NUL, of at most {MAX_WORD} bytes")]
pub struct WordError;

impl FromStr for Word {
    type Err = WordError;

    fn from_str(text: &str) -> Result<Self, WordError> {
        match text.len() <= MAX_WORD && !text.contains('\0') {
            true => Ok(Self(text.to_owned())),
            false => Err(WordError),
        }
    }
}

/// What was said of it; at most one of these is to be set.
pub(super) struct Said {
    pub(super) gauge: Option<Text<Selector>>,
    pub(super) claim: Option<Text<Expression>>,
    pub(super) path: Option<Text<Path>>,
    pub(super) pattern: Option<Text<Pattern>>,
    pub(super) query: Option<Text<Query>>,
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
        query,
    } = said;
    if let Some(Text(query)) = query {
        if format.is_some() {
            return Err(TargetProblem::FormatOfQuery);
        }
        return match (gauge, claim, path, pattern) {
            (None, None, None, None) => Ok(Selection::Query(query)),
            _ => Err(TargetProblem::TwoClaims),
        };
    }
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

/// Whether a query is asked of one server, and of a server.
pub(super) fn check_server(claim: &Selection, urls: &[Url]) -> Result<(), TargetProblem> {
    match (claim, urls) {
        (Selection::Query(_), [url]) if url.path().trim_end_matches('/').ends_with("/metrics") => {
            Err(TargetProblem::QueryOfPage)
        }
        (Selection::Query(_), urls) if urls.len() > 1 => {
            let count = urls.len();
            Err(TargetProblem::SeveralServers { count })
        }
        _ => Ok(()),
    }
}

/// The command whose output is the claim, if there is one, and whether it is in place of pages.
pub(super) fn command(
    words: Option<Vec<Text<Word>>>,
    user: Option<Text<User>>,
    has_urls: bool,
    claim: &Selection,
) -> Result<Option<Command>, TargetProblem> {
    let needs = |setting, needs| Err(TargetProblem::Needs { setting, needs });
    let mut words = words.into_iter().flatten().map(|Text(Word(word))| word);
    let Some(program) = words.next() else {
        return match (user, has_urls) {
            (Some(_), _) => needs("claim-user", "claim-command"),
            (None, false) => Err(TargetProblem::NoGaugeUrl),
            (None, true) => Ok(None),
        };
    };
    if has_urls {
        return Err(TargetProblem::TwoSources);
    }
    if let Selection::Query(_) = claim {
        return needs("claim-query", "the gauge-url of a Prometheus server");
    }
    if !program.starts_with('/') {
        return Err(TargetProblem::NoPath { program });
    }
    let arguments: Vec<_> = words.collect();
    if arguments.len() >= MAX_WORDS {
        let count = arguments.len() + 1;
        return Err(TargetProblem::TooManyWords { count });
    }
    Ok(Some(Command {
        program,
        arguments,
        user: user.map(|Text(user)| user),
    }))
}

fn default_gauge() -> Selection {
    let gauge = Selector::parse(GAUGE).expect("a bare metric name is a selector");
    Selection::Series(gauge.into())
}

/// How whoever has a page wants to be asked for it.
pub(super) fn access(
    bearer_token_file: Option<PathBuf>,
    username: Option<String>,
    password_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
) -> Result<Access, TargetProblem> {
    let authorization = match (bearer_token_file, username, password_file) {
        (None, None, None) => None,
        (Some(token_file), None, None) => Some(Authorization::Bearer { token_file }),
        (None, Some(username), Some(password_file)) => Some(Authorization::Basic {
            username,
            password_file,
        }),
        (None, _, _) => return Err(TargetProblem::HalfBasic),
        (Some(_), _, _) => return Err(TargetProblem::TwoAuthorizations),
    };
    Ok(Access {
        authorization,
        ca_file,
    })
}
