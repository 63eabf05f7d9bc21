//! The sockets that a drift is likely about, as data and in words.

use std::{fmt::Write as _, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Word, bounded::at_most};
use crate::check::{Kind, Source, Suspect, Suspects};

/// Most peers that are named in a sentence.
const NAMED: usize = 3;

/// The suspects of a target: what the last look at its sockets found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuspectsReport {
    /// `connections`: the service's list, held against the kernel's; `kernel`: the kernel alone.
    pub from: Word,
    /// How many there are, listed or not.
    pub total: usize,
    /// Why the service's list was of no use, where it has one.
    pub failure: Option<String>,
    /// The first of them: by kind, the oldest first; at most 100.
    #[serde(deserialize_with = "at_most::<{ Suspects::MOST }, _, _>")]
    pub list: Vec<SuspectReport>,
}

/// One suspected socket.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SuspectReport {
    /// `phantom`: the service lists it, the kernel does not have it; `uncounted`: the other way
    /// round; `held`: its peer has gone; `unaccepted`: it waits in the accept queue; `unanswered`: the
    /// service has sent nothing yet; `silent`: nothing came from its peer for long.
    pub kind: Word,
    /// The peer's address and port.
    pub peer: String,
    /// Its class, where the kernel has it and one is known.
    pub class: Option<Word>,
    /// Its TCP state, where the kernel has it.
    pub state: Option<Word>,
    /// How old it is: by the kernel, or by the service where only that has it.
    pub age_seconds: Option<f64>,
    /// Since anything came from the peer.
    pub silence_seconds: Option<f64>,
}

impl SuspectsReport {
    /// Of what was found.
    #[must_use]
    pub fn of(suspects: &Suspects) -> Self {
        Self {
            from: suspects.source.name().into(),
            total: suspects.total(),
            failure: suspects.failure.clone(),
            list: suspects.list.iter().map(SuspectReport::of).collect(),
        }
    }

    /// The same as lines of text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self {
            from,
            total,
            failure,
            list,
        } = self;
        let mut text = format!("  suspects  {total} by {from}, {} listed\n", list.len());
        if let Some(failure) = failure {
            let _ = writeln!(text, "            {failure}");
        }
        for suspect in list {
            let SuspectReport {
                kind,
                peer,
                class,
                state,
                age_seconds,
                silence_seconds,
            } = suspect;
            let _ = write!(text, "            {kind:<10} {peer}");
            for known in [class, state].into_iter().flatten() {
                let _ = write!(text, " {known}");
            }
            for (what, seconds) in [("old", age_seconds), ("silent", silence_seconds)] {
                if let Some(seconds) = seconds {
                    let _ = write!(text, ", {seconds:.1} s {what}");
                }
            }
            text.push('\n');
        }
        text
    }
}

impl SuspectReport {
    fn of(suspect: &Suspect) -> Self {
        let Suspect {
            kind,
            peer,
            class,
            state,
            age,
            silence,
        } = *suspect;
        Self {
            kind: kind.name().into(),
            peer: peer.to_string(),
            class: class.map(Word::from),
            state: state.map(Word::from),
            age_seconds: age.as_ref().map(Duration::as_secs_f64),
            silence_seconds: silence.as_ref().map(Duration::as_secs_f64),
        }
    }
}

/// What a sentence says of the suspects of a drift; empty where there are none.
pub(super) fn in_words(suspects: &Suspects) -> String {
    let mut text = String::new();
    for (kind, what) in [
        (Kind::Phantom, "listed by the service and not open"),
        (Kind::Uncounted, "open and not listed by the service"),
        (Kind::Unaccepted, "not accepted by the service"),
        (
            Kind::Unanswered,
            "not answered by the service, so that no handshake is done",
        ),
    ] {
        let count = suspects.count(kind);
        if count == 0 {
            continue;
        }
        let peers: Vec<String> = suspects
            .list
            .iter()
            .filter(|suspect| suspect.kind == kind)
            .take(NAMED)
            .map(|suspect| suspect.peer.to_string())
            .collect();
        let named = match (peers.len(), count) {
            (0, _) => "not among those listed".to_owned(),
            (named, count) if count > named => {
                format!("{} and {} more", peers.join(", "), count - named)
            }
            _ => peers.join(", "),
        };
        let _ = write!(text, " {count} of them {what}: {named}.");
    }
    if suspects.source == Source::Kernel
        && let Some(failure) = &suspects.failure
    {
        let _ = write!(text, " Its connections are not known: {failure}.");
    }
    text
}
