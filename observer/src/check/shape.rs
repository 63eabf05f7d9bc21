//! The shape of a drift over time, and what is the likely cause of it.
//!
//! The past is cut into levels: runs of checks that one drift explains. What moved when a level was
//! left tells what the gauge missed: closings that it did not hear of, openings that it counted
//! twice, or nothing at all that the kernel saw.

use super::{
    history::{History, Record, Window},
    verdict::{Blind, Bounds, Verdict},
};

/// How a drift behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Too little while the gauge follows the rest, or as connections of one kind come and go.
    ConstantOffset,
    /// Too much by the same, while connections come and go.
    ConstantSurplus,
    /// Too much at the first check, of a service that was there before the observer.
    Inherited,
    /// It grows as connections close.
    StaircaseUp,
    /// It grows as connections open, or are refused.
    RisesWithOpenings,
    /// It grows from check to check by the same, while nothing came and nothing went.
    RisesWithReadings,
    /// It falls, and never by openings alone.
    StaircaseDown,
    /// The claim, or a part of it, fell while nothing came and nothing went.
    Reset,
    /// It came with a restart of the service.
    StepAtRestart,
    /// The gauge lacks what waits in the accept queue.
    FollowsAcceptQueue,
    /// The gauge has the kept-alive HTTP connections besides.
    FollowsHttp,
    /// The gauge stands still while connections come and go, and catches up later.
    Lags,
}

impl Shape {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 12] = [
        Self::ConstantOffset,
        Self::ConstantSurplus,
        Self::Inherited,
        Self::StaircaseUp,
        Self::RisesWithOpenings,
        Self::RisesWithReadings,
        Self::StaircaseDown,
        Self::Reset,
        Self::StepAtRestart,
        Self::FollowsAcceptQueue,
        Self::FollowsHttp,
        Self::Lags,
    ];

    /// Its name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ConstantOffset => "constant_offset",
            Self::ConstantSurplus => "constant_surplus",
            Self::Inherited => "inherited",
            Self::StaircaseUp => "staircase_up",
            Self::RisesWithOpenings => "rises_with_openings",
            Self::RisesWithReadings => "rises_with_readings",
            Self::StaircaseDown => "staircase_down",
            Self::Reset => "reset",
            Self::StepAtRestart => "step_at_restart",
            Self::FollowsAcceptQueue => "follows_accept_queue",
            Self::FollowsHttp => "follows_http",
            Self::Lags => "lags",
        }
    }

    /// The likely cause, in plain words.
    #[must_use]
    pub const fn cause(self) -> &'static str {
        match self {
            Self::ConstantOffset => "one kind of connection is not counted",
            Self::ConstantSurplus => {
                "something else is counted as well: another listener, other clients, or whoever reads the gauge"
            }
            Self::Inherited => "decrements were lost before the first check of the observer",
            Self::StaircaseUp => "a decrement is lost: connections end and the gauge is not told",
            Self::RisesWithOpenings => {
                "an increment too many: openings are counted twice, or refused ones or another port's as well"
            }
            Self::RisesWithReadings => "whoever reads the gauge is counted, and not counted out",
            Self::StaircaseDown => {
                "a decrement without an increment: on a rejected upgrade, or twice for one end"
            }
            Self::Reset => {
                "the gauge, or one worker's part of it, was set back while connections lived on"
            }
            Self::StepAtRestart => "the gauge's value was carried over a restart",
            Self::FollowsAcceptQueue => {
                "connections are counted when they are accepted, and the accept queue is stalled"
            }
            Self::FollowsHttp => "kept-alive HTTP connections are counted as well",
            Self::Lags => "the gauge is set from a value that was computed earlier",
        }
    }

    /// The shape of the drift that stands now; nothing where none stands.
    #[must_use]
    pub fn of(history: &History) -> Option<Self> {
        let levels = levels(history);
        let sure = levels.last()?.bounds.sure();
        if sure == 0 {
            return None;
        }
        let drifting = || {
            let away = levels.iter().filter(|level| level.bounds.sure() != 0);
            away.flat_map(|level| level.records.iter().copied())
        };
        if follows(drifting(), |record| -record.waiting.cast_signed()) {
            return Some(Self::FollowsAcceptQueue);
        }
        if follows(drifting(), |record| record.http.cast_signed()) {
            return Some(Self::FollowsHttp);
        }
        let steps: Vec<Step> = levels
            .windows(2)
            .filter_map(|pair| Step::between(&pair[0], &pair[1]))
            .collect();
        let away: Vec<&Step> = steps
            .iter()
            .filter(|step| !step.heals && step.is_up == (sure > 0))
            .collect();
        if away.is_empty() {
            return Self::of_first(history, levels.first()?, sure);
        }
        let catches_up = steps
            .iter()
            .any(|step| step.heals && step.claim_moved && step.openings + step.closings == 0);
        let stood_still = away.iter().all(|step| !step.claim_moved);
        if catches_up && stood_still {
            return Some(Self::Lags);
        }
        if sure > 0 && rises_alone(&away) {
            return Some(Self::RisesWithReadings);
        }
        let heals_with_traffic = steps.iter().any(|step| step.heals && !step.is_restart);
        Self::candidates(sure > 0, heals_with_traffic)
            .into_iter()
            .map(|shape| {
                let explained = away.iter().filter(|step| step.may_be(shape));
                (shape, explained.map(|step| step.size).sum::<u64>())
            })
            // Of those that explain as much, the first: `max_by_key` would take the last.
            .reduce(|best, other| if other.1 > best.1 { other } else { best })
            .map(|(shape, _)| shape)
            .filter(|shape| *shape != Self::ConstantOffset || has_followed(&levels))
    }

    /// A drift that was never seen to arise, if what there was since tells why.
    fn of_first(history: &History, first: &Level<'_>, sure: i64) -> Option<Self> {
        if sure < 0 {
            // A gauge that has not moved at all may be late as well.
            return first
                .has_claims_that_differ()
                .then_some(Self::ConstantOffset);
        }
        if first.after_restart {
            return Some(Self::StepAtRestart);
        }
        let origin = history.origin()?;
        // In busy traffic a drift may have arisen long after the first check, and nobody saw it.
        let had_it = origin.own.sure() > 0 && origin.own.and(first.bounds).is_some();
        if !had_it {
            return None;
        }
        // A service that loses decrements would have lost another one in as many closings.
        let is_enough = first.closings() >= Self::MANY + 4 * sure.unsigned_abs();
        match (is_enough, origin.was_there) {
            (true, _) => Some(Self::ConstantSurplus),
            (false, true) => Some(Self::Inherited),
            (false, false) => None,
        }
    }

    /// Closings after which a drift that has not changed is taken for constant, and four times its
    /// own size more.
    const MANY: u64 = 16;

    /// What may explain a drift, the likelier first. A lost or a surplus decrement never heals as
    /// connections come and go; a kind that is counted wrongly does.
    const fn candidates(is_over: bool, heals: bool) -> [Self; 4] {
        use Shape::{
            ConstantOffset, Reset, RisesWithOpenings, StaircaseDown, StaircaseUp, StepAtRestart,
        };
        match (is_over, heals) {
            (true, false) => [
                StepAtRestart,
                StaircaseUp,
                RisesWithOpenings,
                RisesWithOpenings,
            ],
            (true, true) => [StepAtRestart, RisesWithOpenings, StaircaseUp, StaircaseUp],
            (false, false) => [StepAtRestart, Reset, StaircaseDown, ConstantOffset],
            (false, true) => [StepAtRestart, Reset, ConstantOffset, StaircaseDown],
        }
    }
}

/// Checks in a row that one drift explains.
struct Level<'a> {
    bounds: Bounds,
    records: Vec<&'a Record>,
    /// Whether the service was restarted before it.
    after_restart: bool,
}

impl Level<'_> {
    /// A drift that no verdict confirmed may have been a late answer.
    fn is_known(&self) -> bool {
        let is_verdict =
            |record: &&Record| matches!(record.verdict(), Verdict::Over | Verdict::Under);
        self.bounds.sure() == 0 || self.records.iter().any(is_verdict)
    }

    fn has_claims_that_differ(&self) -> bool {
        self.records
            .windows(2)
            .any(|pair| pair[0].claim != pair[1].claim)
    }

    /// Connections that were closed within it.
    fn closings(&self) -> u64 {
        let closed = |record: &Record, of: fn(&Window) -> u64| record.window.as_ref().map(of);
        let first = self.records.first();
        let last = self.records.last();
        let from = first.and_then(|record| closed(record, |window| window.before.closed));
        let until = last.and_then(|record| closed(record, |window| window.after.closed));
        from.zip(until)
            .map_or(0, |(from, until)| until.saturating_sub(from))
    }
}

/// Whether the gauge was ever seen to have counted something, and right: it is not merely late.
fn has_followed(levels: &[Level<'_>]) -> bool {
    let right = levels.iter().filter(|level| level.bounds.sure() == 0);
    let mut records = right.flat_map(|level| &level.records);
    records.any(|record| record.claim.is_some_and(|claim| claim != 0))
}

fn levels(history: &History) -> Vec<Level<'_>> {
    let mut levels: Vec<Level<'_>> = Vec::new();
    let mut after_restart = false;
    // A service that was only started after the observer is no other one than before.
    let mut was_there = false;
    for record in history.iter() {
        was_there |= record.own().is_some() || record.finding.blind == Some(Blind::Restarted);
        after_restart |= was_there && record.is_restart();
        let Some(own) = record.own() else { continue };
        if let Some(level) = levels.last_mut()
            && !after_restart
            && let Some(both) = level.bounds.and(own)
        {
            level.bounds = both;
            level.records.push(record);
            continue;
        }
        levels.push(Level {
            bounds: own,
            records: vec![record],
            after_restart,
        });
        after_restart = false;
    }
    levels.retain(Level::is_known);
    levels
}

/// Whether at most checks, and at the last, the drift may have been this quantity and it was there.
fn follows<'a>(
    records: impl Iterator<Item = &'a Record>,
    quantity: impl Fn(&Record) -> i64,
) -> bool {
    let mut all = 0;
    let mut held = 0;
    let mut last = false;
    for record in records {
        let Some(own) = record.own() else { continue };
        let quantity = quantity(record);
        last = quantity != 0 && own.low <= quantity && quantity <= own.high;
        all += 1;
        held += usize::from(last);
    }
    last && held * 2 > all
}

/// What happened while one level gave way to another.
struct Step {
    size: u64,
    is_up: bool,
    /// Whether the drift came nearer to nothing by it.
    heals: bool,
    is_restart: bool,
    /// Whether the claim is another after it.
    claim_moved: bool,
    /// Whether nothing came to the service and nothing left it meanwhile.
    is_deserted: bool,
    openings: u64,
    closings: u64,
}

impl Step {
    /// Nothing where both may be the same drift.
    fn between(from: &Level<'_>, to: &Level<'_>) -> Option<Self> {
        let is_up = to.bounds.low > from.bounds.high;
        let is_down = to.bounds.high < from.bounds.low;
        if !is_up && !is_down {
            return None;
        }
        let (size, toward) = if is_up {
            (to.bounds.low.abs_diff(from.bounds.high), 1)
        } else {
            (from.bounds.low.abs_diff(to.bounds.high), -1)
        };
        let heals = from.bounds.sure().signum() == -toward;
        // The narrowest checks say most exactly what was so on either side.
        let before = narrowest(from.records.iter().rev())?;
        let after = narrowest(to.records.iter())?;
        let (from, until) = (before.window?.before, after.window?.after);
        let opened = until.opened.saturating_sub(from.opened);
        let closed = until.closed.saturating_sub(from.closed);
        let is_deserted = until.arrived == from.arrived && closed == 0;
        Some(Self {
            size,
            is_up,
            heals,
            is_restart: to.after_restart,
            claim_moved: before.claim != after.claim,
            is_deserted,
            openings: opened,
            closings: closed,
        })
    }

    /// Whether it may be a step of this shape.
    const fn may_be(&self, shape: Shape) -> bool {
        let Self {
            size,
            openings,
            closings,
            ..
        } = *self;
        match shape {
            Shape::StepAtRestart => self.is_restart,
            Shape::StaircaseUp => closings >= size,
            Shape::RisesWithOpenings => openings >= size || closings < size,
            Shape::ConstantOffset => openings >= size,
            Shape::StaircaseDown => closings >= size || openings < size,
            Shape::Reset => self.is_deserted,
            Shape::ConstantSurplus
            | Shape::Inherited
            | Shape::RisesWithReadings
            | Shape::FollowsAcceptQueue
            | Shape::FollowsHttp
            | Shape::Lags => false,
        }
    }
}

/// Whether the last steps are alike, and nothing but the claim moved.
fn rises_alone(steps: &[&Step]) -> bool {
    /// As many readings as are hardly chance.
    const ENOUGH: usize = 4;
    let Some(last) = steps.last_chunk::<ENOUGH>() else {
        return false;
    };
    let is_alone = |step: &&Step| step.is_deserted && step.claim_moved && !step.is_restart;
    last.iter()
        .all(|step| is_alone(step) && step.size == last[0].size)
}

fn narrowest<'a>(records: impl Iterator<Item = &'a &'a Record>) -> Option<&'a Record> {
    let width = |record: &Record| {
        record
            .interval
            .map_or(i64::MAX, |interval| interval.width())
    };
    records.copied().min_by_key(|record| width(record))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant, SystemTime};

    use super::*;
    use crate::check::{
        Allowance, Blind, Confirmation, Counts, Facts, Finding, Interval, Judge, Measured, Rules,
        TooWide, Window,
    };

    /// A run of checks in quiet moments: what the service did and what the kernel saw.
    struct Run {
        history: History,
        judge: Judge,
        counts: Counts,
        claim: i64,
        waiting: u64,
        http: u64,
    }

    impl Run {
        fn new() -> Self {
            Self {
                history: History::default(),
                judge: Judge::new(Rules {
                    confirmation: Confirmation {
                        checks: 2,
                        time: Duration::ZERO,
                    },
                    too_wide: TooWide {
                        share: f64::MAX,
                        has_kinds: true,
                    },
                }),
                counts: Counts::default(),
                claim: 0,
                waiting: 0,
                http: 0,
            }
        }

        /// So many connections open and close, the claim moves by so much; then three checks.
        fn then(mut self, opened: u64, closed: u64, claim: i64) -> Self {
            self.counts.opened += opened;
            self.counts.arrived += opened;
            self.counts.closed += closed;
            self.counts.ended += closed;
            self.claim += claim;
            for _ in 0..3 {
                let open = (self.counts.opened - self.counts.closed).cast_signed();
                let interval = Interval {
                    low: open,
                    high: open,
                };
                let finding = self.judge(None, interval);
                self.push(Some(interval), finding);
            }
            self
        }

        fn restart(self) -> Self {
            self.blind(Blind::Restarted)
        }

        fn blind(mut self, reason: Blind) -> Self {
            let nothing = Interval { low: 0, high: 0 };
            let finding = self.judge(Some(reason), nothing);
            self.push(None, finding);
            self
        }

        fn judge(&mut self, blind: Option<Blind>, interval: Interval) -> Finding {
            let read = Instant::now();
            self.judge.judge(&Facts {
                blind,
                claim: Ok(self.claim),
                measured: Some(Measured {
                    interval,
                    counts: Counts {
                        arrived: 1,
                        ..self.counts
                    },
                    allowance: Allowance::default(),
                }),
                read,
                at: SystemTime::UNIX_EPOCH,
                ends: read,
                agreed: Some(read),
                learnt: None,
            })
        }

        fn push(&mut self, interval: Option<Interval>, finding: Finding) {
            self.history.push(Record {
                at: SystemTime::UNIX_EPOCH,
                claim: Some(self.claim),
                interval,
                window: Some(Window {
                    begins: SystemTime::UNIX_EPOCH,
                    ends: SystemTime::UNIX_EPOCH,
                    before: self.counts,
                    after: self.counts,
                    allowance: Allowance::default(),
                }),
                finding,
                waiting: self.waiting,
                http: self.http,
            });
        }

        fn with(mut self, waiting: u64, http: u64) -> Self {
            (self.waiting, self.http) = (waiting, http);
            self
        }

        fn is(self, expected: Option<Shape>) {
            assert_eq!(Shape::of(&self.history), expected);
        }
    }

    #[test]
    fn an_honest_service_has_no_shape() {
        Run::new().is(None);
        Run::new().then(20, 0, 20).then(5, 15, -10).is(None);
        // Healed: nothing stands.
        Run::new().then(20, 0, 25).then(0, 0, -5).is(None);
    }

    #[test]
    fn a_lost_decrement_is_a_staircase_up() {
        Run::new()
            .then(20, 0, 20)
            .then(0, 4, 0)
            .is(Some(Shape::StaircaseUp));
        Run::new()
            .then(20, 0, 20)
            .then(5, 4, 5)
            .then(9, 10, 2)
            .is(Some(Shape::StaircaseUp));
    }

    #[test]
    fn a_surplus_increment_rises_with_openings() {
        Run::new()
            .then(0, 0, 0)
            .then(10, 0, 20)
            .is(Some(Shape::RisesWithOpenings));
        Run::new()
            .then(10, 0, 10)
            .then(0, 0, 3)
            .is(Some(Shape::RisesWithOpenings));
        // Twice up and twice down: it heals as they close.
        Run::new()
            .then(0, 0, 0)
            .then(10, 0, 20)
            .then(0, 9, -18)
            .is(Some(Shape::RisesWithOpenings));
    }

    #[test]
    fn a_claim_that_grows_by_itself_counts_its_readers() {
        let rising = |times: usize| {
            let run = Run::new().then(10, 0, 10);
            (0..times).fold(run, |run, _| run.then(0, 0, 1))
        };
        rising(4).is(Some(Shape::RisesWithReadings));
        // What grows three times may be refused, or of another port.
        rising(3).is(Some(Shape::RisesWithOpenings));
        rising(4).then(0, 0, 2).is(Some(Shape::RisesWithOpenings));
    }

    #[test]
    fn a_surplus_decrement_is_a_staircase_down() {
        Run::new()
            .then(10, 0, 10)
            .then(0, 2, -4)
            .is(Some(Shape::StaircaseDown));
        // Three were refused before they became a connection of this kind.
        let mut run = Run::new().then(10, 0, 10);
        run.counts.arrived += 3;
        run.then(0, 0, -3).is(Some(Shape::StaircaseDown));
    }

    #[test]
    fn a_kind_that_is_not_counted_is_an_offset() {
        Run::new()
            .then(7, 0, 0)
            .then(5, 2, 3)
            .is(Some(Shape::ConstantOffset));
        let followed = || Run::new().then(0, 0, 0).then(10, 0, 10);
        followed().then(5, 0, 0).is(Some(Shape::ConstantOffset));
        followed()
            .then(5, 0, 0)
            .then(8, 8, 1)
            .then(9, 6, 0)
            .is(Some(Shape::ConstantOffset));
    }

    #[test]
    fn a_gauge_that_was_never_seen_to_move_may_be_late_or_lack_a_kind() {
        Run::new().then(7, 0, 0).is(None);
        Run::new().then(0, 0, 0).then(7, 0, 0).is(None);
    }

    #[test]
    fn too_much_at_the_first_check_is_inherited() {
        Run::new().then(7, 0, 9).is(Some(Shape::Inherited));
        Run::new()
            .then(7, 0, 9)
            .then(3, 5, -2)
            .is(Some(Shape::Inherited));
    }

    #[test]
    fn too_much_by_the_same_however_many_come_and_go_is_a_surplus() {
        Run::new()
            .then(7, 0, 9)
            .then(30, 30, 0)
            .is(Some(Shape::ConstantSurplus));
        // It was started after the observer: nothing can have been lost before.
        Run::new()
            .blind(Blind::NotListening)
            .then(30, 0, 33)
            .is(None);
        Run::new()
            .blind(Blind::NotListening)
            .then(30, 0, 33)
            .then(0, 30, -30)
            .is(Some(Shape::ConstantSurplus));
    }

    #[test]
    fn what_arose_unseen_in_busy_traffic_has_no_cause() {
        let mut run = Run::new();
        run.counts.opened = 20;
        run.claim = 25;
        let wide = Interval { low: 0, high: 90 };
        let finding = run.judge(None, wide);
        run.push(Some(wide), finding);
        run.then(0, 0, 0).is(None);
    }

    #[test]
    fn a_value_that_falls_while_nothing_happens_is_a_reset() {
        Run::new()
            .then(10, 0, 10)
            .then(0, 0, -10)
            .is(Some(Shape::Reset));
        // One worker's part of it.
        Run::new()
            .then(10, 0, 10)
            .then(0, 0, -5)
            .is(Some(Shape::Reset));
    }

    #[test]
    fn a_value_that_outlives_its_process_steps_at_the_restart() {
        Run::new()
            .then(10, 0, 10)
            .restart()
            .then(0, 10, 0)
            .is(Some(Shape::StepAtRestart));
        Run::new()
            .restart()
            .then(0, 0, 10)
            .is(Some(Shape::StepAtRestart));
        // One that was only started after the observer carried nothing over.
        Run::new()
            .blind(Blind::NotListening)
            .then(0, 0, 10)
            .is(None);
    }

    #[test]
    fn what_it_follows_is_told_from_the_kernel_s_other_counts() {
        Run::new()
            .then(5, 0, 5)
            .with(4, 0)
            .then(4, 0, 0)
            .with(7, 0)
            .then(3, 0, 0)
            .is(Some(Shape::FollowsAcceptQueue));
        Run::new()
            .then(5, 0, 5)
            .with(0, 3)
            .then(0, 0, 3)
            .with(0, 6)
            .then(0, 0, 3)
            .is(Some(Shape::FollowsHttp));
    }

    #[test]
    fn a_stale_value_stands_still_and_catches_up() {
        Run::new()
            .then(10, 0, 0)
            .then(0, 0, 10)
            .then(0, 4, 0)
            .then(0, 0, -4)
            .then(3, 0, 0)
            .is(Some(Shape::Lags));
    }

    #[test]
    fn every_shape_has_a_name_and_a_cause_of_its_own() {
        for shape in Shape::ALL {
            let same =
                |other: &&Shape| other.name() == shape.name() || other.cause() == shape.cause();
            assert_eq!(Shape::ALL.iter().filter(same).count(), 1, "{shape:?}");
        }
    }

    #[test]
    fn every_shape_is_explained_in_the_docs() {
        let docs = include_str!("../../../docs/DRIFT.md");
        for shape in Shape::ALL {
            let section = format!(
                "### `{}`\n\nLikely cause: {}.\n",
                shape.name(),
                shape.cause()
            );
            assert!(docs.contains(&section), "docs/DRIFT.md lacks\n{section}");
        }
    }
}
