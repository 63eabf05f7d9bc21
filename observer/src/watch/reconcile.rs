//! Holding the two witnesses of an endpoint against each other: seeding, surveying, repairing.
//!
//! The counts of the programs begin when they are attached. Sockets that were open before are found
//! by `sock_diag` and put into the map of sockets; what that adds to the counts is kept beside them,
//! since user space cannot add to the programs' own. The same dump, repeated, is the second witness.

use std::collections::HashMap;

use observer_ebpf::{Alone, Life, Socket, TCP_CLOSE, TCP_ESTABLISHED, Tally};

use super::endpoint::{Endpoint, WitnessError};
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

/// Most looks in a row; two make a repair, the rest see whether it helped.
const LOOKS: u32 = 6;

impl Endpoint {
    /// Takes in the sockets that were open before, then holds the witnesses against each other.
    ///
    /// # Errors
    /// When a witness fails.
    pub fn seed(&self) -> Result<Survey, WitnessError> {
        if let Some(probe) = self.probe() {
            let mut taken_in = Vec::new();
            for socket in self.open_sockets()? {
                if self.take_in(probe, socket)? {
                    taken_in.push(socket);
                }
            }
            if let Some(agreed) = self.catch_up(probe, &taken_in)? {
                return Ok(agreed);
            }
        }
        let mut survey = self.reconcile()?;
        // What closed between the dump and its insertion had to be removed again: no repair.
        survey.repairs = 0;
        Ok(survey)
    }

    /// Holds the witnesses against each other; where they are apart, repairs the map of sockets.
    ///
    /// Their counts first, which costs a dump. Where those differ, and where connections came or
    /// went meanwhile, so that the counts have bounds that are wider than one connection, socket by
    /// socket. What is missing or too much in two looks in a row is repaired: in one look it may
    /// just have come or gone.
    ///
    /// # Errors
    /// When a witness fails.
    pub fn reconcile(&self) -> Result<Survey, WitnessError> {
        self.compare(true)
    }

    /// Compares the witnesses socket by socket, although their counts may be the same: an event was
    /// lost, or more than one.
    ///
    /// # Errors
    /// When a witness fails.
    pub fn reconcile_sockets(&self) -> Result<Survey, WitnessError> {
        self.compare(false)
    }

    fn compare(&self, are_counts_enough: bool) -> Result<Survey, WitnessError> {
        let Some(probe) = self.probe() else {
            return Ok(self.look()?.survey);
        };
        let mut repairs = 0;
        let mut apart = HashMap::new();
        let mut is_settled = false;
        for _ in 0..LOOKS {
            let Look {
                survey, is_exact, ..
            } = self.look()?;
            let do_counts_agree = survey.disagreement == 0;
            if do_counts_agree && is_exact && are_counts_enough {
                return Ok(Survey { repairs, ..survey });
            }
            let now = self.differences(probe)?;
            let repaired = self.repair_what_stands(probe, &apart, &now)?;
            if do_counts_agree && repaired == 0 && is_settled {
                return Ok(Survey { repairs, ..survey });
            }
            // Nothing stands at the first look. A socket that closed while it was repaired is one too
            // many, and stands in the next look but one.
            is_settled = repaired == 0;
            repairs += repaired;
            apart = now;
        }
        Ok(Survey {
            repairs,
            ..self.look()?.survey
        })
    }

    /// Corrects what changed between a dump and its insertion, of which the programs saw nothing.
    /// Returns the survey after which there is nothing to correct, if the witnesses agree in it.
    ///
    /// The counts do not show it: under churn their bounds are wider than what it takes.
    fn catch_up(&self, probe: &Probe, taken_in: &[Listed]) -> Result<Option<Survey>, WitnessError> {
        let mut apart = HashMap::new();
        for _ in 0..LOOKS {
            let Look { listed, survey, .. } = self.look()?;
            let now = changes(probe, taken_in, &listed)?;
            if now.is_empty() {
                return Ok((survey.disagreement == 0).then_some(survey));
            }
            self.repair_what_stands(probe, &apart, &now)?;
            apart = now;
        }
        Ok(None)
    }

    /// Repairs the differences that the last look has shown as well; returns how many.
    fn repair_what_stands(
        &self,
        probe: &Probe,
        apart: &HashMap<u64, Difference>,
        now: &HashMap<u64, Difference>,
    ) -> Result<u64, WitnessError> {
        let mut repairs = 0;
        for (cookie, difference) in now {
            if apart
                .get(cookie)
                .is_some_and(|before| before.is_same(difference))
            {
                repairs += u64::from(self.repair(probe, *cookie, difference)?);
            }
        }
        Ok(repairs)
    }

    /// Lists the open sockets, and how far their number is from the programs' counts.
    fn look(&self) -> Result<Look, WitnessError> {
        let before = self.tally()?;
        let listed = self.open_sockets()?;
        let after = self.tally()?;
        let mut states = HashMap::new();
        for socket in &listed {
            *states.entry(socket.state).or_insert(0) += 1;
        }
        let disagreement = if self.has_programs() {
            let established = states.get(&TCP_ESTABLISHED).copied().unwrap_or(0);
            let open = listed.len() as u64;
            let by_state = outside(
                established,
                before.opened,
                after.left,
                after.opened,
                before.left,
            );
            let by_open = outside(
                open,
                before.opened,
                after.closed,
                after.opened,
                before.closed,
            );
            if by_open == 0 { by_state } else { by_open }
        } else {
            0
        };
        let survey = Survey {
            disagreement,
            states,
            repairs: 0,
        };
        let moments = [before, after].map(|tally| (tally.opened, tally.left, tally.closed));
        Ok(Look {
            listed,
            survey,
            is_exact: moments[0] == moments[1],
        })
    }

    /// Hands over every socket of this endpoint in the map of sockets.
    fn each_tracked(
        &self,
        probe: &Probe,
        mut each: impl FnMut(u64, Socket),
    ) -> Result<(), MapAccessError> {
        probe.sockets().each(|cookie, socket| {
            if socket.target == self.index() {
                each(cookie, socket);
            }
        })
    }

    /// How the witnesses differ, socket by socket.
    fn differences(&self, probe: &Probe) -> Result<HashMap<u64, Difference>, WitnessError> {
        let listed = self.open_sockets()?;
        let mut is_tracked = vec![false; listed.len()];
        let mut differences = HashMap::new();
        self.each_tracked(probe, |cookie, socket| {
            let place = listed.binary_search_by_key(&cookie, |listed| listed.cookie);
            let listed = place.ok().map(|place| {
                is_tracked[place] = true;
                listed[place]
            });
            if let Some(difference) = Difference::between(Some(socket), listed) {
                differences.insert(cookie, difference);
            }
        })?;
        for (listed, is_tracked) in listed.into_iter().zip(is_tracked) {
            if !is_tracked {
                differences.insert(listed.cookie, Difference::Untracked(listed));
            }
        }
        Ok(differences)
    }

    fn repair(
        &self,
        probe: &Probe,
        cookie: u64,
        difference: &Difference,
    ) -> Result<bool, WitnessError> {
        match difference {
            Difference::Untracked(listed) => self.take_in(probe, *listed),
            Difference::Gone(socket) => Ok(self.let_go(probe, cookie, socket)?),
            Difference::WrongState(listed, socket) => {
                Ok(self.let_go(probe, cookie, socket)? && self.take_in(probe, *listed)?)
            }
        }
    }

    /// Starts to track a socket of which nothing but its state is known.
    fn take_in(&self, probe: &Probe, listed: Listed) -> Result<bool, WitnessError> {
        let mut socket = Socket::found(self.index(), listed.state);
        let mut counted = Tally::default();
        Life::<Alone>::of(&mut socket, &mut counted).opened();
        // Counted before it is inserted: from then on the programs may count its end.
        self.adjust(&counted);
        let inserted = probe.sockets().insert(listed.cookie, socket);
        if !matches!(inserted, Ok(true)) {
            self.unadjust(&counted);
        }
        // A full map is a loss that the programs count as well: the witnesses then stay apart.
        Ok(inserted.unwrap_or(false))
    }

    /// Stops tracking every socket.
    pub(super) fn let_all_go(&self, probe: &Probe) -> Result<(), MapAccessError> {
        let mut tracked = Vec::new();
        self.each_tracked(probe, |cookie, socket| tracked.push((cookie, socket)))?;
        for (cookie, socket) in tracked {
            self.let_go(probe, cookie, &socket)?;
        }
        Ok(())
    }

    /// Stops tracking a socket that is gone, as the programs would have when it closed.
    fn let_go(&self, probe: &Probe, cookie: u64, socket: &Socket) -> Result<bool, MapAccessError> {
        if !probe.sockets().remove(cookie)? {
            return Ok(false);
        }
        let mut socket = *socket;
        let mut counted = Tally::default();
        let mut life = Life::<Alone>::of(&mut socket, &mut counted);
        life.left(TCP_CLOSE);
        life.closed();
        self.adjust(&counted);
        Ok(true)
    }
}

/// The open sockets as both witnesses have them.
struct Look {
    /// As `sock_diag` lists them.
    listed: Vec<Listed>,
    /// How far their number is from the programs' counts.
    survey: Survey,
    /// Nothing came or went meanwhile: a single socket too many or too few would show.
    is_exact: bool,
}

/// How the witnesses differ on one socket.
enum Difference {
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

    fn is_same(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

/// How the witnesses differ on sockets that were taken in from an earlier dump, both in the order of
/// cookies. Where the later dump has nothing new, no event can have been missed; only the rest is
/// looked for in the map.
fn changes(
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

/// How far a count that was taken between two reads is outside of what the reads allow.
fn outside(count: u64, opened0: u64, ended1: u64, opened1: u64, ended0: u64) -> i64 {
    let count = count.cast_signed();
    let low = opened0.wrapping_sub(ended1).cast_signed();
    let high = opened1.wrapping_sub(ended0).cast_signed();
    if count < low {
        count - low
    } else {
        (count - high).max(0)
    }
}
