//! Who serves an address that a target names: a listening socket of its own, or one of any address.
//!
//! The kernel gives a connection to the most specific listening socket, and the programs count it for
//! the most specific endpoint. Where an address has no listening socket of its own, its connections
//! are of both targets: the one that names it, and the one that names any address. Where that changes,
//! those that are open are the former server's, and nobody can tell whose a count is until they have
//! ended. Pure: the lists are handed over.

use std::collections::HashSet;

/// Who serves an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// A listening socket of its own.
    Own,
    /// One that serves any address.
    Any,
}

/// How the connections of an endpoint are counted for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As the target's.
    All,
    /// They may or may not be the target's.
    Doubtful,
    /// As somebody else's.
    Nothing,
}

/// Who serves an endpoint since when.
#[derive(Debug, Default)]
pub(super) struct Tenure {
    server: Option<Server>,
    /// The connections that were open when another server was first seen.
    former: HashSet<u64>,
    changes: u64,
}

impl Tenure {
    /// Takes in who serves it now; nobody leaves it as it was, since nothing opens then. `open` lists
    /// the cookies of the open connections, in order.
    pub(super) fn note<E>(
        &mut self,
        now: Option<Server>,
        open: impl FnOnce() -> Result<Vec<u64>, E>,
    ) -> Result<(), E> {
        let Some(now) = now else {
            return Ok(());
        };
        match self.server {
            // What is open when it is first seen is of whoever serves it then.
            None => {}
            Some(before) if before != now => {
                self.former = open()?.into_iter().collect();
                self.changes += 1;
            }
            Some(_) if self.former.is_empty() => {}
            Some(_) => {
                let open = open()?;
                self.former
                    .retain(|cookie| open.binary_search(cookie).is_ok());
                self.changes += u64::from(self.former.is_empty());
            }
        }
        self.server = Some(now);
        Ok(())
    }

    /// Forgets everything: it is elsewhere.
    pub(super) fn reset(&mut self) {
        *self = Self {
            changes: self.changes + 1,
            ..Self::default()
        };
    }

    /// Grows whenever counts from before no longer add up with counts from then on.
    pub(super) const fn changes(&self) -> u64 {
        self.changes
    }

    /// How its connections count for a target that names it.
    pub(super) fn own_share(&self) -> Share {
        match self.former.is_empty() {
            true => Share::All,
            false => Share::Doubtful,
        }
    }

    /// How its connections count for a target that names any address on its port.
    pub(super) fn share_of_any(&self) -> Share {
        match self.server {
            _ if !self.former.is_empty() => Share::Doubtful,
            Some(Server::Own) => Share::Nothing,
            Some(Server::Any) | None => Share::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn note(tenure: &mut Tenure, now: Option<Server>, open: &[u64]) -> (Share, Share, u64) {
        let noted = tenure.note(now, || Ok::<_, Infallible>(open.to_vec()));
        noted.unwrap_or_else(|never| match never {});
        (tenure.own_share(), tenure.share_of_any(), tenure.changes())
    }

    #[test]
    fn what_has_a_listener_of_its_own_is_its_own_and_else_it_is_of_both() {
        use Share::{All, Nothing};
        let mut tenure = Tenure::default();
        assert_eq!(
            note(&mut tenure, Some(Server::Own), &[1]),
            (All, Nothing, 0)
        );
        assert_eq!(
            note(&mut tenure, Some(Server::Own), &[1]),
            (All, Nothing, 0)
        );
        // A restart of the only one that serves it.
        assert_eq!(note(&mut tenure, None, &[1]), (All, Nothing, 0));
        assert_eq!(note(&mut tenure, Some(Server::Own), &[]), (All, Nothing, 0));
        let mut tenure = Tenure::default();
        assert_eq!(note(&mut tenure, Some(Server::Any), &[1]), (All, All, 0));
    }

    #[test]
    fn whose_connections_are_is_doubtful_until_those_of_the_former_server_have_ended() {
        use Share::{All, Doubtful, Nothing};
        let mut tenure = Tenure::default();
        note(&mut tenure, Some(Server::Any), &[]);
        let both = (Doubtful, Doubtful);
        for (open, is) in [
            (&[1, 2][..], (both.0, both.1, 1)),
            (&[2, 3], (both.0, both.1, 1)),
            (&[3, 4], (All, Nothing, 2)),
            (&[4], (All, Nothing, 2)),
        ] {
            assert_eq!(note(&mut tenure, Some(Server::Own), open), is);
        }
        assert_eq!(
            note(&mut tenure, Some(Server::Any), &[4]),
            (Doubtful, Doubtful, 3)
        );
        assert_eq!(note(&mut tenure, Some(Server::Any), &[5]), (All, All, 4));
        // Nobody's connections were open.
        assert_eq!(note(&mut tenure, Some(Server::Own), &[]), (All, Nothing, 5));
        tenure.reset();
        assert_eq!(note(&mut tenure, Some(Server::Any), &[6]), (All, All, 6));
    }
}
