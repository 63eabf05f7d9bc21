//! The values of single settings: what each may be, and the sentence that says so when it is not.
//!
//! The same types read the file and the command line. They know nothing of files, flags or of
//! each other; what takes two settings to judge is judged in `config`.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer};
use url::Url;

use crate::chain::Chain;

/// Longest target name. Unit: bytes.
const MAX_NAME: usize = 64;

/// A value written as text, in the file and on the command line alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text<T>(pub T);

/// Why a text is not the value of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Neither `:PORT` nor `ADDRESS:PORT`.
    #[error("expected :PORT or ADDRESS:PORT, such as :3000, 127.0.0.1:3000 or [::1]:3000")]
    Address,
    /// An address, and nothing behind it.
    #[error("add the port, such as localhost:3000 or :3000")]
    NoPort,
    /// A port that is no number.
    #[error("expected the number of a port, such as 80: `ss -n` prints numbers")]
    PortName,
    /// A port beyond all ports.
    #[error("a port is at most 65535")]
    PortTooHigh,
    /// An IPv6 address whose end cannot be told from a port.
    #[error("an IPv6 address stands in brackets, such as [::1]:3000")]
    NoBrackets,
    /// An address with an interface, as `ss` prints those that are bound to one.
    #[error("leave out %{interface}: an address is told without its interface")]
    Interface {
        /// The interface.
        interface: String,
    },
    /// No path and no abstract name.
    #[error(
        "a Unix socket is named by its whole path or its abstract name: unix:/run/x.sock or unix:@x"
    )]
    UnixName,
    /// More than the kernel has room for.
    #[error(
        "the name of a Unix socket has at most 107 bytes and no zero byte: it has {length} bytes"
    )]
    UnixNameTooLong {
        /// Its bytes, and one for the first of an abstract name.
        length: usize,
    },
    /// A URL in the place of an address.
    #[error("expected an address, such as 127.0.0.1:3000: leave out the scheme and the path")]
    NoUrl,
    /// Port 0, which no service listens on.
    #[error("port 0 is no port to observe")]
    PortZero,
    /// Not one of the ways to name a network namespace.
    #[error("expected self, pid:NUMBER, path:FILE, cgroup:PATH, unit:NAME or container:NAME")]
    Netns,
    /// Not the path of a cgroup.
    #[error(
        "expected the path of a cgroup below the root of the hierarchy, such as /system.slice/chat.service"
    )]
    CgroupPath,
    /// Not a systemd unit with processes.
    #[error("expected a systemd unit that has processes: NAME.service, NAME.scope or NAME.slice")]
    Unit,
    /// Nothing that a container is called.
    #[error("expected the name or the id of a container")]
    Container,
    /// Not a Prometheus duration.
    #[error("expected a duration such as 100ms, 5s or 1m30s")]
    Duration,
    /// A duration that is too short or too long.
    #[error("expected a duration from {least:?} to {most:?}")]
    DurationRange {
        /// Shortest that is accepted.
        least: Duration,
        /// Longest that is accepted.
        most: Duration,
    },
    /// Not a number, or one out of range.
    #[error("expected a whole number from {least} to {most}")]
    Number {
        /// Least that is accepted.
        least: u32,
        /// Most that is accepted.
        most: u32,
    },
    /// A name that cannot be a label value everywhere.
    #[error("expected a name of 1 to {MAX_NAME} characters out of a-z, A-Z, 0-9, _ . -")]
    Name,
    /// Not a URL at all.
    #[error("expected a URL such as http://127.0.0.1:9090/metrics")]
    Url(#[source] url::ParseError),
    /// A URL of another scheme, without a host, or with a password that would end up in logs.
    #[error("expected an http:// or https:// URL with a host and without a user or password")]
    UrlScheme,
    /// Not a percentage, or one out of range.
    #[error("expected a percentage from 1% to {}%, such as 50%", Percent::MOST)]
    Percent,
    /// Neither an address nor a network.
    #[error("expected an address or a network, such as 192.0.2.7, 10.0.0.0/8 or fd00::/8")]
    Network,
    /// Neither `auto` nor a path.
    #[error("expected auto or the path of a cgroup v2 directory")]
    Cgroup,
}

/// The cgroup whose sockets the egress program sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroup {
    /// The root of the cgroup v2 hierarchy.
    Auto,
    /// This directory.
    Path(PathBuf),
}

/// A target's name: the label `target`, and a segment of the API's paths.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub String);

/// An `http` or `https` URL with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(pub Url);

/// Where the observer's own HTTP listens; `:PORT` is every address of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebAddress(pub SocketAddr);

/// A duration in a range, both ends included. Unit of the bounds: milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<const LEAST: u64, const MOST: u64>(pub Duration);

/// A whole number in a range, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within<const LEAST: u32, const MOST: u32>(pub u32);

/// A share, as whole percents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Percent(pub u32);

impl Percent {
    /// Most that is accepted: more than anybody means, and a way to say never.
    const MOST: u32 = 1_000_000;

    /// As a fraction: 0.5 of 50%.
    #[must_use]
    pub fn share(self) -> f64 {
        f64::from(self.0) / 100.0
    }
}

impl FromStr for Percent {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text.strip_suffix('%').ok_or(ValueError::Percent)?;
        match number.parse() {
            Ok(percent) if (1..=Self::MOST).contains(&percent) => Ok(Self(percent)),
            _ => Err(ValueError::Percent),
        }
    }
}

impl FromStr for WebAddress {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (address, port) = address_and_port(text)?;
        let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        Ok(Self(SocketAddr::new(address.unwrap_or(any), port)))
    }
}

fn address_and_port(text: &str) -> Result<(Option<IpAddr>, u16), ValueError> {
    let all_digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(port) = text.strip_prefix(':').filter(|port| all_digits(port)) {
        return Ok((None, port.parse().map_err(|_| ValueError::Address)?));
    }
    let address: SocketAddr = text.parse().map_err(|_| ValueError::Address)?;
    Ok((Some(address.ip()), address.port()))
}

impl FromStr for Cgroup {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "" => Err(ValueError::Cgroup),
            "auto" => Ok(Self::Auto),
            path => Ok(Self::Path(path.into())),
        }
    }
}

impl FromStr for Name {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
        if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::Name)
        }
    }
}

impl FromStr for HttpUrl {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let url = Url::parse(text).map_err(ValueError::Url)?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        if matches!(url.scheme(), "http" | "https") && url.has_host() && !has_user {
            Ok(Self(url))
        } else {
            Err(ValueError::UrlScheme)
        }
    }
}

impl<const LEAST: u64, const MOST: u64> FromStr for Span<LEAST, MOST> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let duration = parse_duration(text).ok_or(ValueError::Duration)?;
        let (least, most) = (Duration::from_millis(LEAST), Duration::from_millis(MOST));
        if (least..=most).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(ValueError::DurationRange { least, most })
        }
    }
}

/// Reads a duration as Prometheus writes it: whole numbers with descending units, or `0`.
fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ];
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut milliseconds = 0_u64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let unit = &tail[..tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len())];
        let (_, factor) = units.find(|(name, _)| *name == unit)?;
        let part = number.parse::<u64>().ok()?.checked_mul(*factor)?;
        milliseconds = milliseconds.checked_add(part)?;
        rest = &tail[unit.len()..];
    }
    (!text.is_empty()).then_some(Duration::from_millis(milliseconds))
}

impl<const LEAST: u32, const MOST: u32> Within<LEAST, MOST> {
    fn new(number: i64) -> Result<Self, ValueError> {
        match u32::try_from(number) {
            Ok(number) if (LEAST..=MOST).contains(&number) => Ok(Self(number)),
            _ => Err(ValueError::Number {
                least: LEAST,
                most: MOST,
            }),
        }
    }
}

impl<const LEAST: u32, const MOST: u32> FromStr for Within<LEAST, MOST> {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = text.parse().map_err(|_| ValueError::Number {
            least: LEAST,
            most: MOST,
        })?;
        Self::new(number)
    }
}

impl<'de, const LEAST: u32, const MOST: u32> Deserialize<'de> for Within<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// One value, or a list of them.
pub(super) fn one_or_more<'de, D, T>(deserializer: D) -> Result<Option<Vec<Text<T>>>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Error>,
{
    struct OneOrMore<T>(PhantomData<T>);

    impl<'de, T: FromStr<Err: Error>> de::Visitor<'de> for OneOrMore<T> {
        type Value = Vec<Text<T>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(vec![text.parse().map_err(E::custom)?])
        }

        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut values = Vec::new();
            while let Some(value) = list.next_element()? {
                values.push(value);
            }
            Ok(values)
        }
    }

    deserializer
        .deserialize_any(OneOrMore(PhantomData))
        .map(Some)
}

/// An error told with all of its causes, for readers of errors that do not ask for causes.
#[derive(Debug)]
pub struct Whole<E>(E);

impl<E: Error> fmt::Display for Whole<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Chain(&self.0).fmt(f)
    }
}

impl<E: Error> Error for Whole<E> {}

impl<T: FromStr<Err: Error>> FromStr for Text<T> {
    type Err = Whole<T::Err>;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(Whole)
    }
}

impl<'de, T: FromStr<Err: Error>> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
