//! The user as whom a command is run: by a name of `/etc/passwd`, or by numbers.
//!
//! What else knows users (LDAP, for example) is not asked: such a user is written in numbers.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::str::FromStr;

/// Where the names are.
const PASSWD: &str = "/etc/passwd";

/// Most of it that is read. Unit: bytes.
const MAX_PASSWD: u64 = 4 << 20;

/// A user as written: `nobody`, or `UID:GID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User(String);

/// The numbers of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ids {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A text that is no name.
    #[error("expected the name of a user, such as nobody, or UID:GID in numbers")]
    Name,
    /// A name that is not in the file.
    #[error(
        "there is no user {name} in {PASSWD}: write UID:GID in numbers if another source has it"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The file cannot be read.
    #[error("cannot read {PASSWD}")]
    Passwd(#[source] io::Error),
}

impl FromStr for User {
    type Err = UserError;

    fn from_str(text: &str) -> Result<Self, UserError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-$".contains(&byte);
        let is_name = (1..=64).contains(&text.len()) && text.bytes().all(is_allowed);
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        match numbers(text).is_some() || (is_name && !is_number) {
            true => Ok(Self(text.to_owned())),
            false => Err(UserError::Name),
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl User {
    /// Its numbers now. Reads a file where it is a name.
    pub(super) fn ids(&self) -> Result<Ids, UserError> {
        if let Some(ids) = numbers(&self.0) {
            return Ok(ids);
        }
        let mut text = Vec::new();
        let file = File::open(PASSWD).map_err(UserError::Passwd)?;
        let read = file.take(MAX_PASSWD).read_to_end(&mut text);
        read.map_err(UserError::Passwd)?;
        let name = &self.0;
        find(&String::from_utf8_lossy(&text), name)
            .ok_or_else(|| UserError::Unknown { name: name.clone() })
    }
}

fn numbers(text: &str) -> Option<Ids> {
    let (uid, gid) = text.split_once(':')?;
    Some(Ids {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
    })
}

/// The user of this name in the text of passwd(5).
fn find(passwd: &str, name: &str) -> Option<Ids> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some(Ids {
            uid: fields.nth(1)?.parse().ok()?,
            gid: fields.next()?.parse().ok()?,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_a_name_of_passwd_or_two_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\n+broken\nweb:x:33:34:www:/:/bin/false\n";
        assert_eq!(find(passwd, "web"), Some(Ids { uid: 33, gid: 34 }));
        assert_eq!(find(passwd, "root"), Some(Ids { uid: 0, gid: 0 }));
        for name in ["we", "+broken", "x", ""] {
            assert_eq!(find(passwd, name), None, "{name}");
        }
        let user: User = "7:8".parse().unwrap();
        assert_eq!(user.ids().unwrap(), Ids { uid: 7, gid: 8 });
        for text in [
            "", "7", "7:", ":7", "7:x", "-1:0", "a b", "a:b", "7:8:9", "ü",
        ] {
            assert!(text.parse::<User>().is_err(), "{text}");
        }
        let nobody: User = "no-such-user".parse().unwrap();
        let error = nobody.ids().unwrap_err().to_string();
        assert!(
            error.contains("no user no-such-user in /etc/passwd"),
            "{error}"
        );
    }
}
