//! Whether the counts of an endpoint can be trusted, since when, and by how much they may be off.
//!
//! ```text
//!              moved                      surveyed: agree
//!   Absent ────────────► Seeding ──────────────────────────► Trusted
//!      ▲                    ▲  └──── surveyed: apart ───┐      │  ▲
//!      │ absent             │ moved                     ▼      ▼  │ surveyed: agree
//!      └── from any         └── from any             Distrusted ──┘
//! ```
//!
//! A loss leaves the state as it is. What the programs were not shown is missing from the counts,
//! or too much in them, until every socket was compared: [`Trust::missing`] says how many, and the
//! interval is that much wider. It knows no maps and no sockets: `watch` surveys and feeds it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::verdict::Blind;

/// What is known of an endpoint's counts.
#[derive(Clone, Debug)]
pub struct Trust {
    state: State,
    /// Grows whenever counts from before no longer add up with counts from then on.
    epoch: u64,
    /// When the last survey began, whatever came of it.
    surveyed: Option<Instant>,
    /// When the last survey began in which the witnesses agreed.
    agreed: Option<Instant>,
    /// Events that were lost, as far as they were counted.
    losses: u64,
    /// Of those, how many had been lost when a comparison of all sockets began, oldest first.
    compared: VecDeque<Compared>,
    /// By how many sockets the witnesses were apart at the end of the last survey.
    apart: u64,
    /// What the last surveys repaired although nothing was known to be missing, oldest first.
    repairs: VecDeque<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The sockets are nowhere to be seen.
    Absent,
    /// What was open before is not known yet.
    Seeding,
    /// The witnesses agreed when they were last compared.
    Trusted,
    /// They did not.
    Distrusted(Blind),
}

#[derive(Clone, Copy, Debug)]
struct Compared {
    finished: Instant,
    losses: u64,
}

/// A comparison of the two witnesses that came to its end.
#[derive(Clone, Copy, Debug)]
pub struct Surveyed {
    /// When it began.
    pub began: Instant,
    /// When it was finished.
    pub finished: Instant,
    /// Events that had been lost when it began.
    pub losses: u64,
    /// Sockets by which the witnesses are apart in the end.
    pub disagreement: i64,
    /// Entries of the map of sockets that it added or removed.
    pub repairs: u64,
}

impl Default for Trust {
    fn default() -> Self {
        Self::new()
    }
}

impl Trust {
    /// How many of the last surveys are remembered for what they had to repair.
    pub const REMEMBERED: usize = 8;
    /// How long it must be known up to which loss the sockets had been compared: longer than the
    /// window of any check.
    const KEPT: Duration = Duration::from_secs(300);
    /// Most comparisons remembered. Where one is left out, more is taken for missing, not less.
    const MAX_COMPARED: usize = 64;

    /// Nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            state: State::Seeding,
            epoch: 0,
            surveyed: None,
            agreed: None,
            losses: 0,
            compared: VecDeque::new(),
            apart: 0,
            repairs: VecDeque::new(),
        }
    }

    /// The sockets are in a place that is not there, or cannot be looked into.
    pub fn absent(&mut self) {
        self.begin_anew(State::Absent);
    }

    /// The sockets are in another place than before.
    pub fn moved(&mut self) {
        self.begin_anew(State::Seeding);
    }

    fn begin_anew(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
        self.agreed = None;
        self.compared.clear();
        self.apart = 0;
        self.repairs.clear();
    }

    /// So many events were lost until now. Returns whether that is more than were known.
    pub fn lost(&mut self, losses: u64) -> bool {
        let grew = losses > self.losses;
        self.losses = self.losses.max(losses);
        grew
    }

    /// The witnesses were compared, and repaired where they were apart.
    pub fn surveyed(&mut self, survey: &Surveyed) {
        self.lost(survey.losses);
        self.surveyed = Some(survey.began);
        let is_first = !self.is_seeded();
        let was_apart = matches!(self.state, State::Distrusted(_));
        let lost = self.uncompared();
        let known = lost.saturating_add(self.apart);
        self.apart = survey.disagreement.unsigned_abs();
        if is_first || was_apart || survey.repairs > 0 {
            self.epoch += 1;
        }
        if !is_first {
            if self.repairs.len() == Self::REMEMBERED {
                self.repairs.pop_front();
            }
            self.repairs.push_back(survey.repairs.saturating_sub(known));
        }
        if survey.disagreement != 0 {
            self.distrust(if lost > 0 {
                Blind::Lost
            } else {
                Blind::WitnessesDisagree
            });
            return;
        }
        self.state = State::Trusted;
        self.agreed = Some(survey.began);
        self.note_compared(survey);
    }

    /// The witnesses could not be compared.
    pub fn failed(&mut self, began: Instant) {
        self.surveyed = Some(began);
        if self.is_seeded() {
            self.distrust(Blind::WitnessesDisagree);
        }
    }

    /// The first reason stays: what follows is of the same cause.
    fn distrust(&mut self, why: Blind) {
        if !matches!(self.state, State::Distrusted(_)) {
            self.state = State::Distrusted(why);
        }
    }

    fn note_compared(&mut self, survey: &Surveyed) {
        let now = Compared {
            finished: survey.finished,
            losses: survey.losses,
        };
        // Of comparisons at the same loss the first holds for the longest.
        if self.compared.back().map(|last| last.losses) != Some(now.losses) {
            self.compared.push_back(now);
        }
        while let Some(second) = self.compared.get(1)
            && survey.finished.duration_since(second.finished) > Self::KEPT
        {
            self.compared.pop_front();
        }
        if self.compared.len() > Self::MAX_COMPARED {
            self.compared.remove(1);
        }
    }

    /// Losses since the last comparison.
    fn uncompared(&self) -> u64 {
        let compared = self.compared.back().map_or(0, |last| last.losses);
        self.losses.saturating_sub(compared)
    }

    /// Whether what was open before is known.
    #[must_use]
    pub const fn is_seeded(&self) -> bool {
        matches!(self.state, State::Trusted | State::Distrusted(_))
    }

    /// Whether the witnesses agreed when they were last compared.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.state == State::Trusted
    }

    /// Whether each socket has to be compared, although the counts may be the same: an event was
    /// lost, or the programs were not shown something lately.
    #[must_use]
    pub fn is_in_doubt(&self) -> bool {
        self.uncompared() > 0 || self.unexplained() > 0
    }

    /// Why nothing can be said, if nothing can.
    #[must_use]
    pub const fn blind(&self) -> Option<Blind> {
        match self.state {
            State::Absent => Some(Blind::NoNamespace),
            State::Seeding => Some(Blind::NotSeeded),
            State::Trusted => None,
            State::Distrusted(why) => Some(why),
        }
    }

    /// Grows whenever counts from before no longer add up with counts from then on.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When the last survey began, whatever came of it.
    #[must_use]
    pub const fn last_survey(&self) -> Option<Instant> {
        self.surveyed
    }

    /// When the last survey began in which the witnesses agreed.
    #[must_use]
    pub const fn agreed(&self) -> Option<Instant> {
        self.agreed
    }

    /// Sockets by which the counts may be off, for a window that begins at `since` and ends before
    /// the losses were last noted. Each may be one that the counts lack, or one too many in them.
    ///
    /// Of what was lost since a comparison that was finished before the window, each event may be a
    /// socket. And where surveys had to repair what nobody had counted as lost, as many may be
    /// missing again: one whose close came before the next survey leaves no trace.
    #[must_use]
    pub fn missing(&self, since: Instant) -> u64 {
        let base = self
            .compared
            .iter()
            .rev()
            .find(|compared| compared.finished <= since)
            .or_else(|| self.compared.front())
            .map_or(0, |compared| compared.losses);
        self.losses.saturating_sub(base) + self.unexplained()
    }

    /// The most that one of the last surveys repaired although nothing was counted as lost.
    fn unexplained(&self) -> u64 {
        self.repairs.iter().copied().max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A trust that is fed by the second.
    struct Fed {
        trust: Trust,
        base: Instant,
    }

    impl Fed {
        fn new() -> Self {
            Self {
                trust: Trust::new(),
                base: Instant::now(),
            }
        }

        fn at(&self, second: u64) -> Instant {
            self.base + Duration::from_secs(second)
        }

        fn survey(&mut self, second: u64, disagreement: i64, repairs: u64) {
            self.trust.surveyed(&Surveyed {
                began: self.at(second),
                finished: self.at(second) + Duration::from_millis(500),
                losses: self.trust.losses,
                disagreement,
                repairs,
            });
        }

        fn missing(&self, second: u64) -> u64 {
            self.trust.missing(self.at(second))
        }
    }

    #[test]
    fn it_is_trusted_once_the_witnesses_agree() {
        let mut fed = Fed::new();
        assert_eq!(fed.trust.blind(), Some(Blind::NotSeeded));
        fed.survey(1, 0, 0);
        assert_eq!((fed.trust.blind(), fed.missing(2)), (None, 0));
        fed.survey(2, 3, 0);
        assert_eq!(fed.trust.blind(), Some(Blind::WitnessesDisagree));
        assert_eq!(fed.trust.agreed(), Some(fed.at(1)));
        fed.survey(3, 0, 3);
        assert_eq!(
            (fed.trust.blind(), fed.trust.agreed()),
            (None, Some(fed.at(3)))
        );
    }

    #[test]
    fn a_loss_blinds_nobody_and_is_missing_until_all_sockets_were_compared_before_the_window() {
        let mut fed = Fed::new();
        fed.survey(1, 0, 0);
        assert!(fed.trust.lost(5) && !fed.trust.lost(5));
        assert_eq!((fed.trust.blind(), fed.missing(2)), (None, 5));
        assert!(fed.trust.is_in_doubt());
        fed.survey(10, 0, 0);
        // A window that began before the comparison may hold what left no trace of itself in it.
        assert_eq!((fed.missing(9), fed.missing(11)), (5, 0));
        assert!(!fed.trust.is_in_doubt());
        fed.trust.lost(7);
        assert_eq!((fed.missing(9), fed.missing(11)), (7, 2));
    }

    #[test]
    fn what_cannot_be_repaired_after_a_loss_is_lost() {
        let mut fed = Fed::new();
        fed.survey(1, 0, 0);
        fed.trust.lost(50);
        fed.survey(2, 50, 0);
        assert_eq!(fed.trust.blind(), Some(Blind::Lost));
        fed.survey(3, 50, 0);
        assert_eq!(fed.trust.blind(), Some(Blind::Lost));
        fed.survey(4, 0, 50);
        assert_eq!((fed.trust.blind(), fed.missing(5)), (None, 0));
    }

    #[test]
    fn what_nobody_counted_as_lost_may_be_missing_again_for_some_surveys() {
        let mut fed = Fed::new();
        fed.survey(1, 0, 0);
        fed.survey(2, 0, 2);
        assert_eq!(fed.missing(3), 2);
        for second in 3..3 + Trust::REMEMBERED as u64 {
            assert_eq!(fed.missing(second), 2);
            fed.survey(second, 0, 0);
        }
        assert_eq!(fed.missing(99), 0);
    }

    #[test]
    fn a_repair_and_a_move_make_counts_from_before_worthless() {
        let mut fed = Fed::new();
        fed.survey(1, 0, 0);
        let epoch = fed.trust.epoch();
        fed.survey(2, 0, 0);
        assert_eq!(fed.trust.epoch(), epoch);
        fed.survey(3, 0, 1);
        assert!(fed.trust.epoch() > epoch);
        let epoch = fed.trust.epoch();
        fed.trust.absent();
        assert_eq!(fed.trust.blind(), Some(Blind::NoNamespace));
        fed.trust.failed(fed.at(4));
        assert_eq!(fed.trust.blind(), Some(Blind::NoNamespace));
        fed.trust.moved();
        assert!(fed.trust.epoch() > epoch && !fed.trust.is_seeded());
    }

    /// What may happen to it.
    #[derive(Clone, Debug)]
    enum Event {
        Survey(bool, u64),
        Failed,
        Lost(u64),
        Moved,
        Absent,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (any::<bool>(), 0..3_u64).prop_map(|(apart, repairs)| Event::Survey(apart, repairs)),
            1 => Just(Event::Failed),
            3 => (1..9_u64).prop_map(Event::Lost),
            1 => Just(Event::Moved),
            1 => Just(Event::Absent),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_was_lost_in_a_window_or_uncompared_before_it_is_forgotten(
            events in vec(event(), 1..200),
        ) {
            let mut fed = Fed::new();
            // When each was lost, and when the last comparison was finished.
            let mut lost: Vec<u64> = Vec::new();
            let mut compared: Vec<(u64, usize)> = Vec::new();
            let mut epoch = 0;
            for (second, event) in (0..).zip(events) {
                match event {
                    Event::Survey(is_apart, repairs) => {
                        fed.survey(second, i64::from(is_apart), repairs);
                        if !is_apart {
                            compared.push((second + 1, lost.len()));
                        }
                    }
                    Event::Failed => fed.trust.failed(fed.at(second)),
                    Event::Lost(count) => {
                        lost.extend((0..count).map(|_| second));
                        fed.trust.lost(lost.len() as u64);
                    }
                    Event::Moved => fed.trust.moved(),
                    Event::Absent => fed.trust.absent(),
                }
                if matches!(event, Event::Moved | Event::Absent) {
                    compared.clear();
                }
                prop_assert!(fed.trust.epoch() >= epoch);
                epoch = fed.trust.epoch();
                prop_assert_eq!(fed.trust.is_trusted(), fed.trust.blind().is_none());
                for begins in second.saturating_sub(30)..=second {
                    let before = compared.iter().rev().find(|(finished, _)| *finished <= begins);
                    if let Some((_, known)) = before {
                        let missing = (lost.len() - known) as u64;
                        prop_assert!(fed.missing(begins) >= missing);
                    }
                }
            }
        }
    }
}
