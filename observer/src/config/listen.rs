//! Where the connections of a target come in, or go to: as people write it, and as the kernel is asked
//! for it.
//!
//! What `ss`, a unit file or a service's own configuration says is taken as it is. An unspecified
//! address of either family is every address of both: `[::]` usually serves IPv4 as well, and a
//! service that listens for each family by itself has two lines of which somebody copies one. It
//! resolves no name by itself: who reads the configuration does.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use super::{Counts, TargetProblem, Text, UnixName, ValueError};

/// Most places of one target, with all addresses of their names.
pub const MAX_LISTENS: usize = 64;
/// Longest host name, RFC 1035 section 2.3.4. Unit: bytes.
const MAX_HOST: usize = 253;

/// A TCP port of one address or of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TcpAddress {
    /// The address, an IPv4-mapped one as IPv4; `None` is any address of either family.
    pub address: Option<IpAddr>,
    /// The port, never 0.
    pub port: u16,
}

/// What some connections of a target have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Listen {
    /// They come in at this local address.
    Tcp(TcpAddress),
    /// They come in at this Unix socket.
    Unix(UnixName),
    /// They go out to this remote address, at which another service listens.
    Outgoing(TcpAddress),
}

/// All places of a target: at least one, each once, at most [`MAX_LISTENS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens(Vec<Listen>);

/// A place as somebody wrote it: an address, a name that may stand for several, or a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WrittenListen {
    /// `HOST:PORT`.
    Tcp(WrittenAddress),
    /// `unix:PATH` or `unix:@NAME`.
    Unix(UnixName),
}

/// `HOST:PORT`, whose host may be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenAddress {
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Address(IpAddr),
    Name(String),
}

/// Asks for the addresses of a host name.
pub type Resolver<'a> = &'a dyn Fn(&str) -> io::Result<Vec<IpAddr>>;

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => SocketAddr::new(address, self.port).fmt(f),
            None => write!(f, ":{}", self.port),
        }
    }
}

impl TcpAddress {
    /// Whether a socket's address is this one.
    #[must_use]
    pub fn is_of(&self, socket: &SocketAddr) -> bool {
        self.port == socket.port() && self.address.is_none_or(|address| address == socket.ip())
    }
}

impl Listen {
    /// The local address, if TCP connections come in there.
    #[must_use]
    pub const fn tcp(&self) -> Option<TcpAddress> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) | Self::Outgoing(_) => None,
        }
    }

    /// The address, local or remote, if it is one of TCP.
    #[must_use]
    pub const fn address(&self) -> Option<TcpAddress> {
        match self {
            Self::Tcp(address) | Self::Outgoing(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether the address is remote.
    #[must_use]
    pub const fn is_outgoing(&self) -> bool {
        matches!(self, Self::Outgoing(_))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Outgoing(address) => address.fmt(f),
            Self::Unix(name) => name.fmt(f),
        }
    }
}

impl Listens {
    /// What somebody wrote stands for: not nothing, and not too much.
    pub(super) fn of(
        written: Vec<Text<WrittenListen>>,
        counts: Counts,
        resolver: Resolver<'_>,
    ) -> Result<Self, TargetProblem> {
        if written.is_empty() {
            return Err(TargetProblem::NoListen);
        }
        let written: Vec<_> = written.into_iter().map(|Text(listen)| listen).collect();
        let listens = Self::resolve(&written, resolver).map_err(|(name, error)| {
            let reason = error.to_string();
            TargetProblem::UnknownHost { name, reason }
        })?;
        let listens = match counts {
            Counts::Outgoing => listens.outgoing()?,
            Counts::Websocket => listens.without_unix()?,
            Counts::Established | Counts::Accepted => listens,
        };
        match listens.0.len() {
            0..=MAX_LISTENS => Ok(listens),
            count => Err(TargetProblem::TooManyListens { count }),
        }
    }

    /// What all of these stand for.
    ///
    /// # Errors
    /// With the name that has no address, and why.
    fn resolve(
        written: &[WrittenListen],
        resolver: Resolver<'_>,
    ) -> Result<Self, (String, io::Error)> {
        let mut listens = Vec::new();
        for written in written {
            let WrittenAddress { host, port } = match written {
                WrittenListen::Tcp(address) => address,
                WrittenListen::Unix(name) => {
                    listens.push(Listen::Unix(name.clone()));
                    continue;
                }
            };
            let addresses = match host {
                Host::Any => vec![None],
                Host::Address(address) => vec![Some(*address)],
                Host::Name(name) => {
                    let found = addresses_of(name, resolver);
                    let found = found.map_err(|error| (name.clone(), error))?;
                    found.into_iter().map(Some).collect()
                }
            };
            let port = *port;
            let addresses = addresses.into_iter();
            listens.extend(addresses.map(|address| Listen::Tcp(TcpAddress { address, port })));
        }
        let mut known = Vec::new();
        listens.retain(|listen| {
            let is_new = !known.contains(listen);
            known.push(listen.clone());
            is_new
        });
        Ok(Self(listens))
    }

    /// The same, where none of them is a Unix socket.
    fn without_unix(self) -> Result<Self, TargetProblem> {
        let unix = self.0.iter().find_map(|listen| match listen {
            Listen::Unix(name) => Some(name.clone()),
            Listen::Tcp(_) | Listen::Outgoing(_) => None,
        });
        match unix {
            Some(name) => Err(TargetProblem::WebsocketOnUnix { name }),
            None => Ok(self),
        }
    }

    /// The same addresses, as those to which connections go.
    fn outgoing(self) -> Result<Self, TargetProblem> {
        let outgoing = self.0.into_iter().map(|listen| match listen {
            Listen::Tcp(to) | Listen::Outgoing(to) => Ok(Listen::Outgoing(to)),
            Listen::Unix(name) => Err(TargetProblem::OutgoingToUnix { name }),
        });
        outgoing.collect::<Result<_, _>>().map(Self)
    }

    /// Each of them, in the order in which they were written.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Listen> {
        self.0.iter()
    }

    /// The local addresses of TCP among them.
    pub fn tcp(&self) -> impl Iterator<Item = TcpAddress> {
        self.0.iter().filter_map(Listen::tcp)
    }

    /// What a target is called that was given no name.
    pub(super) fn name(&self) -> String {
        match self.0.first() {
            Some(Listen::Tcp(address)) => format!("port-{}", address.port),
            Some(Listen::Outgoing(address)) => format!("to-port-{}", address.port),
            Some(Listen::Unix(name)) => format!("unix-{}", name.short()),
            None => String::new(),
        }
    }
}

impl fmt::Display for Listens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, listen) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{listen}")?;
        }
        Ok(())
    }
}

/// The addresses of a name, IPv4-mapped ones as IPv4. `localhost` is the loopback address of both
/// families, RFC 6761 section 6.3, whatever the host's own list of names has of it.
fn addresses_of(name: &str, resolver: Resolver<'_>) -> io::Result<Vec<IpAddr>> {
    let bare = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if bare == "localhost" || bare.ends_with(".localhost") {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    let addresses = resolver(name)?;
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    }
    Ok(addresses.iter().map(IpAddr::to_canonical).collect())
}

impl FromStr for WrittenListen {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if text.starts_with("unix:") || text.starts_with(['/', '@']) {
            return text.parse().map(Self::Unix);
        }
        if text.contains("://") {
            return Err(ValueError::NoUrl);
        }
        let (host, port) = split(text)?;
        let host = host.parse()?;
        Ok(Self::Tcp(WrittenAddress {
            host,
            port: self::port(port)?,
        }))
    }
}

/// Divides `HOST:PORT`, where an IPv6 address stands in brackets. A port may stand alone.
fn split(text: &str) -> Result<(&str, &str), ValueError> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(text) {
        return Ok(("", text));
    }
    if let Some((_, interface)) = text.split_once('%') {
        let end = interface.find([']', ':']).unwrap_or(interface.len());
        let interface = interface[..end].to_owned();
        return Err(ValueError::Interface { interface });
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or(ValueError::Address)?;
        if address.parse::<Ipv6Addr>().is_err() {
            return Err(ValueError::Address);
        }
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, port)),
            None if rest.is_empty() => Err(ValueError::NoPort),
            None => Err(ValueError::Address),
        };
    }
    let (host, port) = text.rsplit_once(':').ok_or(ValueError::NoPort)?;
    // As `netstat` writes any address: `:::3000`.
    if host.contains(':') && host != "::" {
        return Err(ValueError::NoBrackets);
    }
    Ok((host, port))
}

fn port(text: &str) -> Result<u16, ValueError> {
    if text.is_empty() {
        return Err(ValueError::NoPort);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::PortName);
    }
    match text.parse() {
        Ok(0) => Err(ValueError::PortZero),
        Ok(port) => Ok(port),
        Err(_) => Err(ValueError::PortTooHigh),
    }
}

impl FromStr for Host {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        if matches!(text, "" | "*") {
            return Ok(Self::Any);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let address = address.to_canonical();
            return Ok(match address.is_unspecified() {
                true => Self::Any,
                false => Self::Address(address),
            });
        }
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        // What ends in a number is an address that is wrong, and no name.
        let last = text.trim_end_matches('.').rsplit('.').next();
        let is_name = last.is_some_and(|last| last.bytes().any(|byte| !byte.is_ascii_digit()));
        if text.len() <= MAX_HOST && text.bytes().all(is_allowed) && is_name {
            Ok(Self::Name(text.to_owned()))
        } else {
            Err(ValueError::Address)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(written: &[&str], resolver: Resolver<'_>) -> Result<String, String> {
        let parsed: Result<Vec<WrittenListen>, _> =
            written.iter().map(|text| text.parse()).collect();
        let parsed = parsed.map_err(|error| error.to_string())?;
        Listens::resolve(&parsed, resolver)
            .map(|listens| listens.to_string())
            .map_err(|(name, error)| format!("{name}: {error}"))
    }

    fn unknown(_: &str) -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("nobody knows it"))
    }

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for (text, expected) in [
            (":3000", ":3000"),
            ("3000", ":3000"),
            ("65535", ":65535"),
            ("*:3000", ":3000"),
            ("0.0.0.0:3000", ":3000"),
            ("[::]:3000", ":3000"),
            (":::3000", ":3000"),
            ("[0:0:0:0:0:0:0:0]:3000", ":3000"),
            ("[::ffff:0.0.0.0]:3000", ":3000"),
            ("127.0.0.1:3000", "127.0.0.1:3000"),
            ("[::ffff:127.0.0.1]:3000", "127.0.0.1:3000"),
            ("[::1]:3000", "[::1]:3000"),
            ("[2001:DB8:0::1]:3000", "[2001:db8::1]:3000"),
            ("localhost:3000", "127.0.0.1:3000, [::1]:3000"),
            ("LOCALHOST.:3000", "127.0.0.1:3000, [::1]:3000"),
            ("chat.localhost:3000", "127.0.0.1:3000, [::1]:3000"),
            ("unix:/run/chat.sock", "unix:/run/chat.sock"),
            ("unix:///run/chat.sock", "unix:/run/chat.sock"),
            ("/run/chat.sock", "unix:/run/chat.sock"),
            ("@chat", "unix:@chat"),
        ] {
            assert_eq!(
                resolve(&[text], &unknown).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        for (text, fix) in [
            ("", "add the port"),
            (":", "add the port"),
            ("127.0.0.1", "add the port"),
            ("[::1]", "add the port"),
            ("localhost", "add the port"),
            ("localhost:", "add the port"),
            (":0", "port 0"),
            ("0", "port 0"),
            (":65536", "a port is at most 65535"),
            ("99999999999999999999", "a port is at most 65535"),
            ("*:http", "`ss -n`"),
            (":+1", "`ss -n`"),
            (":-1", "`ss -n`"),
            (": 80", "`ss -n`"),
            ("::1:3000", "in brackets"),
            ("2001:db8::1:3000", "in brackets"),
            ("[::1:3000", "such as :3000"),
            ("[::1]3000", "such as :3000"),
            ("[127.0.0.1]:3000", "such as :3000"),
            ("300.0.0.1:3000", "such as :3000"),
            ("1.2.3:3000", "such as :3000"),
            ("a b:3000", "such as :3000"),
            ("münchen:3000", "such as :3000"),
            (".:3000", "such as :3000"),
            ("http://127.0.0.1:3000/", "leave out"),
            ("tcp://:3000", "leave out"),
            ("unix:run/chat.sock", "whole path"),
            ("@", "whole path"),
            ("127.0.0.53%lo:53", "leave out %lo"),
            ("[fe80::1%eth0]:80", "leave out %eth0"),
            ("[fe80::1]%eth0:80", "leave out %eth0"),
        ] {
            let error = resolve(&[text], &unknown).expect_err(text);
            assert!(error.contains(fix), "{text}: {error}");
        }
        let long = format!("{}:80", "a".repeat(MAX_HOST + 1));
        resolve(&[&long], &unknown).expect_err("too long");
    }

    #[test]
    fn connections_go_out_to_addresses_and_never_to_a_unix_socket() {
        let listens = |written: &[&str], counts| {
            let parse = |text: &&str| Text(text.parse().expect("a place"));
            let written = written.iter().map(parse).collect();
            Listens::of(written, counts, &unknown).map_err(|problem| problem.to_string())
        };
        let to = [":5432", "10.0.0.1:6432", ":5432"];
        let outgoing = listens(&to, Counts::Outgoing).expect("addresses");
        assert_eq!(outgoing.to_string(), ":5432, 10.0.0.1:6432");
        assert_eq!(
            (outgoing.tcp().count(), outgoing.name().as_str()),
            (0, "to-port-5432")
        );
        for (counts, fix) in [
            (Counts::Outgoing, "counts = \"accepted\""),
            (Counts::Websocket, "counts = \"accepted\""),
        ] {
            let error = listens(&[":80", "unix:/run/x.sock"], counts).expect_err("refused");
            assert!(
                error.contains(fix) && error.contains("/run/x.sock"),
                "{error}"
            );
        }
        let both = listens(&["unix:/run/x.sock", ":80"], Counts::Accepted).expect("places");
        assert_eq!(
            (both.tcp().count(), both.name().as_str()),
            (1, "unix-x-sock")
        );
    }

    #[test]
    fn a_name_is_each_of_its_addresses_once() {
        let chat = |name: &str| match name {
            "chat.example" => Ok(["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "10.0.0.1"]
                .map(|address| address.parse().expect("an address"))
                .to_vec()),
            _ => Ok(Vec::new()),
        };
        let both = "10.0.0.1:80, [2001:db8::1]:80";
        assert_eq!(resolve(&["chat.example:80"], &chat).as_deref(), Ok(both));
        let list = ["10.0.0.1:80", ":443", "chat.example:80", "*:443"];
        let each = "10.0.0.1:80, :443, [2001:db8::1]:80";
        assert_eq!(resolve(&list, &chat).as_deref(), Ok(each));
        let error = resolve(&["other.example:80"], &chat);
        assert_eq!(error, Err("other.example: it has no address".to_owned()));
        let error = resolve(&["other.example:80"], &unknown);
        assert_eq!(error, Err("other.example: nobody knows it".to_owned()));
    }
}
