//! Holding the two witnesses of endpoints against each other: seeding, comparing, repairing.
//!
//! The counts of the programs begin when they are attached. Sockets that were open before are found
//! by `sock_diag` and put into the map of sockets; what that adds to the counts is kept beside them,
//! since user space cannot add to the programs' own. The same dump, repeated, is the second witness.
//!
//! Endpoints are compared together, look by look: a look lists the sockets of all of them, in one dump
//! for each network namespace, and where it has to look at the map of sockets, reads that once.
//!
//! ```text
//!  New ─ takes in what is listed ─► CatchingUp ─ nothing to correct ─► Comparing ─► outcome
//!   └──────────── was seeded before, or no program counts ────────────────▲
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use super::{
    dumps::list,
    endpoint::{Endpoint, WitnessError},
    look::{Difference, Differences, Look, Survey, changes},
};
use crate::{
    probe::Probe,
    sock_diag::{Listed, SockDiag, States},
};

/// How much of an endpoint is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything, and what was open before is taken in first.
    Seed,
    /// The counts, and where they leave anything open, socket by socket.
    Counts,
    /// Socket by socket, although the counts may be the same: an event was lost, or more than one.
    Sockets,
}

/// Most looks in a row; two make a repair, the rest see whether it helped.
const LOOKS: u32 = 6;

/// What came of comparing an endpoint. What fails for one namespace fails for all endpoints in it.
pub(super) type Outcome = Result<Survey, Arc<WitnessError>>;

/// Lists the sockets of each network namespace, for all comparisons.
#[derive(Default)]
pub(super) struct Comparer {
    /// By the namespace's inode.
    diags: BTreeMap<u32, SockDiag>,
}

impl Comparer {
    /// Lets go of every namespace that is not among these: what is open in one keeps it alive.
    pub(super) fn keep(&mut self, inodes: &[u32]) {
        self.diags.retain(|inode, _| inodes.contains(inode));
    }

    /// Compares the witnesses of all of these endpoints; returns what came of each, in their order.
    ///
    /// Their counts first, which costs a dump. Where those differ, and where connections came or
    /// went meanwhile, so that the counts have bounds that are wider than one connection, socket by
    /// socket. What is missing or too much in two looks in a row is repaired: in one look it may
    /// just have come or gone.
    pub(super) fn compare(&mut self, asked: &[(&Endpoint, Depth)]) -> Vec<Outcome> {
        let begin = |&(endpoint, depth)| Comparison::new(endpoint, depth);
        let mut comparisons: Vec<Comparison<'_>> = asked.iter().map(begin).collect();
        loop {
            let mut open: Vec<_> = comparisons
                .iter_mut()
                .filter(|comparison| comparison.outcome.is_none())
                .collect();
            if open.is_empty() {
                break;
            }
            self.look(&mut open);
            read_map(&mut open);
        }
        let outcomes = comparisons.into_iter().filter_map(|one| one.outcome);
        outcomes.collect()
    }

    /// One look at each of these.
    fn look(&mut self, open: &mut [&mut Comparison<'_>]) {
        let mut namespaces: BTreeMap<u32, Vec<&mut Comparison<'_>>> = BTreeMap::new();
        for comparison in open {
            match comparison.endpoint.place() {
                Ok(place) => {
                    let inode = place.namespace.inode();
                    let diag = || SockDiag::closed(&place.namespace);
                    self.diags.entry(inode).or_insert_with(diag);
                    namespaces.entry(inode).or_default().push(comparison);
                }
                Err(error) => comparison.fail(&Arc::new(error)),
            }
        }
        for (inode, mut comparisons) in namespaces {
            let Some(diag) = self.diags.get_mut(&inode) else {
                continue;
            };
            let endpoints: Vec<_> = comparisons.iter().map(|one| one.endpoint).collect();
            match looks(diag, &endpoints) {
                Ok(looks) => {
                    for (comparison, look) in comparisons.into_iter().zip(looks) {
                        comparison.attempt(|comparison| comparison.looked(look));
                    }
                }
                Err(error) => {
                    let error = Arc::new(error);
                    for comparison in &mut comparisons {
                        comparison.fail(&error);
                    }
                }
            }
        }
    }
}

/// Lists the open sockets of endpoints of one namespace, and how far the number of each is from the
/// programs' counts.
fn looks(diag: &mut SockDiag, endpoints: &[&Endpoint]) -> Result<Vec<Look>, WitnessError> {
    let tallies = || {
        let tallies = endpoints.iter().map(|endpoint| endpoint.tally());
        tallies.collect::<Result<Vec<_>, _>>()
    };
    let before = tallies()?;
    let listed = list(diag, endpoints, States::OPEN)?;
    let moments = before.into_iter().zip(tallies()?);
    let looks = listed.into_iter().zip(moments).zip(endpoints);
    let look =
        |((listed, (before, after)), endpoint): (_, &&Endpoint)| match endpoint.has_programs() {
            true => Look::new(listed, &before, &after),
            false => Look::alone(listed),
        };
    Ok(looks.map(look).collect())
}

/// Reads the map of sockets once, for all of these that have to look at it.
fn read_map(open: &mut [&mut Comparison<'_>]) {
    let mut by_index: Vec<Option<Differences>> = Vec::new();
    let mut probe = None;
    for comparison in open.iter_mut() {
        if let Some(look) = &mut comparison.look {
            let index = comparison.endpoint.index() as usize;
            by_index.resize_with(by_index.len().max(index + 1), || None);
            by_index[index] = Some(Differences::of(mem::take(&mut look.listed)));
            probe = probe.or(comparison.endpoint.probe());
        }
    }
    let Some(probe) = probe else {
        return;
    };
    let read = probe.sockets().each(|cookie, socket| {
        if let Some(Some(differences)) = by_index.get_mut(socket.target as usize) {
            differences.meet(cookie, socket);
        }
    });
    if let Err(error) = read {
        let error = Arc::new(WitnessError::from(error));
        for comparison in open {
            comparison.fail(&error);
        }
        return;
    }
    for comparison in open {
        let index = comparison.endpoint.index() as usize;
        if let (Some(look), Some(Some(differences))) = (
            comparison.look.take(),
            by_index.get_mut(index).map(Option::take),
        ) {
            let now = differences.all();
            comparison.attempt(|comparison| comparison.compared(probe, &look.survey, now));
        }
    }
}

/// One endpoint, while its witnesses are compared.
struct Comparison<'a> {
    endpoint: &'a Endpoint,
    depth: Depth,
    stage: Stage,
    /// Looks of this stage so far.
    looks: u32,
    /// What the last look showed.
    apart: HashMap<u64, Difference>,
    repairs: u64,
    /// The look that has to be held against the map of sockets.
    look: Option<Look>,
    outcome: Option<Outcome>,
}

enum Stage {
    /// What was open before is not taken in.
    New,
    /// These were taken in. What changed between the list and the map is corrected: the programs saw
    /// nothing of it, and the counts do not show it, since under churn their bounds are wider.
    CatchingUp(Vec<Listed>),
    /// Whether nothing had to be repaired after the last look.
    Comparing { is_settled: bool },
}

impl<'a> Comparison<'a> {
    fn new(endpoint: &'a Endpoint, depth: Depth) -> Self {
        let is_new = depth == Depth::Seed && endpoint.has_programs();
        Self {
            endpoint,
            depth,
            stage: match is_new {
                true => Stage::New,
                false => Stage::Comparing { is_settled: false },
            },
            looks: 0,
            apart: HashMap::new(),
            repairs: 0,
            look: None,
            outcome: None,
        }
    }

    fn fail(&mut self, error: &Arc<WitnessError>) {
        self.outcome = Some(Err(Arc::clone(error)));
    }

    fn attempt(&mut self, step: impl FnOnce(&mut Self) -> Result<(), WitnessError>) {
        if let Err(error) = step(self) {
            self.fail(&Arc::new(error));
        }
    }

    fn end(&mut self, survey: Survey) {
        let repairs = match self.depth {
            // What closed between the dump and its insertion had to be removed again: no repair.
            Depth::Seed => 0,
            Depth::Counts | Depth::Sockets => self.repairs,
        };
        self.outcome = Some(Ok(Survey { repairs, ..survey }));
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.looks = 0;
        self.apart.clear();
    }

    /// Takes in a look: it is the end, or another look follows, or the map has to be read.
    fn looked(&mut self, look: Look) -> Result<(), WitnessError> {
        let Some(probe) = self.endpoint.probe() else {
            self.end(look.survey);
            return Ok(());
        };
        match &self.stage {
            Stage::New => {
                let mut taken_in = look.listed;
                let mut failure = None;
                taken_in.retain(|socket| match self.endpoint.take_in(probe, *socket) {
                    Ok(is_in) => is_in,
                    Err(error) => {
                        failure = Some(error);
                        false
                    }
                });
                self.enter(Stage::CatchingUp(taken_in));
                failure.map_or(Ok(()), Err)
            }
            Stage::CatchingUp(taken_in) => {
                let now = changes(probe, taken_in, &look.listed)?;
                if now.is_empty() && look.survey.disagreement == 0 {
                    self.end(look.survey);
                } else if now.is_empty() || self.looks == LOOKS {
                    self.enter(Stage::Comparing { is_settled: false });
                } else {
                    self.repair(probe, now)?;
                }
                Ok(())
            }
            Stage::Comparing { .. } => {
                let are_counts_enough = self.depth != Depth::Sockets;
                let is_exact = look.survey.disagreement == 0 && look.is_exact;
                if is_exact && are_counts_enough || self.looks == LOOKS {
                    self.end(look.survey);
                } else {
                    self.look = Some(look);
                }
                Ok(())
            }
        }
    }

    /// Takes in how the last look differs from the map.
    fn compared(
        &mut self,
        probe: &Probe,
        survey: &Survey,
        now: HashMap<u64, Difference>,
    ) -> Result<(), WitnessError> {
        let was_settled = matches!(self.stage, Stage::Comparing { is_settled: true });
        let repaired = self.repair(probe, now)?;
        if survey.disagreement == 0 && repaired == 0 && was_settled {
            self.end(survey.clone());
        }
        // Nothing stands at the first look. A socket that closed while it was repaired is one too
        // many, and stands in the next look but one.
        self.stage = Stage::Comparing {
            is_settled: repaired == 0,
        };
        Ok(())
    }

    /// Repairs the differences that the last look has shown as well; returns how many.
    fn repair(
        &mut self,
        probe: &Probe,
        now: HashMap<u64, Difference>,
    ) -> Result<u64, WitnessError> {
        let mut repaired = 0;
        for (cookie, difference) in &now {
            let before = self.apart.get(cookie);
            if before.is_some_and(|before| before.is_same(difference)) {
                let is_repaired = self.endpoint.repair(probe, *cookie, difference)?;
                repaired += u64::from(is_repaired);
            }
        }
        self.apart = now;
        self.looks += 1;
        self.repairs += repaired;
        Ok(repaired)
    }
}
