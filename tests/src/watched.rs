//! Targets as an observer's configuration file has them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::wait;

/// A `[[target]]` of the configuration file.
#[derive(Debug, Clone)]
pub struct Watched {
    /// Its name.
    pub name: &'static str,
    text: String,
}

impl Watched {
    /// A target that is checked every 100 ms; `settle` is 200 ms. On a slow machine both are longer.
    pub fn new(name: &'static str, listen: &str, gauge_url: &str) -> Self {
        let text = String::new();
        let ms = |ms: u32| format!("{}ms", ms * wait::slowness());
        Self { name, text }
            .with("name", name)
            .with("listen", listen)
            .with_urls(&[gauge_url])
            .with("interval", &ms(100))
            .with("scrape-timeout", &ms(100))
            .with("settle", &ms(200))
    }

    /// A target that is written in TOML, with its name.
    pub fn of_text(name: &'static str, text: &str) -> Self {
        let (_, text) = text.split_once("[[target]]\n").unwrap_or_default();
        let text = text.to_owned();
        Self { name, text }
    }

    /// Without a setting.
    #[must_use]
    pub fn without(mut self, key: &str) -> Self {
        let start = format!("{key} = ");
        let is_other = |line: &&str| !line.starts_with(&start);
        let lines = self.text.lines().filter(is_other);
        self.text = lines.map(|line| format!("{line}\n")).collect();
        self
    }

    /// With a setting of its own, which replaces the one before.
    #[must_use]
    pub fn with(self, key: &str, value: &str) -> Self {
        // Values here hold neither quotes nor backslashes.
        self.with_toml(key, &format!("'{value}'"))
    }

    /// With a claim that is the sum of these pages'.
    #[must_use]
    pub fn with_urls(self, urls: &[&str]) -> Self {
        self.with_toml("gauge-url", &format!("['{}']", urls.join("', '")))
    }

    /// With a setting of its own that is written in TOML.
    #[must_use]
    pub fn with_toml(self, key: &str, value: &str) -> Self {
        let mut target = self.without(key);
        let _ = writeln!(target.text, "{key} = {value}");
        target
    }
}

/// A target as a group of a list of file_sd: established connections, checked as those of [`Watched`] are.
/// With a label that comes along.
#[must_use]
pub fn group(name: &str, page: SocketAddr, listen: &str, (label, value): (&str, &str)) -> Value {
    let ms = |ms: u32| format!("{}ms", ms * wait::slowness());
    json!({"targets": [page.to_string()], "labels": {
        "__plumbline_name": name, "__plumbline_listen": listen, "__plumbline_counts": "established",
        "__plumbline_interval": ms(100), "__plumbline_settle": ms(200), label: value,
    }})
}

/// The text of a file of these targets.
pub(crate) fn text_of(targets: &[Watched]) -> String {
    let text = |target: &Watched| format!("[[target]]\n{}\n", target.text);
    targets.iter().map(text).collect()
}
