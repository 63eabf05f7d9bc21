//! What one look at an endpoint shows: its sockets as each witness has them, and how these differ.
//!
//! It reads no list and no map, and repairs nothing.

use std::collections::HashMap;

use observer_ebpf::{Socket, TCP_ESTABLISHED, Tally};

use crate::{
    probe::{MapAccessError, Probe},
    sock_diag::Listed,
};

/// What came of holding the two witnesses against each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Sockets by which `sock_diag`'s count is outside of what the programs' counts allow: positive
    /// if it lists more. 0: the witnesses agree.
    pub disagreement: i64,
    /// Open sockets per TCP state, as `sock_diag` lists them.
    pub states: HashMap<u8, u64>,
    /// Entries of the map of sockets that were added or removed to make the witnesses agree.
    pub repairs: u64,
}

impl Survey {
    /// What came of both, of two endpoints.
    pub(super) fn and(mut self, other: Self) -> Self {
        // They do not make up for each other.
        if self.disagreement == 0 {
            self.disagreement = other.disagreement;
        }
        for (state, count) in other.states {
            *self.states.entry(state).or_default() += count;
        }
        self.repairs += other.repairs;
        self
    }
}

/// The open sockets as both witnesses have them.
pub(super) struct Look {
    /// As `sock_diag` lists them.
    pub(super) listed: Vec<Listed>,
    /// How far their number is from the programs' counts.
    pub(super) survey: Survey,
    /// Nothing came or went meanwhile: a single socket too many or too few would show.
    pub(super) is_exact: bool,
}

impl Look {
    /// A list that was made between two reads of the counts.
    pub(super) fn new(listed: Vec<Listed>, before: &Tally, after: &Tally) -> Self {
        let mut look = Self::alone(listed);
        let states = &look.survey.states;
        let by_state = outside(
            states.get(&TCP_ESTABLISHED).copied().unwrap_or(0),
            (before.opened, after.opened),
            (before.left, after.left),
        );
        let by_open = outside(
            look.listed.len() as u64,
            (before.opened, after.opened),
            (before.closed, after.closed),
        );
        look.survey.disagreement = if by_open == 0 { by_state } else { by_open };
        let moments = [before, after].map(|tally| (tally.opened, tally.left, tally.closed));
        look.is_exact = moments[0] == moments[1];
        look
    }

    /// A list that there is nothing to hold against.
    pub(super) fn alone(listed: Vec<Listed>) -> Self {
        let mut states = HashMap::new();
        for socket in &listed {
            *states.entry(socket.state).or_insert(0) += 1;
        }
        Self {
            listed,
            survey: Survey {
                states,
                ..Survey::default()
            },
            is_exact: true,
        }
    }
}

/// What was listed of an endpoint, while the map is read.
pub(super) struct Differences {
    /// In the order of cookies, and whether the map has it as well.
    listed: Vec<(Listed, bool)>,
    found: HashMap<u64, Difference>,
}

impl Differences {
    pub(super) fn of(listed: Vec<Listed>) -> Self {
        Self {
            listed: listed.into_iter().map(|socket| (socket, false)).collect(),
            found: HashMap::new(),
        }
    }

    /// Takes in a socket of the map.
    pub(super) fn meet(&mut self, cookie: u64, socket: Socket) {
        let place = self
            .listed
            .binary_search_by_key(&cookie, |one| one.0.cookie);
        let listed = place.ok().map(|place| {
            self.listed[place].1 = true;
            self.listed[place].0
        });
        let difference = Difference::between(Some(socket), listed);
        self.found
            .extend(difference.map(|difference| (cookie, difference)));
    }

    /// All of them, once the map is read.
    pub(super) fn all(mut self) -> HashMap<u64, Difference> {
        for (listed, is_tracked) in self.listed {
            if !is_tracked {
                let difference = Difference::Untracked(listed);
                self.found.insert(listed.cookie, difference);
            }
        }
        self.found
    }
}

/// How the witnesses differ on one socket.
pub(super) enum Difference {
    /// `sock_diag` lists it, the map has it not.
    Untracked(Listed),
    /// The map has it, `sock_diag` lists it not.
    Gone(Socket),
    /// Only one of them says that it is ESTABLISHED.
    WrongState(Listed, Socket),
}

impl Difference {
    fn between(tracked: Option<Socket>, listed: Option<Listed>) -> Option<Self> {
        match (tracked, listed) {
            (None, Some(listed)) => Some(Self::Untracked(listed)),
            (Some(socket), None) => Some(Self::Gone(socket)),
            (Some(socket), Some(listed)) => {
                let differ = (socket.state == TCP_ESTABLISHED) != listed.is_established();
                differ.then_some(Self::WrongState(listed, socket))
            }
            (None, None) => None,
        }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// How the witnesses differ on sockets that were taken in from an earlier dump, both in the order of
/// cookies. Where the later dump has nothing new, no event can have been missed; only the rest is
/// looked for in the map.
pub(super) fn changes(
    probe: &Probe,
    taken_in: &[Listed],
    later: &[Listed],
) -> Result<HashMap<u64, Difference>, MapAccessError> {
    let mut later = later.iter().peekable();
    let mut differences = HashMap::new();
    for socket in taken_in {
        while later.next_if(|next| next.cookie < socket.cookie).is_some() {}
        let now = later.next_if(|next| next.cookie == socket.cookie).copied();
        if now.is_some_and(|now| now.is_established() == socket.is_established()) {
            continue;
        }
        if let Some(difference) = Difference::between(probe.sockets().get(socket.cookie)?, now) {
            differences.insert(socket.cookie, difference);
        }
    }
    Ok(differences)
}

/// How far a count that was taken between two reads of what opened and ended is outside of what these
/// allow.
fn outside(count: u64, opened: (u64, u64), ended: (u64, u64)) -> i64 {
    let count = count.cast_signed();
    let low = opened.0.wrapping_sub(ended.1).cast_signed();
    let high = opened.1.wrapping_sub(ended.0).cast_signed();
    if count < low {
        count - low
    } else {
        (count - high).max(0)
    }
}
