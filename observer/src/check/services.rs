//! Simulated services whose lags are known, for `learning`.

use std::{
    ops::RangeInclusive,
    sync::LazyLock,
    time::{Duration, Instant},
};

use super::*;

pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// Between two checks. Unit: milliseconds.
pub(super) const PAUSE: f64 = 1_000.0;
/// Mean life of a connection. Unit: milliseconds.
const LIFE: f64 = 1_000.0;

/// Numbers that are the same at every run.
struct Random(u64);

impl Random {
    /// Evenly from 0 to 1: splitmix64.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.even()).ln()
    }
}

/// How late a service counts. Unit: milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Late {
    No,
    Always(f64),
    UpTo(f64),
    /// Some are that late, the rest not at all.
    Some {
        share: f64,
        by: f64,
    },
    /// On average; a few are very late.
    Around(f64),
}

impl Late {
    fn draw(self, random: &mut Random) -> f64 {
        match self {
            Self::No => 0.0,
            Self::Always(by) => by,
            Self::UpTo(most) => random.even() * most,
            Self::Some { share, by } if random.even() < share => by,
            Self::Some { .. } => 0.0,
            Self::Around(mean) => random.exponential(mean),
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Service {
    /// Connections a second.
    pub(super) rate: f64,
    /// Whether they come like clockwork.
    pub(super) is_even: bool,
    pub(super) openings: Late,
    pub(super) closings: Late,
    /// Between two samples of the kernel's counts. Unit: milliseconds.
    pub(super) beat: f64,
    /// Whether the counts are read closely besides, at the lags that seem to be the service's.
    pub(super) is_close: bool,
    pub(super) drift: i64,
}

pub(super) const HONEST: Service = Service {
    rate: 100.0,
    is_even: false,
    openings: Late::No,
    closings: Late::No,
    beat: 20.0,
    is_close: false,
    drift: 0,
};

/// What happened, and when: each sorted.
pub(super) struct Run {
    pub(super) opened: Vec<f64>,
    pub(super) ended: Vec<f64>,
    pub(super) incremented: Vec<f64>,
    pub(super) decremented: Vec<f64>,
}

impl Service {
    fn run(&self, checks: u32, random: &mut Random) -> Run {
        let last = (f64::from(checks) + 3.0) * PAUSE;
        let gap = 1_000.0 / self.rate;
        let mut run = Run {
            opened: Vec::new(),
            ended: Vec::new(),
            incremented: Vec::new(),
            decremented: Vec::new(),
        };
        let mut opened = -3.0 * LIFE;
        while opened < last {
            let ended = opened
                + if self.is_even {
                    LIFE
                } else {
                    random.exponential(LIFE)
                };
            let incremented = opened + self.openings.draw(random);
            let decremented = (ended + self.closings.draw(random)).max(incremented);
            run.opened.push(opened);
            run.ended.push(ended);
            run.incremented.push(incremented);
            run.decremented.push(decremented);
            opened += if self.is_even {
                gap
            } else {
                random.exponential(gap)
            };
        }
        for moments in [&mut run.ended, &mut run.incremented, &mut run.decremented] {
            moments.sort_by(f64::total_cmp);
        }
        run
    }

    /// Everything that is said of the service, from the check on at which anything is.
    pub(super) fn learn(&self, checks: u32, seed: u64) -> Vec<Likely> {
        self.teach(&mut Learner::new(SETTLE), checks, seed)
    }

    /// The same, of a learner that can be asked afterwards.
    pub(super) fn teach(&self, learner: &mut Learner, checks: u32, seed: u64) -> Vec<Likely> {
        let mut random = Random(seed);
        let run = self.run(checks, &mut random);
        let mut said = Vec::new();
        for check in 0..checks {
            let moment = (f64::from(check) + 2.0 + 0.1 * random.even()) * PAUSE;
            let mut samples = run.samples(moment, self.beat, random.even());
            if self.is_close {
                run.look(&mut samples, moment, &learner.nearest_lags());
            }
            let claim = past(&run.incremented, moment) - past(&run.decremented, moment);
            let claimed = Claimed {
                claim: claim.cast_signed() + self.drift,
                moment: instant(moment),
                samples: &samples,
                slack: Slack::default(),
            };
            said.extend(learner.note(&UNSURE, Some(&claimed)));
        }
        said
    }
}

impl Run {
    /// The samples around a claim, whose beat has nothing to do with it.
    pub(super) fn samples(&self, moment: f64, beat: f64, phase: f64) -> Samples {
        let mut samples = Samples::new(SETTLE * 4);
        let mut at = moment - 1_000.0 - beat * (1.0 + phase);
        while at < moment + 2.0 * beat {
            let counts = Counts {
                opened: past(&self.opened, at),
                ended: past(&self.ended, at),
                ..Counts::default()
            };
            let sample = Sample {
                began: instant(at),
                finished: instant(at),
                counts,
            };
            samples.push(sample, None);
            at += beat;
        }
        samples
    }

    /// Looks closely at some lags before a claim, four times a millisecond.
    fn look(&self, samples: &mut Samples, moment: f64, lags: &[RangeInclusive<Duration>]) {
        let millis = |lag: &Duration| lag.as_secs_f64() * 1_000.0;
        let spans = lags
            .iter()
            .map(|lags| (millis(lags.end()), millis(lags.start())));
        let mut moments: Vec<f64> = spans
            .flat_map(|(from, to)| {
                let looks = ((from - to + 8.0) * 4.0) as u32;
                (0..looks).map(move |look| moment - from - 2.0 + f64::from(look) / 4.0)
            })
            .collect();
        moments.sort_by(f64::total_cmp);
        for at in moments {
            samples.glance(Glance {
                at: instant(at),
                opened: past(&self.opened, at),
                ended: past(&self.ended, at),
            });
        }
    }
}

/// A check at which nothing is sure.
pub(super) const UNSURE: Finding = Finding {
    verdict: Verdict::Agree,
    rule: Rule::Within,
    blind: None,
    drift: Some(Bounds {
        low: -100_000,
        high: 100_000,
    }),
    ..Finding::blind(Blind::NotSeeded)
};

fn past(moments: &[f64], moment: f64) -> u64 {
    moments.partition_point(|at| *at <= moment) as u64
}

pub(super) fn instant(millis: f64) -> Instant {
    static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);
    *BASE + Duration::from_secs_f64((millis + 10_000.0) / 1_000.0)
}

/// Every way in which an honest service may be late, one after the other.
pub(super) const LATENESS: [(Late, Late); 10] = [
    (Late::No, Late::No),
    (Late::Always(50.0), Late::Always(50.0)),
    (Late::UpTo(50.0), Late::UpTo(50.0)),
    (Late::UpTo(50.0), Late::No),
    (Late::No, Late::UpTo(50.0)),
    (Late::No, Late::Always(500.0)),
    (Late::No, Late::UpTo(500.0)),
    (Late::No, Late::Around(50.0)),
    (
        Late::No,
        Late::Some {
            share: 0.1,
            by: 500.0,
        },
    ),
    (
        Late::Some {
            share: 0.5,
            by: 400.0,
        },
        Late::No,
    ),
];
