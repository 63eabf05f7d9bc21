//! What all endpoints share of the kernel: the programs, or why there are none.

use std::sync::{Arc, Mutex};

use observer_ebpf::{Durations, Losses, TargetKey};

use super::lock;
use crate::{
    config::{self, Backend},
    probe::{KernelLog, LIFECYCLE, LoadError, Options, Probe, ProgramReport, chain},
};

/// The kernel's side of the observer.
pub struct Kernel {
    probe: Option<Arc<Mutex<Probe>>>,
    log: Mutex<Option<KernelLog>>,
    blind_to_websockets: Option<String>,
}

impl Kernel {
    /// Attaches the programs, or falls back to `sock_diag` where the configuration lets it.
    ///
    /// # Errors
    /// When the configuration demands the programs and they cannot be had.
    pub fn open(config: &config::Kernel, keys: &[TargetKey]) -> Result<Self, LoadError> {
        let options = Options::from(config);
        let attached = match config.backend {
            Backend::SockDiag => None,
            Backend::Ebpf => Some(Probe::attach(&options, keys)?),
            Backend::Auto => match Probe::attach(&options, keys) {
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
            });
        };
        let blind_to_websockets = probe.egress_refused().map(|error| {
            tracing::warn!(
                error = chain(error),
                hint = error.hint(),
                "WebSockets can't be told apart: a target that counts them is blind"
            );
            chain(error)
        });
        let log = probe.take_log();
        Ok(Self {
            probe: Some(Arc::new(Mutex::new(probe))),
            log: Mutex::new(log),
            blind_to_websockets,
        })
    }

    /// The programs' maps.
    #[must_use]
    pub fn probe(&self) -> Option<Arc<Mutex<Probe>>> {
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
        let missed: u64 = self
            .programs()
            .iter()
            .filter(|program| program.name == LIFECYCLE)
            .map(|program| program.missed)
            .sum();
        missed + self.losses().map_or(0, |losses| losses.read_failed)
    }

    /// What was seen on targets' ports and what of it was not taken in.
    #[must_use]
    pub fn losses(&self) -> Option<Losses> {
        let probe = self.probe.as_ref()?;
        lock(probe).losses().ok()
    }

    /// What the kernel says of each program; empty without programs.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramReport> {
        self.probe
            .as_ref()
            .map(|probe| lock(probe).programs())
            .unwrap_or_default()
    }

    /// How long the closed sockets of an endpoint lived.
    #[must_use]
    pub fn durations(&self, index: u32) -> Option<Durations> {
        let probe = self.probe.as_ref()?;
        lock(probe).durations(index).ok()
    }

    /// Capacity of the map of sockets.
    #[must_use]
    pub fn max_sockets(&self) -> Option<u32> {
        let probe = self.probe.as_ref()?;
        Some(lock(probe).max_sockets())
    }

    /// Hands on what the programs logged.
    pub fn flush_log(&self) {
        if let Some(log) = lock(&self.log).as_mut() {
            log.flush();
        }
    }
}
