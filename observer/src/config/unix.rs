//! The name of a Unix socket: a path, or an abstract name of the network namespace.
//!
//! It is a name only: whether anybody listens there is the kernel's to say.

use std::{fmt, str::FromStr, sync::Arc};

use super::ValueError;

/// Longest name, a zero byte beside it: `sun_path` of unix(7). Unit: bytes.
const LONGEST: usize = 107;

/// A Unix socket by its name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixName(Arc<[u8]>);

impl UnixName {
    /// The name as the kernel has it: an abstract one begins with a zero byte, and a path has none.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        str::from_utf8(&self.0)
            .ok()
            .filter(|path| path.starts_with('/'))
    }

    /// The last part of it, with `-` for all that is no letter and no digit.
    pub(super) fn short(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let last = text.rsplit(['/', '\0']).next().unwrap_or_default();
        let plain = |char: char| match char.is_ascii_alphanumeric() {
            true => char,
            false => '-',
        };
        last.chars().map(plain).collect()
    }
}

impl fmt::Display for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = String::from_utf8_lossy(&self.0);
        match text.strip_prefix('\0') {
            Some(name) => write!(f, "unix:@{name}"),
            None => write!(f, "unix:{text}"),
        }
    }
}

impl fmt::Debug for UnixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for UnixName {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let name = text.strip_prefix("unix:").unwrap_or(text);
        let name = name.strip_prefix("//").unwrap_or(name);
        let bytes: Arc<[u8]> = match name.strip_prefix('@') {
            Some("") => return Err(ValueError::UnixName),
            Some(name) => [b"\0", name.as_bytes()].concat().into(),
            None if name.len() > 1 && name.starts_with('/') => name.as_bytes().into(),
            None => return Err(ValueError::UnixName),
        };
        let is_whole = !bytes[1..].contains(&0);
        match bytes.len() {
            1..=LONGEST if is_whole => Ok(Self(bytes)),
            length => Err(ValueError::UnixNameTooLong { length }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path_or_abstract_and_no_longer_than_the_kernel_has_it() {
        let name = |text: &str| text.parse::<UnixName>();
        let path = name("unix:/run/chat.sock").expect("a path");
        assert_eq!(path.bytes(), b"/run/chat.sock");
        assert_eq!(path.path(), Some("/run/chat.sock"));
        assert_eq!(path.short(), "chat-sock");
        let hidden = name("@chat/1").expect("an abstract name");
        assert_eq!(hidden.bytes(), b"\0chat/1");
        assert_eq!((hidden.path(), hidden.short()), (None, "1".to_owned()));
        assert_eq!(hidden.to_string(), "unix:@chat/1");
        for length in [LONGEST - 1, LONGEST] {
            let text = format!("/{}", "a".repeat(length - 1));
            name(&text).expect("the longest");
        }
        let long = format!("/{}", "a".repeat(LONGEST));
        let error = name(&long).expect_err("too long");
        assert!(error.to_string().contains("108 bytes"), "{error}");
        for wrong in ["unix:", "unix:chat.sock", "/", "@", "unix:@"] {
            name(wrong).expect_err(wrong);
        }
    }
}
