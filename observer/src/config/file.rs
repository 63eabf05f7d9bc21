//! The text of a configuration file, and where in it the faults are.
//!
//! It comes in as text; where it came from is only a name for the errors.

use serde::Deserialize;
use toml::Spanned;

use super::discovery::DiscoverySettings;
use super::error::{ConfigError, Place};
use super::general::{KernelSettings, LogSettings, WebSettings};
use super::settings::Settings;
use super::target::TargetSettings;
use crate::similar::closest;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    web: WebSettings,
    kernel: KernelSettings,
    log: LogSettings,
    discovery: Vec<Spanned<DiscoverySettings>>,
    target: Vec<Spanned<TargetSettings>>,
}

impl Settings {
    /// Reads the text of a configuration file; `name` is the file's name for errors.
    ///
    /// # Errors
    /// [`ConfigError::File`], with line and column, when it is not TOML or not ours.
    pub fn from_toml(name: &str, text: &str) -> Result<Self, ConfigError> {
        let File {
            web,
            kernel,
            log,
            discovery,
            target,
        } = toml::from_str(text).map_err(|error| ConfigError::File {
            place: Place::in_file(name, text, error.span()),
            message: meant(error.message()),
        })?;
        let place = |span| Place::in_file(name, text, Some(span));
        let placed = |target: Spanned<TargetSettings>| (place(target.span()), target.into_inner());
        let discovered = |of: Spanned<DiscoverySettings>| (place(of.span()), of.into_inner());
        Ok(Self {
            web,
            kernel,
            log,
            discovery: discovery.into_iter().map(discovered).collect(),
            targets: target.into_iter().map(placed).collect(),
        })
    }
}

/// What `toml` says of a key or value that there is not; the one that was likely meant, if there is
/// one, in place of all that there are.
pub(super) fn meant(message: &str) -> String {
    // unknown field `a`, expected one of `b`, `c`
    let mut words = message.split('`').skip(1).step_by(2);
    let candidate = words
        .next()
        .filter(|_| message.starts_with("unknown "))
        .and_then(|word| Some((word, closest(word, words)?)));
    match (candidate, message.split_once(", expected")) {
        (Some((_, meant)), Some((unknown, _))) => format!("{unknown}: did you mean `{meant}`?"),
        _ => message.to_owned(),
    }
}
