//! How a target wants to be asked: what proves who asks, and whom it is to be trusted by.
//!
//! Secrets are files, read anew for each request so that they can be replaced; they are never in
//! the configuration, in a log line or in an error.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;

/// Longest secret that is read. Unit: bytes.
const MAX_SECRET: u64 = 8 << 10;

/// How a target wants to be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// What is sent in the `Authorization` header, if anything.
    pub authorization: Option<Authorization>,
    /// PEM file of the only certificate authorities that are trusted; `None` trusts those of this
    /// machine.
    pub ca_file: Option<PathBuf>,
}

/// What proves who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// A token (RFC 6750).
    Bearer {
        /// The file that holds it.
        token_file: PathBuf,
    },
    /// A name and a password (RFC 7617).
    Basic {
        /// The name.
        username: String,
        /// The file that holds the password.
        password_file: PathBuf,
    },
}

/// A secret that cannot be sent.
#[derive(Debug, thiserror::Error)]
#[error("cannot read a secret from {}", path.display())]
pub struct SecretError {
    /// The file.
    pub path: PathBuf,
    /// Why not; `InvalidData` if it is empty, too long or has control characters.
    #[source]
    pub source: io::Error,
}

impl Authorization {
    /// The header's value as of now. Reads a file.
    pub(super) fn read_header(&self) -> Result<HeaderValue, SecretError> {
        let (path, value) = match self {
            Self::Bearer { token_file } => {
                let token = read_secret(token_file)?;
                (token_file, format!("Bearer {token}"))
            }
            Self::Basic {
                username,
                password_file,
            } => {
                let password = read_secret(password_file)?;
                let pair = BASE64_STANDARD.encode(format!("{username}:{password}"));
                (password_file, format!("Basic {pair}"))
            }
        };
        let mut header = HeaderValue::try_from(value).map_err(|_| invalid(path))?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// The text of a file without the blanks around it.
fn read_secret(path: &Path) -> Result<String, SecretError> {
    let failed = |source| SecretError {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut secret = String::new();
    let length = file
        .take(MAX_SECRET + 1)
        .read_to_string(&mut secret)
        .map_err(failed)?;
    let secret = secret.trim();
    if secret.is_empty() || length as u64 > MAX_SECRET {
        return Err(invalid(path));
    }
    Ok(secret.to_owned())
}

fn invalid(path: &Path) -> SecretError {
    SecretError {
        path: path.to_owned(),
        source: io::ErrorKind::InvalidData.into(),
    }
}
