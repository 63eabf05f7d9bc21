//! The service's own list of its connections: JSON lines `{"id","peer","opened_at"}`.
//!
//! `peer` is needed, `id` and `opened_at` tell one connection of a peer from the next, and other
//! keys are ignored. A list of which one line cannot be read is of no use: what it does not say
//! would be taken for a connection that the service does not know. It knows no kernel and no drift.
//!
//! A list is read line by line while it comes, and of a line nothing is kept but what is needed: what
//! a service says costs no more memory than its connections do.

use std::{
    borrow::Cow,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io::{self, Write},
    mem,
    net::{IpAddr, SocketAddr},
    time::{Duration, SystemTime},
};

use serde::Deserialize;
use serde_json::value::RawValue;
use url::Url;

use super::{Access, FetchError, Fetcher, Limits, shown};
use crate::netns::Entrance;

/// Most connections of one list: as many as the observer tracks by default.
pub const MAX_LISTED: usize = 262_144;

/// Longest line of a list. Unit: bytes.
const MAX_LINE: usize = 16 << 10;

/// Longest peer that is shown in an error, before escaping. Unit: bytes.
const EXCERPT: usize = 60;

/// One connection of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The peer; an IPv4-mapped address as IPv4.
    pub peer: SocketAddr,
    /// Tells this connection from another one of the same peer: equal where the service said the
    /// same `id` and `opened_at`.
    pub identity: u64,
    /// How long ago the service says that it was opened, where it says so.
    pub age: Option<Duration>,
}

/// Reads the list of one service.
pub struct Lister {
    fetcher: Fetcher,
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// It could not be fetched.
    #[error("cannot be fetched")]
    Fetch(#[source] FetchError),
    /// A line is no JSON object with a `peer`.
    #[error("line {line} is no connection")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A peer is no address.
    #[error("line {line}: the peer \"{peer}\" is not ADDRESS:PORT")]
    Peer {
        /// Counted from 1.
        line: usize,
        /// What it says, bounded and escaped.
        peer: String,
    },
    /// A line is longer than allowed.
    #[error("line {line} is longer than {MAX_LINE} bytes")]
    LongLine {
        /// Counted from 1.
        line: usize,
    },
    /// More connections than allowed.
    #[error("more than {MAX_LISTED} connections are listed")]
    TooMany,
}

/// What a line says. Other values than a peer are kept as they are written: whatever is in them, they
/// are no larger than their line.
#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    peer: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    opened_at: Option<&'a RawValue>,
}

/// A connection of a list that is being read.
struct Connection {
    peer: SocketAddr,
    identity: u64,
    opened_at: Option<SystemTime>,
}

/// Reads a list as it comes, in whatever parts.
#[derive(Default)]
struct Reader {
    connections: Vec<Connection>,
    /// Lines that were read.
    lines: usize,
    /// The beginning of the next one.
    rest: Vec<u8>,
    refused: Option<ListError>,
}

impl Lister {
    /// A reader of the list at `url`, asked as the claim is.
    ///
    /// # Errors
    /// When the URL leads nowhere, or is `https` and there is no certificate authority to trust.
    pub fn new(
        url: &Url,
        access: &Access,
        deadline: Duration,
        entrance: Option<Entrance>,
    ) -> Result<Self, FetchError> {
        let limits = Limits {
            deadline,
            ..Limits::default()
        };
        Ok(Self {
            fetcher: Fetcher::new(url, access, limits)?.behind(entrance),
        })
    }

    /// Reads the list once.
    ///
    /// # Errors
    /// When no complete list came within the limits.
    pub async fn read(&mut self) -> Result<Vec<Listed>, ListError> {
        let mut reader = Reader::default();
        let fetched = self.fetcher.fetch_into(&mut reader).await;
        match (fetched, reader.refused.take()) {
            (Ok(_), _) => reader.finish(SystemTime::now()),
            (Err(_), Some(refused)) => Err(refused),
            (Err(error), None) => Err(ListError::Fetch(error)),
        }
    }

    /// The URL without what may be secret in it.
    pub fn shown_url(&self) -> String {
        shown(self.fetcher.url())
    }
}

/// Reads a list as it came at `now`. Blank lines are skipped; what is listed twice is kept twice.
///
/// # Errors
/// At the first line that is no connection.
pub fn read_list(body: &[u8], now: SystemTime) -> Result<Vec<Listed>, ListError> {
    let mut reader = Reader::default();
    match reader.take(body) {
        Ok(()) => reader.finish(now),
        Err(error) => Err(error),
    }
}

impl Reader {
    /// The next part of the list, of any length.
    fn take(&mut self, mut part: &[u8]) -> Result<(), ListError> {
        while let Some(end) = part.iter().position(|&byte| byte == b'\n') {
            let (line, following) = (&part[..end], &part[end + 1..]);
            if self.rest.is_empty() {
                self.take_line(line)?;
            } else {
                self.keep(line)?;
                let whole = mem::take(&mut self.rest);
                self.take_line(&whole)?;
            }
            part = following;
        }
        self.keep(part)
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, part: &[u8]) -> Result<(), ListError> {
        if self.rest.len() + part.len() > MAX_LINE {
            let line = self.lines + 1;
            return Err(ListError::LongLine { line });
        }
        self.rest.extend_from_slice(part);
        Ok(())
    }

    fn take_line(&mut self, text: &[u8]) -> Result<(), ListError> {
        self.lines += 1;
        let line = self.lines;
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        if text.len() > MAX_LINE {
            return Err(ListError::LongLine { line });
        }
        if self.connections.len() == MAX_LISTED {
            return Err(ListError::TooMany);
        }
        let said: Line<'_> =
            serde_json::from_slice(text).map_err(|source| ListError::Line { line, source })?;
        let Some(peer) = address(&said.peer) else {
            let excerpt = &said.peer.as_bytes()[..said.peer.len().min(EXCERPT)];
            let peer = excerpt.escape_ascii().to_string();
            return Err(ListError::Peer { line, peer });
        };
        self.connections.push(Connection {
            peer,
            identity: identity(&said),
            opened_at: said.opened_at.and_then(time),
        });
        Ok(())
    }

    /// The list, which is complete at `now`.
    fn finish(mut self, now: SystemTime) -> Result<Vec<Listed>, ListError> {
        let rest = mem::take(&mut self.rest);
        self.take_line(&rest)?;
        let connections = self.connections.into_iter();
        let listed = connections.map(|connection| Listed {
            peer: connection.peer,
            identity: connection.identity,
            // A time in the future says nothing of the age.
            age: connection
                .opened_at
                .and_then(|opened| now.duration_since(opened).ok()),
        });
        Ok(listed.collect())
    }
}

impl Write for Reader {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        match self.take(part) {
            Ok(()) => Ok(part.len()),
            Err(error) => {
                self.refused = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `1.2.3.4:5` and `[::1]:5`; also `::1:5`, where the port is what follows the last colon, and a
/// zone behind `%`, which the kernel's list does not have.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .map_or(Some(host), |host| host.strip_suffix(']'))?;
    let host = host.split_once('%').map_or(host, |(host, _)| host);
    let address: IpAddr = host.parse().ok()?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|_| is_number)?;
    Some(SocketAddr::new(address.to_canonical(), port))
}

fn identity(line: &Line<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.id.map(RawValue::get).hash(&mut hasher);
    line.opened_at.map(RawValue::get).hash(&mut hasher);
    hasher.finish()
}

/// None where it is not RFC 3339.
fn time(opened_at: &RawValue) -> Option<SystemTime> {
    let text: Cow<'_, str> = serde_json::from_str(opened_at.get()).ok()?;
    humantime::parse_rfc3339_weak(&text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(body: impl AsRef<[u8]>) -> Result<Vec<Listed>, ListError> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        read_list(body.as_ref(), now)
    }

    fn refused(body: impl AsRef<[u8]>) -> String {
        read(body).unwrap_err().to_string()
    }

    #[test]
    fn a_line_is_a_connection_and_unknown_keys_are_ignored() {
        let list = read(
            "{\"id\":7,\"peer\":\"127.0.0.1:4242\",\"opened_at\":\"1970-01-01T00:15:00Z\"}\r\n\n\
             {\"user\":{\"name\":\"x\"},\"peer\":\"[::1]:1\"}",
        )
        .unwrap();
        let [one, two] = &list[..] else {
            panic!("{list:?}")
        };
        assert_eq!(one.peer, "127.0.0.1:4242".parse().unwrap());
        assert_eq!(one.age, Some(Duration::from_secs(100)));
        assert_eq!((two.peer, two.age), ("[::1]:1".parse().unwrap(), None));
        assert_ne!(one.identity, two.identity);
        assert_eq!(read("").unwrap(), []);
    }

    #[test]
    fn an_address_is_read_in_each_way_that_services_write_it() {
        for (text, expected) in [
            ("1.2.3.4:5", Some("1.2.3.4:5")),
            ("[::ffff:1.2.3.4]:5", Some("1.2.3.4:5")),
            ("::ffff:1.2.3.4:5", Some("1.2.3.4:5")),
            ("[fe80::1%eth0]:5", Some("[fe80::1]:5")),
            ("::1:65535", Some("[::1]:65535")),
            ("1.2.3.4:65536", None),
            ("1.2.3.4:+5", None),
            ("1.2.3.4", None),
            ("localhost:5", None),
            ("[::1:5", None),
            ("@", None),
            ("", None),
        ] {
            let address = address(text).map(|address| address.to_string());
            assert_eq!(address.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_no_connection_is_refused_with_its_place() {
        let good = "{\"peer\":\"1.2.3.4:5\"}\n";
        assert_eq!(
            refused(format!("{good}nonsense\n")),
            "line 2 is no connection"
        );
        assert_eq!(refused(b"\xff\xfe\n"), "line 1 is no connection");
        assert_eq!(refused("{\"id\":1}\n"), "line 1 is no connection");
        assert_eq!(refused("[".repeat(1 << 10)), "line 1 is no connection");
        assert_eq!(
            refused("{\"peer\":\"a\\u001b[31m:5\"}"),
            "line 1: the peer \"a\\x1b[31m:5\" is not ADDRESS:PORT"
        );
        let endless = "ü".repeat(1_000);
        assert!(refused(format!("{{\"peer\":\"{endless}\"}}")).len() < 400);
    }

    #[test]
    fn a_line_has_a_limit_wherever_it_is() {
        let good = "{\"peer\":\"1.2.3.4:5\"}\n";
        let line = |length: usize| {
            let (start, end) = ("{\"peer\":\"1.2.3.4:5\",\"id\":[1", "]}");
            let numbers = ",1".repeat((length - start.len() - end.len()) / 2);
            format!("{start}{numbers}{end}")
        };
        for end in ["", "\n", "\n\n"] {
            let longest = format!("{good}{}{end}", line(MAX_LINE));
            assert_eq!(read(longest).unwrap().len(), 2);
            let longer = format!("{good}{}{end}", line(MAX_LINE + 2));
            assert_eq!(refused(longer), "line 2 is longer than 16384 bytes");
        }
        let endless = vec![b' '; 1 << 20];
        assert_eq!(refused(endless), "line 1 is longer than 16384 bytes");
    }

    #[test]
    fn a_list_has_a_limit() {
        let full = "{\"peer\":\"1.2.3.4:5\"}\n".repeat(MAX_LISTED);
        assert_eq!(read(&full).unwrap().len(), MAX_LISTED);
        let more = full + "{\"peer\":\"1.2.3.4:5\"}\n";
        assert!(matches!(read(more), Err(ListError::TooMany)));
    }

    proptest! {
        #[test]
        fn parts_of_any_length_make_the_same_list(length in 1_usize..40) {
            let text = "{\"id\":1,\"peer\":\"1.2.3.4:5\"}\r\n\n{\"peer\":\"[::1]:6\"}";
            let mut reader = Reader::default();
            for part in text.as_bytes().chunks(length) {
                reader.take(part).unwrap();
            }
            let list = reader.finish(SystemTime::UNIX_EPOCH).unwrap();
            prop_assert_eq!(list, read(text).unwrap());
        }

        #[test]
        fn no_list_panics(body in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&body);
        }

        #[test]
        fn every_address_that_rust_writes_is_read(address: SocketAddr) {
            let expected = SocketAddr::new(address.ip().to_canonical(), address.port());
            prop_assert_eq!(super::address(&address.to_string()), Some(expected));
        }
    }
}
