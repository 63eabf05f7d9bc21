//! The format of the file, and what may be wrong with it.
//!
//! <https://prometheus.io/docs/prometheus/latest/configuration/https/>. What is not there is not done:
//! a file without TLS leaves the port plain, one without users asks for no password. Keys that are not
//! known are errors, as they are there: a word that is misspelt would leave a port open.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

/// Largest file that is read: of the configuration, a certificate or a key. Unit: bytes.
const MAX_FILE: u64 = 1 << 20;

/// Why the file cannot be used. Each text says which file, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WebConfigError {
    /// It, or a file that it names, cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no such file.
    #[error("{}: {message}", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What the parser says, with line and column.
        message: String,
    },
    /// A setting that is not as it has to be.
    #[error("{}: {setting}: {expected}", path.display())]
    Setting {
        /// Which file.
        path: PathBuf,
        /// Which setting.
        setting: String,
        /// What is expected of it.
        expected: String,
    },
    /// The certificate, its key and the rest are well, but not together.
    #[error("{}: TLS cannot be had of it", path.display())]
    Tls {
        /// Which file.
        path: PathBuf,
        /// What `rustls` says.
        #[source]
        source: rustls::Error,
    },
}

/// What stands in the file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct File {
    pub(crate) tls_server_config: Option<Tls>,
    pub(crate) http_server_config: Http,
    /// Names with the hashes of their passwords.
    pub(crate) basic_auth_users: BTreeMap<String, String>,
}

/// `tls_server_config`. Texts stand for the files of the same name.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Tls {
    pub(crate) cert: Option<String>,
    pub(crate) cert_file: Option<PathBuf>,
    pub(crate) key: Option<String>,
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) client_auth_type: Option<String>,
    pub(crate) client_ca: Option<String>,
    pub(crate) client_ca_file: Option<PathBuf>,
    pub(crate) min_version: Option<String>,
    pub(crate) max_version: Option<String>,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) curve_preferences: Vec<String>,
    pub(crate) prefer_server_cipher_suites: Option<bool>,
}

/// `http_server_config`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Http {
    /// Taken, and of no effect: HTTP/1.1 is all that is spoken.
    #[serde(rename = "http2")]
    pub(crate) _http2: Option<bool>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl File {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, WebConfigError> {
        let text = read(path)?;
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(&text).map_err(|error| WebConfigError::Format {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }

    /// The files that it names, beside itself.
    pub(crate) fn others(&self, path: &Path) -> Vec<PathBuf> {
        let tls = self.tls_server_config.iter();
        let named = tls.flat_map(|tls| [&tls.cert_file, &tls.key_file, &tls.client_ca_file]);
        named.flatten().map(|other| beside(path, other)).collect()
    }
}

/// A file that is named by another one: a relative path begins where that one is.
pub(crate) fn beside(path: &Path, other: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).join(other)
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, WebConfigError> {
    let read = || {
        if path.metadata()?.len() > MAX_FILE {
            let text = format!("it is larger than {MAX_FILE} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        fs::read_to_string(path)
    };
    read().map_err(|source| WebConfigError::Read {
        path: path.to_owned(),
        source,
    })
}
