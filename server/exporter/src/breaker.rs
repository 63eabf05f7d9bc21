//! Circuit breakers: stop asking a dependency that fails, and try it again after a while.
//!
//! Knows the three states and shows each change at once. Deliberately does not know what a failure
//! is; the caller says. Time is given to the state machine, it reads no clock: only [`Breaker::due`],
//! which waits until it is time to ask again where nobody else does.
//!
//! ```text
//!            failures in a row                time is over, and somebody asks
//!   closed ────────────────────►  open  ─────────────────────────────────────►  half-open
//!     ▲                             ▲                                              │  │
//!     │                             └───────────────────── it failed ──────────────┘  │
//!     └─────────────────────────────────────────────────── it worked ─────────────────┘
//! ```

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{Counter, Gauge};
use tokio::{sync::Notify, time::sleep_until};

/// Longest time for which a dependency is left alone, whatever is configured: no clock ends before.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Failures in a row that open it.
    pub failures: u32,
    /// Time from opening to the next attempt.
    pub cool_down: Duration,
}

/// The names of the states, as the label of transitions has them.
pub const STATES: &[&str] = &["closed", "half_open", "open"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { is_probing: bool },
}

impl State {
    fn place(self) -> usize {
        match self {
            Self::Closed { .. } => 0,
            Self::HalfOpen { .. } => 1,
            Self::Open { .. } => 2,
        }
    }

    fn label(self) -> &'static str {
        STATES[self.place()]
    }
}

/// The breaker of one dependency.
pub struct Breaker {
    name: &'static str,
    policy: Policy,
    circuit: Mutex<Circuit>,
    /// Told of each change, and of each attempt that was cancelled.
    changed: Notify,
    state: Gauge,
    transitions: [Counter; 3],
}

struct Circuit {
    state: State,
    /// Grows with each change: a verdict on an earlier state no longer counts.
    generation: u64,
}

/// The dependency is not to be asked before this time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not asked, because it kept failing")]
pub struct Open {
    /// Time until the next attempt is made.
    pub retry_after: Duration,
}

impl Breaker {
    /// A closed breaker. `state` is 0 while it is closed, 1 half-open, 2 open; `transitions` is asked for
    /// the counter of changes to each of [`STATES`].
    pub fn new(
        name: &'static str,
        policy: Policy,
        state: Gauge,
        transitions: impl Fn(&'static str) -> Counter,
    ) -> Self {
        state.set(0);
        let circuit = Mutex::new(Circuit {
            state: State::Closed { failures: 0 },
            generation: 0,
        });
        Self {
            name,
            policy,
            circuit,
            changed: Notify::new(),
            state,
            transitions: [STATES[0], STATES[1], STATES[2]].map(transitions),
        }
    }

    /// Asks to use the dependency.
    ///
    /// # Errors
    /// When it is left alone, or another attempt is being made to find out whether it works.
    pub fn admit(&self, now: Instant) -> Result<Admission<'_>, Open> {
        let mut circuit = self.lock();
        if matches!(circuit.state, State::Open { until } if now >= until) {
            self.change(&mut circuit, State::HalfOpen { is_probing: false });
        }
        match circuit.state {
            State::Closed { .. } => {}
            State::HalfOpen { is_probing: false } => {
                circuit.state = State::HalfOpen { is_probing: true };
            }
            State::HalfOpen { is_probing: true } => {
                return Err(Open {
                    retry_after: Duration::from_secs(1),
                });
            }
            State::Open { until } => {
                return Err(Open {
                    retry_after: until - now,
                });
            }
        }
        let is_probe = circuit.state == State::HalfOpen { is_probing: true };
        Ok(Admission {
            breaker: self,
            generation: circuit.generation,
            is_probe,
        })
    }

    /// Nothing if the dependency is known to work; else, how long it is to be left alone, or tried out.
    ///
    /// # Errors
    /// When it is not known to work.
    pub fn check(&self, now: Instant) -> Result<(), Open> {
        let retry_after = match self.lock().state {
            State::Closed { .. } => return Ok(()),
            State::Open { until } => until.saturating_duration_since(now),
            State::HalfOpen { .. } => Duration::from_secs(1),
        };
        Err(Open { retry_after })
    }

    /// Waits until the dependency was left alone for as long as it is to be, and nobody asks it: a
    /// breaker that nobody asks would never close.
    pub async fn due(&self) {
        loop {
            let changed = self.changed.notified();
            let state = self.lock().state;
            match state {
                State::HalfOpen { is_probing: false } => return,
                State::Open { until } if until <= Instant::now() => return,
                State::Open { until } => sleep_until(until.into()).await,
                State::Closed { .. } | State::HalfOpen { is_probing: true } => changed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        // Nothing panics while it holds the lock.
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, circuit: &mut Circuit, state: State) {
        circuit.state = state;
        circuit.generation += 1;
        self.changed.notify_one();
        self.state.set(state.place() as f64);
        self.transitions[state.place()].increment(1);
        tracing::warn!(
            breaker = self.name,
            state = state.label(),
            "circuit breaker changed"
        );
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Breaker")
            .field("name", &self.name)
            .field("state", &self.lock().state)
            .finish_non_exhaustive()
    }
}

/// Leave to use the dependency. Dropped without a verdict, it says nothing of the dependency.
#[derive(Debug)]
pub struct Admission<'a> {
    breaker: &'a Breaker,
    generation: u64,
    is_probe: bool,
}

impl Admission<'_> {
    /// Says whether the dependency worked; may be said several times.
    pub fn record(&self, is_working: bool, now: Instant) {
        let breaker = self.breaker;
        let mut circuit = breaker.lock();
        if circuit.generation != self.generation {
            return;
        }
        match (circuit.state, is_working) {
            (State::Closed { .. }, true) => circuit.state = State::Closed { failures: 0 },
            (State::HalfOpen { .. }, true) => {
                breaker.change(&mut circuit, State::Closed { failures: 0 });
            }
            (State::Closed { failures }, false) if failures + 1 < breaker.policy.failures => {
                circuit.state = State::Closed {
                    failures: failures + 1,
                };
            }
            (State::Closed { .. } | State::HalfOpen { .. }, false) => {
                let until = now + breaker.policy.cool_down.min(LONGEST);
                breaker.change(&mut circuit, State::Open { until });
            }
            (State::Open { .. }, _) => {}
        }
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        let mut circuit = self.breaker.lock();
        if self.is_probe && circuit.generation == self.generation {
            // The attempt was cancelled: the next caller makes it instead.
            circuit.state = State::HalfOpen { is_probing: false };
            self.breaker.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::{Registry, label};

    crate::catalogue! {
        /// Two.
        CATALOGUE:
        STATE = gauge, "circuit_breaker_state" [] "state"
            "State.";
        TRANSITIONS = counter, "transitions_total" [label("to", STATES)] "transitions"
            "Changes.";
    }

    const COOL_DOWN: Duration = Duration::from_secs(5);

    fn breaker() -> (Breaker, Registry, Instant) {
        let registry = Registry::new(&[CATALOGUE]).unwrap();
        let policy = Policy {
            failures: 2,
            cool_down: COOL_DOWN,
        };
        let state = registry.gauge(&STATE, []);
        let transitions = |to| registry.counter(&TRANSITIONS, [to]);
        let breaker = Breaker::new("database", policy, state, transitions);
        (breaker, registry, Instant::now())
    }

    fn shown(registry: &Registry) -> String {
        let text = registry.render();
        let prefix = "circuit_breaker_state ";
        text.lines()
            .find_map(|line| line.strip_prefix(prefix))
            .unwrap()
            .to_owned()
    }

    #[test]
    fn the_gauge_follows_every_change() {
        let (breaker, registry, now) = breaker();
        assert_eq!(shown(&registry), "0");
        breaker.admit(now).unwrap().record(false, now);
        assert_eq!(shown(&registry), "0");
        breaker.admit(now).unwrap().record(false, now);
        assert_eq!(shown(&registry), "2");
        assert_eq!(
            breaker.admit(now).err(),
            Some(Open {
                retry_after: COOL_DOWN
            })
        );
        assert_eq!(shown(&registry), "2");
        assert_eq!(breaker.check(now).unwrap_err().retry_after, COOL_DOWN);
        let attempt = breaker.admit(now + COOL_DOWN).unwrap();
        assert!(breaker.check(now).is_err());
        assert_eq!(shown(&registry), "1");
        attempt.record(true, now + COOL_DOWN);
        assert_eq!(shown(&registry), "0");
        let page = registry.render();
        for to in STATES {
            let line = format!("transitions_total{{to=\"{to}\"}} 1\n");
            assert!(page.contains(&line), "{line}: {page}");
        }
    }

    #[test]
    fn half_open_lets_one_through_and_a_cancelled_one_makes_room() {
        let (breaker, registry, now) = breaker();
        for _ in 0..2 {
            breaker.admit(now).unwrap().record(false, now);
        }
        let later = now + COOL_DOWN;
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err());
        drop(probe);
        breaker.admit(later).unwrap().record(false, later);
        assert_eq!(shown(&registry), "2");
    }

    #[tokio::test]
    async fn it_is_due_when_its_time_is_over_and_nobody_asks() {
        let (breaker, _, now) = breaker();
        let is_due = || breaker.due().now_or_never().is_some();
        let fail = |at| {
            for _ in 0..2 {
                breaker.admit(at).unwrap().record(false, at);
            }
        };
        assert!(!is_due(), "a closed one never is");
        fail(now - COOL_DOWN);
        assert!(is_due());
        let attempt = breaker.admit(now).unwrap();
        assert!(!is_due(), "somebody asks");
        drop(attempt);
        assert!(is_due(), "nobody asks any more");
        breaker.admit(now).unwrap().record(true, now);
        assert!(!is_due());
        fail(now);
        assert!(!is_due(), "it is left alone");
    }

    #[test]
    fn a_verdict_on_an_earlier_state_is_ignored() {
        let (breaker, registry, now) = breaker();
        let late = breaker.admit(now).unwrap();
        for _ in 0..2 {
            breaker.admit(now).unwrap().record(false, now);
        }
        late.record(true, now);
        assert_eq!(shown(&registry), "2");
    }

    #[test]
    fn a_cool_down_that_no_clock_holds_is_a_long_one() {
        let (mut breaker, registry, now) = breaker();
        breaker.policy.cool_down = Duration::MAX;
        for _ in 0..2 {
            breaker.admit(now).unwrap().record(false, now);
        }
        assert_eq!(shown(&registry), "2");
        assert!(breaker.admit(now).is_err());
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let (breaker, registry, now) = breaker();
        for is_working in [false, true, false] {
            breaker.admit(now).unwrap().record(is_working, now);
        }
        assert_eq!(shown(&registry), "0");
    }
}
