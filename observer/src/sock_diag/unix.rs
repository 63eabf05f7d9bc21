//! `sock_diag` messages about Unix sockets. Pure.
//!
//! The kernel lists the connections that were accepted at a name with that name, and each with the file
//! that the name was bound to; what waits to be accepted is only a number of the listening socket. It
//! has no states as TCP has: whether an end was shut down is all that it says of one.
//!
//! Sources: `include/uapi/linux/unix_diag.h`, `sk_diag_fill()` of `net/unix/diag.c`.

use super::wire::{self, CLOSE_WAIT, NETLINK_HEADER, States, WireError, attribute, field};

/// `SOCK_DIAG_BY_FAMILY`: the request, and each socket of the answer.
pub(super) const BY_FAMILY: u16 = 20;
/// `AF_UNIX`.
const UNIX: u8 = 1;
/// Bytes of `struct unix_diag_req`.
const REQUEST: usize = 24;
/// Bytes of `struct unix_diag_msg`, behind which attributes follow.
const MESSAGE: usize = 16;
/// `UDIAG_SHOW_NAME`, `UDIAG_SHOW_VFS` and `UDIAG_SHOW_RQLEN`.
const SHOW: u32 = 0x1 | 0x2 | 0x10;
/// `UNIX_DIAG_NAME`: the name as it was bound; a path ends with a zero byte.
const NAME: u16 = 0;
/// `UNIX_DIAG_VFS`: inode and device of the file.
const VFS: u16 = 1;
/// `UNIX_DIAG_RQLEN`: of a listening socket, how many wait and how many may.
const QUEUE: u16 = 4;
/// `UNIX_DIAG_SHUTDOWN`: the ends that were shut down, or whose other end was.
const SHUTDOWN: u16 = 6;
/// `SOCK_DGRAM`, which has no connections to count.
const DATAGRAM: u8 = 2;

/// A file, as the kernel tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VfsId {
    /// Its inode, the low half.
    pub inode: u32,
    /// Its device, as the kernel has it inside: twelve bits and twenty.
    pub device: u32,
}

/// Which Unix sockets.
#[derive(Clone, Copy, Debug)]
pub struct Bound<'a> {
    /// Those with this name, abstract ones with a zero byte first.
    pub name: &'a [u8],
    /// And those that were bound to this file by another path.
    pub file: Option<VfsId>,
}

/// One Unix socket of a dump that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// The socket cookie.
    pub cookie: u64,
    /// TCP state, `include/net/tcp_states.h`: CLOSE_WAIT once an end was shut down.
    pub state: u8,
    /// Of a listening socket: connections that wait to be accepted.
    pub queue_length: u32,
    /// Of a listening socket: how many may wait.
    pub queue_limit: u32,
}

/// The request that lists the Unix sockets in these states.
pub(super) fn request(number: u32, states: States) -> Vec<u8> {
    let mut bytes = wire::dump_of(BY_FAMILY, number, REQUEST);
    let mut put = |at: usize, field: &[u8]| {
        bytes[NETLINK_HEADER + at..][..field.len()].copy_from_slice(field);
    };
    // sdiag_family, udiag_states, udiag_show.
    put(0, &[UNIX]);
    put(4, &states.asked_of_unix().to_ne_bytes());
    put(12, &SHOW.to_ne_bytes());
    bytes
}

/// Reads a `struct unix_diag_msg` and its attributes. None if the socket is not one of these.
pub(super) fn socket(body: &[u8], bound: Bound<'_>) -> Result<Option<UnixSocket>, WireError> {
    let message: &[u8; MESSAGE] = body.first_chunk().ok_or(WireError::Malformed)?;
    let attributes = &body[MESSAGE..];
    let [_, kind, state, _] = field(message, 0)?;
    if kind == DATAGRAM || !bound.is_of(attributes)? {
        return Ok(None);
    }
    let number = |bytes: &[u8], at: usize| Ok(u32::from_ne_bytes(field(bytes, at)?));
    let (low, high) = (number(message, 8)?, number(message, 12)?);
    let queue = attribute(attributes, QUEUE)?;
    let queue = |at: usize| queue.map_or(Ok(0), |queue| number(queue, at));
    let is_shut = attribute(attributes, SHUTDOWN)?.is_some_and(|ends| ends != [0]);
    Ok(Some(UnixSocket {
        cookie: u64::from(high) << 32 | u64::from(low),
        state: match is_shut {
            true => CLOSE_WAIT,
            false => state,
        },
        queue_length: queue(0)?,
        queue_limit: queue(4)?,
    }))
}

impl Bound<'_> {
    fn is_of(&self, attributes: &[u8]) -> Result<bool, WireError> {
        if let Some(name) = attribute(attributes, NAME)? {
            let whole = match name {
                [0, ..] => name,
                _ => name.strip_suffix(&[0]).unwrap_or(name),
            };
            if whole == self.name {
                return Ok(true);
            }
        }
        let Some(file) = self.file else {
            return Ok(false);
        };
        let vfs = attribute(attributes, VFS)?.map(|vfs| {
            Ok(VfsId {
                inode: u32::from_ne_bytes(field(vfs, 0)?),
                device: u32::from_ne_bytes(field(vfs, 4)?),
            })
        });
        Ok(vfs.transpose()? == Some(file))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATH: &[u8] = b"/run/x.sock";

    fn attribute_of(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (4 + value.len() as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn body(kind: u8, state: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![UNIX, kind, state, 0];
        // Inode; the cookie's low half 1, its high half 2.
        for number in [7_u32, 1, 2] {
            body.extend(number.to_ne_bytes());
        }
        for (kind, value) in attributes {
            body.extend(attribute_of(*kind, value));
        }
        body
    }

    fn read(body: &[u8], bound: Bound<'_>) -> Option<UnixSocket> {
        socket(body, bound).expect("a whole message")
    }

    const BOUND: Bound<'_> = Bound {
        name: PATH,
        file: None,
    };

    #[test]
    fn a_socket_is_of_a_name_or_of_the_file_that_the_name_is_bound_to() {
        let named = body(1, 1, &[(NAME, b"/run/x.sock\0"), (SHUTDOWN, &[0])]);
        let known = read(&named, BOUND).expect("it has the name");
        assert_eq!((known.cookie, known.state), (2 << 32 | 1, 1));
        let file = VfsId {
            inode: 5,
            device: 6,
        };
        let vfs = [5_u32.to_ne_bytes(), 6_u32.to_ne_bytes()].concat();
        let other = body(1, 1, &[(NAME, b"/var/run/x.sock\0"), (VFS, &vfs)]);
        assert_eq!(read(&other, BOUND), None);
        let bound = Bound {
            file: Some(file),
            ..BOUND
        };
        assert!(read(&other, bound).is_some());
        let longer = body(1, 1, &[(NAME, b"/run/x.socket\0")]);
        assert_eq!(read(&longer, bound), None);
        let hidden = body(1, 1, &[(NAME, b"\0x")]);
        let bound = Bound {
            name: b"\0x",
            file: None,
        };
        assert!(read(&hidden, bound).is_some());
        assert_eq!(read(&body(1, 1, &[]), bound), None);
    }

    #[test]
    fn a_listening_socket_says_how_many_wait_and_one_that_was_shut_down_is_closing() {
        let queue = [3_u32.to_ne_bytes(), 8_u32.to_ne_bytes()].concat();
        let listening = body(1, 10, &[(NAME, PATH), (QUEUE, &queue)]);
        let listening = read(&listening, BOUND).expect("it has the name");
        assert_eq!((listening.queue_length, listening.queue_limit), (3, 8));
        for ends in 1..4 {
            let shut = body(5, 1, &[(NAME, PATH), (SHUTDOWN, &[ends])]);
            assert_eq!(read(&shut, BOUND).map(|shut| shut.state), Some(CLOSE_WAIT));
        }
        let datagram = body(DATAGRAM, 1, &[(NAME, PATH)]);
        assert_eq!(read(&datagram, BOUND), None);
    }

    proptest! {
        #[test]
        fn no_message_panics(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = socket(&body, BOUND);
        }
    }
}
