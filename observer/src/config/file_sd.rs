//! Prometheus' file_sd: lists of pages with labels, which others write and replace.
//!
//! One list may serve Prometheus and the observer. A group of it is a target of the observer's where it has
//! the label `__plumbline_listen`: `__plumbline_KEY` says what KEY says in a `[[target]]`, with `_` for `-`;
//! `__scheme__`, `__metrics_path__` and `__param_NAME` make the page's URL, as they do for Prometheus; what
//! does not begin with `__` is a label of the target. The lists come in as text, and whether an address is
//! this host's is asked of whoever knows.

use std::{collections::BTreeMap, path::PathBuf, str::FromStr};

use clap::Args;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    TargetSettings, Text,
    error::{ConfigError, Place},
    file::meant,
    labels::WrittenLabels,
    value::{HttpUrl, one_or_more},
};

/// Begins the labels that are the observer's.
const OWN: &str = "__plumbline_";
/// Settings of which a label may say several, with spaces between them.
const LISTS: [&str; 3] = ["listen", "gauge-url", "ignore-peers"];
/// Settings that run a program or read a file of this host: whoever writes a list is not asked.
const NOT_BY_A_LIST: [&str; 6] = [
    "claim-command",
    "claim-user",
    "bearer-token-file",
    "username",
    "password-file",
    "ca-file",
];

/// `[file-sd]`, or `--file-sd.…`.
#[derive(Debug, Clone, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileSdSettings {
    /// Lists of targets in Prometheus' file_sd format, .json, .yml or .yaml; one * may stand in the last
    /// part of the path
    #[arg(long = "file-sd.files", value_name = "FILE", value_delimiter = ' ')]
    #[arg(env = "OBSERVER_FILE_SD_FILES", help_heading = "Discovery")]
    #[serde(deserialize_with = "one_or_more")]
    pub files: Option<Vec<Text<Pattern>>>,
}

impl FileSdSettings {
    /// These settings, and `other` where they are silent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            files: self.files.or(other.files),
        }
    }

    /// Where lists are.
    pub fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        let files = self.files.iter().flatten();
        files.map(|Text(pattern)| pattern)
    }
}

/// The path of a list, or of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    /// Where it is; a list by itself, unless there is a `*`.
    pub path: PathBuf,
    /// What stands before and behind the `*` of the last part.
    star: Option<(String, String)>,
}

/// A text that is no such path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a path that ends in .json, .yml or .yaml, with at most one *, in the last part of it"
)]
pub struct PatternError;

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let (folder, last) = text.rsplit_once('/').unwrap_or(("", text));
        let is_list = [".json", ".yml", ".yaml"]
            .iter()
            .any(|ending| last.ends_with(ending));
        if !is_list || folder.contains('*') || last.matches('*').count() > 1 {
            return Err(PatternError);
        }
        Ok(Self {
            path: text.into(),
            star: last
                .split_once('*')
                .map(|(before, behind)| (before.to_owned(), behind.to_owned())),
        })
    }
}

impl Pattern {
    /// Whether it is one path alone.
    #[must_use]
    pub const fn is_literal(&self) -> bool {
        self.star.is_none()
    }

    /// Whether a file of that name, in the folder of the path, is meant.
    #[must_use]
    pub fn is_of(&self, name: &str) -> bool {
        self.star.as_ref().is_some_and(|(before, behind)| {
            let rest = name.strip_prefix(before.as_str());
            rest.is_some_and(|rest| rest.ends_with(behind.as_str()))
        })
    }
}

/// A group of a list: pages that have the same labels.
#[derive(Debug, Deserialize)]
struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// The targets of a list with the name `name` that are of this host.
///
/// # Errors
/// [`ConfigError::List`] when it is no such list, and [`ConfigError::File`] with the group when one of its
/// labels is wrong.
pub fn targets_of_list(
    name: &str,
    text: &str,
    is_of_host: &dyn Fn(&str) -> bool,
) -> Result<Vec<(Place, TargetSettings)>, ConfigError> {
    let groups = groups(name, text).map_err(|message| ConfigError::List {
        name: name.to_owned(),
        message,
    })?;
    let mut targets = Vec::new();
    for (
        Group {
            targets: pages,
            labels,
        },
        number,
    ) in groups.into_iter().zip(1..)
    {
        let place = Place::Group {
            name: name.to_owned(),
            number,
        };
        if !labels.contains_key(&format!("{OWN}listen")) {
            continue;
        }
        for page in pages {
            let settings = settings(&page, &labels).map_err(|message| ConfigError::File {
                place: place.clone(),
                message,
            })?;
            // What is in another network namespace has an address that is not the observer's.
            if settings.netns.is_some() || is_of_host(host(&page)) {
                targets.push((place.clone(), settings));
            }
        }
    }
    Ok(targets)
}

fn groups(name: &str, text: &str) -> Result<Vec<Group>, String> {
    if name.ends_with(".json") {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

/// The host of `HOST:PORT`, an IPv6 address without its brackets.
fn host(page: &str) -> &str {
    let host = page.rsplit_once(':').map_or(page, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

/// What the labels of a page say of a target.
fn settings(page: &str, labels: &BTreeMap<String, String>) -> Result<TargetSettings, String> {
    let mut said = Map::new();
    for (label, value) in labels {
        let Some(key) = label.strip_prefix(OWN) else {
            continue;
        };
        let key = key.replace('_', "-");
        if NOT_BY_A_LIST.contains(&key.as_str()) {
            return Err(format!(
                "{label} runs a program or reads a file of this host, and lists are written by others: \
                 such a target belongs in the configuration"
            ));
        }
        let value = match value.parse::<u32>() {
            _ if LISTS.contains(&key.as_str()) => value.split_whitespace().collect(),
            Ok(number) if key == "confirm" => number.into(),
            _ => Value::from(value.as_str()),
        };
        said.insert(key, value);
    }
    let mut settings = TargetSettings::deserialize(Value::Object(said))
        .map_err(|error| format!("in a label {OWN}…: {}", meant(&error.to_string())))?;
    if settings.gauge_url.is_none() {
        settings.gauge_url = Some(vec![Text(url(page, labels)?)]);
    }
    let others = labels.iter().filter(|(label, _)| !label.starts_with("__"));
    let others = others.map(|(label, value)| {
        let wrong = |error| format!("in the label {label}: {error}");
        let name = label.parse().map_err(|error| wrong(format!("{error}")))?;
        let value = value.parse().map_err(|error| wrong(format!("{error}")))?;
        Ok((name, value))
    });
    settings.labels = others.collect::<Result<WrittenLabels, String>>()?;
    Ok(settings)
}

/// The URL at which Prometheus asks for the page.
fn url(page: &str, labels: &BTreeMap<String, String>) -> Result<HttpUrl, String> {
    let of = |label: &str, default: &'static str| {
        let said = labels.get(label).map(String::as_str);
        said.filter(|said| !said.is_empty())
            .unwrap_or(default)
            .to_owned()
    };
    let (scheme, path) = (of("__scheme__", "http"), of("__metrics_path__", "/metrics"));
    let text = format!("{scheme}://{page}{path}");
    let parsed: Result<Text<HttpUrl>, _> = text.parse();
    let Text(HttpUrl(mut url)) =
        parsed.map_err(|error| format!("{text:?} of {page:?}: {error}"))?;
    for (label, value) in labels {
        if let Some(name) = label.strip_prefix("__param_") {
            url.query_pairs_mut().append_pair(name, value);
        }
    }
    Ok(HttpUrl(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"[
        {"targets": ["10.0.0.7:9090", "10.0.0.8:9090"],
         "labels": {"__plumbline_listen": ":3000 :3001", "__plumbline_counts": "established",
                    "__plumbline_confirm": "3", "__metrics_path__": "/m", "__scheme__": "https",
                    "__param_module": "a b", "__meta_x": "y", "job": "chat"}},
        {"targets": ["10.0.0.7:9100"], "labels": {"job": "node"}},
        {"targets": ["10.9.9.9:9090"],
         "labels": {"__plumbline_listen": ":80", "__plumbline_netns": "path:/run/netns/pod"}}
    ]"#;

    fn is_here(host: &str) -> bool {
        host == "10.0.0.7" || host == "::1"
    }

    fn refused(labels: &str) -> String {
        let list = format!(
            r#"[{{"targets": ["[::1]:1"], "labels": {{"__plumbline_listen": ":3000", {labels}}}}}]"#
        );
        let refused = targets_of_list("x.json", &list, &is_here);
        refused.unwrap_err().to_string()
    }

    #[test]
    fn groups_that_say_where_they_listen_are_targets_where_they_are_of_this_host() {
        let targets = targets_of_list("x.json", LIST, &is_here).unwrap();
        let [(place, chat), (_, pod)] = &targets[..] else {
            panic!("{targets:?}")
        };
        assert_eq!(place.to_string(), "x.json, group 1");
        let written = r#"
            listen = [":3000", ":3001"]
            gauge-url = "https://10.0.0.7:9090/m?module=a+b"
            counts = "established"
            confirm = 3
            labels = { job = "chat" }
        "#;
        let expected: TargetSettings = toml::from_str(written).unwrap();
        assert_eq!(*chat, expected);
        assert_eq!(pod.labels, WrittenLabels::new());
    }

    #[test]
    fn yaml_is_the_same() {
        let yaml = "- targets: ['[::1]:9090']\n  labels:\n    __plumbline_listen: ':3000'\n";
        let targets = targets_of_list("x.yml", yaml, &is_here).unwrap();
        let expected = "listen = ':3000'\ngauge-url = 'http://[::1]:9090/metrics'";
        let expected: TargetSettings = toml::from_str(expected).unwrap();
        assert_eq!(targets[0].1, expected);
        let wrong = targets_of_list("x.yml", "a: [", &is_here).unwrap_err();
        assert!(wrong.to_string().starts_with("x.yml: "), "{wrong}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_group() {
        for (labels, said) in [
            (
                r#""__plumbline_gauge_urls": """#,
                "did you mean `gauge-url`?",
            ),
            (r#""__plumbline_interval": "often""#, "expected a duration"),
            (r#""__plumbline_confirm": "often""#, "invalid type"),
            (
                r#""__plumbline_claim_command": "/bin/sh""#,
                "belongs in the configuration",
            ),
            (
                r#""__scheme__": "ftp""#,
                "expected an http:// or https:// URL",
            ),
            (r#""target": "x""#, "is the observer's own"),
        ] {
            let error = refused(labels);
            assert!(error.starts_with("x.json, group 1: "), "{error}");
            assert!(error.contains(said), "{error}");
        }
        let error = targets_of_list("x.json", "{}", &is_here).unwrap_err();
        assert!(error.to_string().starts_with("x.json: "), "{error}");
    }

    #[test]
    fn one_star_may_stand_in_the_last_part_of_a_path() {
        let pattern: Pattern = "/etc/sd/chat-*.json".parse().unwrap();
        assert!(pattern.is_of("chat-1.json") && pattern.is_of("chat-.json"));
        assert!(!pattern.is_of("chat-1.yml") && !pattern.is_of("other.json"));
        assert!(!pattern.is_literal());
        let literal: Pattern = "sd.yaml".parse().unwrap();
        assert!(literal.is_literal() && !literal.is_of("sd.yaml"));
        for bad in ["/etc/*/x.json", "/etc/**.json", "/etc/targets", ""] {
            assert_eq!(bad.parse::<Pattern>(), Err(PatternError), "{bad}");
        }
    }
}
