//! Putting sockets into the map of sockets and taking them out, with what that adds to the counts.
//!
//! What the programs would have counted is counted here, and kept beside their own counts.

use observer_ebpf::{Alone, Life, Socket, TCP_CLOSE, Tally};

use super::{
    endpoint::{Endpoint, WitnessError},
    look::Difference,
};
use crate::{
    probe::{MapAccessError, Probe},
    sock_diag::Listed,
};

impl Endpoint {
    /// Makes the map agree with what is listed; returns whether it changed.
    pub(super) fn repair(
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
    pub(super) fn take_in(&self, probe: &Probe, listed: Listed) -> Result<bool, WitnessError> {
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
        probe.sockets().each(|cookie, socket| {
            if socket.target == self.index() {
                tracked.push((cookie, socket));
            }
        })?;
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
