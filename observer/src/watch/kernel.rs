//! What all endpoints share of the kernel: the programs, or why there are none.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use observer_ebpf::{Durations, Losses};

use super::lock;
use crate::{
    config::{self, Backend, Listen},
    probe::{KernelLog, LoadError, MapAccessError, Options, Probe, ProgramReport, chain},
};

/// The kernel's side of the observer.
pub struct Kernel {
    probe: Option<Arc<Probe>>,
    log: Mutex<Option<KernelLog>>,
    blind_to_websockets: Option<String>,
    audit: Mutex<Option<Audit>>,
    audited_at: Mutex<Option<Instant>>,
}

/// By how much the identities of the programs' counts do not hold. The third, opened − closed =
/// open, is what an endpoint's survey looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// Seen, less stored, map_full and ignored.
    pub seen: i64,
    /// Stored, less what was opened over all targets.
    pub stored: i64,
}

/// Between two audits at least.
const AUDIT_BEAT: Duration = Duration::from_millis(500);

/// Looks in a row at counts that may be on their way.
const LOOKS: u32 = 5;

impl Kernel {
    /// Attaches the programs, or falls back to `sock_diag` where the configuration lets it.
    ///
    /// # Errors
    /// When the configuration demands the programs and they cannot be had.
    pub fn open(config: &config::Kernel, listens: &[Listen]) -> Result<Self, LoadError> {
        let options = Options::from(config);
        let attached = match config.backend {
            Backend::SockDiag => None,
            Backend::Ebpf => Some(Probe::attach(&options, listens)?),
            Backend::Auto => match Probe::attach(&options, listens) {
                Ok(probe) => Some(probe),
                Err(error) => {
                    tracing::warn!(
                        error = chain(&error),
                        hint = error.hint(),
                        "no BPF programs: falling back to sock_diag, which sees TCP states only"
                    );
                    None
                }
            },
        };
        let Some(mut probe) = attached else {
            return Ok(Self {
                probe: None,
                log: Mutex::new(None),
                blind_to_websockets: Some("sock_diag sees no payload".to_owned()),
                audit: Mutex::default(),
                audited_at: Mutex::default(),
            });
        };
        let blind_to_websockets = probe.egress_refused().map(|error| {
            tracing::warn!(
                error = chain(error),
                hint = error.hint(),
                "WebSockets cannot be told apart: a target that counts them is blind"
            );
            chain(error)
        });
        if probe.missed().is_none() {
            tracing::warn!(
                "the kernel does not say in /proc/self/fdinfo how many events it withheld: only a \
                 comparison with sock_diag can show that some are missing"
            );
        }
        let log = probe.take_log();
        Ok(Self {
            probe: Some(Arc::new(probe)),
            log: Mutex::new(log),
            blind_to_websockets,
            audit: Mutex::default(),
            audited_at: Mutex::default(),
        })
    }

    /// Looks whether the identities of the programs' counts hold.
    ///
    /// The counts of an event are not written at one moment: of some looks the best one is kept.
    pub fn audit(&self) {
        let Some(probe) = &self.probe else {
            return;
        };
        // It reads the counts of every target: once for all whose surveys are due together.
        let mut audited = lock(&self.audited_at);
        if audited.is_some_and(|at| at.elapsed() < AUDIT_BEAT) {
            return;
        }
        *audited = Some(Instant::now());
        let mut best: Option<Audit> = None;
        for _ in 0..LOOKS {
            let Ok(audit) = look(probe) else {
                return;
            };
            best = Some(match best {
                None => audit,
                Some(best) => Audit {
                    seen: smaller(best.seen, audit.seen),
                    stored: smaller(best.stored, audit.stored),
                },
            });
            if best == Some(Audit { seen: 0, stored: 0 }) {
                break;
            }
        }
        *lock(&self.audit) = best;
    }

    /// What the last look at the identities found; none without programs.
    #[must_use]
    pub fn audited(&self) -> Option<Audit> {
        *lock(&self.audit)
    }

    /// The programs' maps.
    #[must_use]
    pub fn probe(&self) -> Option<Arc<Probe>> {
        self.probe.clone()
    }

    /// `ebpf` or `sock-diag`.
    #[must_use]
    pub const fn backend(&self) -> &'static str {
        if self.probe.is_some() {
            "ebpf"
        } else {
            "sock-diag"
        }
    }

    /// Why WebSockets cannot be told from other connections, if they cannot.
    #[must_use]
    pub fn blind_to_websockets(&self) -> Option<&str> {
        self.blind_to_websockets.as_deref()
    }

    /// Events that no program saw or understood, over all targets: each may be a socket of any.
    #[must_use]
    pub fn lost_events(&self) -> u64 {
        let missed = self.probe.as_ref().and_then(|probe| probe.missed());
        let astray = self.audited().map_or(0, |Audit { seen, stored }| {
            seen.unsigned_abs() + stored.unsigned_abs()
        });
        missed.unwrap_or(0) + astray + self.losses().map_or(0, |losses| losses.read_failed)
    }

    /// What was seen on targets' ports and what of it was not taken in.
    #[must_use]
    pub fn losses(&self) -> Option<Losses> {
        let probe = self.probe.as_ref()?;
        probe.losses().ok()
    }

    /// What the kernel says of each program; empty without programs.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramReport> {
        self.probe
            .as_ref()
            .map(|probe| probe.programs())
            .unwrap_or_default()
    }

    /// How long the closed sockets of an endpoint lived.
    #[must_use]
    pub fn durations(&self, index: u32) -> Option<Durations> {
        let probe = self.probe.as_ref()?;
        probe.tallies().durations(index).ok()
    }

    /// How long the ended WebSockets of an endpoint were ones.
    #[must_use]
    pub fn websocket_durations(&self, index: u32) -> Option<Durations> {
        let probe = self.probe.as_ref()?;
        probe.tallies().websocket_durations(index).ok()
    }

    /// How many sockets there is room for.
    #[must_use]
    pub fn max_sockets(&self) -> Option<u32> {
        let probe = self.probe.as_ref()?;
        Some(probe.sockets().room())
    }

    /// Hands on what the programs logged.
    pub fn flush_log(&self) {
        if let Some(log) = lock(&self.log).as_mut() {
            log.flush();
        }
    }
}

/// Compares what does not grow at one moment: each count with what the other was before and after.
fn look(probe: &Probe) -> Result<Audit, MapAccessError> {
    let before = probe.losses()?;
    let opened = probe.tallies().opened()?;
    let after = probe.losses()?;
    Ok(Audit {
        seen: apart(
            (before.seen, after.seen),
            (before.accounted(), after.accounted()),
        ),
        stored: apart((before.stored, after.stored), (opened, opened)),
    })
}

/// By how much one count is surely more than another, or less; each was read before and after.
fn apart(one: (u64, u64), other: (u64, u64)) -> i64 {
    if one.0 > other.1 {
        (one.0 - other.1).cast_signed()
    } else if one.1 < other.0 {
        -(other.0 - one.1).cast_signed()
    } else {
        0
    }
}

/// The one that is nearer to 0.
fn smaller(one: i64, other: i64) -> i64 {
    if one.unsigned_abs() < other.unsigned_abs() {
        one
    } else {
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_grow_meanwhile_are_not_apart() {
        assert_eq!(apart((5, 5), (5, 5)), 0);
        assert_eq!(apart((5, 9), (5, 8)), 0);
        assert_eq!(apart((5, 9), (7, 7)), 0);
    }

    #[test]
    fn counts_that_differ_whenever_they_are_read_are_apart() {
        assert_eq!(apart((7, 9), (3, 5)), 2);
        assert_eq!(apart((3, 5), (7, 9)), -2);
        assert_eq!(apart((6, 6), (5, 5)), 1);
    }
}
