//! Sockets that are no connections of their own: the further subflows of MPTCP (RFC 8684).
//!
//! A service that listens with MPTCP, as Go's do by default, may get a connection over several paths.
//! The kernel has a TCP socket for each, and the service one connection. All of them have the file of
//! that connection: the same inode (`mptcp_sock_graft()` of `net/mptcp/protocol.h`), which two sockets
//! of other protocols never have.

use super::{
    endpoint::{Endpoint, WitnessError},
    endpoints::Endpoints,
    openings,
};

impl Endpoint {
    /// Open sockets that are further subflows.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub fn subflows(&self) -> Result<u64, WitnessError> {
        let mut inodes = self.details(|entry| entry.inode != 0, |entry, _| entry.inode)?;
        let sockets = inodes.len();
        inodes.sort_unstable();
        inodes.dedup();
        Ok((sockets - inodes.len()) as u64)
    }
}

impl Endpoints {
    /// Subflows that were opened in the network namespace so far, for whatever program, both ways.
    ///
    /// # Errors
    /// When it is not there, or does not tell.
    pub(super) fn subflows_so_far(&self) -> Result<u64, WitnessError> {
        let Some(endpoint) = self.iter().next() else {
            return Ok(0);
        };
        let place = endpoint.place()?;
        Ok(openings::subflows_so_far(&place.namespace)?)
    }

    /// Those of all of them.
    ///
    /// # Errors
    /// When there is no complete dump.
    pub(super) fn subflows(&self) -> Result<u64, WitnessError> {
        self.iter()
            .try_fold(0, |all, endpoint| Ok(all + endpoint.subflows()?))
    }
}
