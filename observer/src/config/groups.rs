//! What stands in a list of targets: groups of pages with labels, in the format of Prometheus' file_sd and
//! http_sd, or what a Prometheus server says of the targets that it scrapes.
//!
//! One list may serve Prometheus and the observer. A group of it is a target of the observer's where it has
//! the label `__plumbline_listen`: `__plumbline_KEY` says what KEY says in a `[[target]]`, with `_` for `-`;
//! `__scheme__`, `__metrics_path__` and `__param_NAME` make the page's URL, as they do for Prometheus; what
//! does not begin with `__` is a label of the target. The lists come in as text, and whether an address is
//! this host's is asked of whoever knows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{
    Source, TargetSettings, Text,
    error::{ConfigError, Place},
    file::meant,
    labels::WrittenLabels,
    value::HttpUrl,
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

/// Pages that have the same labels.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Group {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A list of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// Where it is: a file or a URL.
    pub name: String,
    /// What kind of place that is.
    pub source: Source,
    /// What stands in it.
    pub groups: Vec<Group>,
}

/// What Prometheus answers at `/api/v1/targets`, as far as it is of use.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    active_targets: Vec<Active>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    /// As its discovery has them, before any is replaced.
    discovered_labels: BTreeMap<String, String>,
    /// As its samples have them.
    labels: BTreeMap<String, String>,
    scrape_url: String,
}

impl Active {
    /// What is the observer's of its discovery, what its samples are called, and the page that is scraped.
    fn into_group(self) -> Group {
        let mut labels = self.discovered_labels;
        labels.retain(|label, _| label.starts_with(OWN));
        labels.extend(self.labels);
        let page = self.scrape_url.split_once("://").map(|(_, page)| page);
        let page = page.and_then(|page| page.split(['/', '?']).next());
        let page = page.unwrap_or_default().to_owned();
        labels
            .entry(format!("{OWN}gauge_url"))
            .or_insert(self.scrape_url);
        Group {
            targets: vec![page],
            labels,
        }
    }
}

impl List {
    /// Reads the text of a list; `name` is where it is.
    ///
    /// # Errors
    /// [`ConfigError::List`] when it is none.
    pub fn of_text(name: &str, source: Source, text: &str) -> Result<Self, ConfigError> {
        let groups = match source {
            Source::Prometheus => serde_json::from_str::<Answer>(text)
                .map(|answer| {
                    let active = answer.data.active_targets.into_iter();
                    active.map(Active::into_group).collect()
                })
                .map_err(|error| error.to_string()),
            Source::File if !name.ends_with(".json") => {
                serde_saphyr::from_str(text).map_err(|error| error.to_string())
            }
            _ => serde_json::from_str(text).map_err(|error| error.to_string()),
        };
        let name = name.to_owned();
        match groups {
            Ok(groups) => Ok(Self {
                name,
                source,
                groups,
            }),
            Err(message) if source == Source::Prometheus => {
                Err(ConfigError::Server { name, message })
            }
            Err(message) => Err(ConfigError::List { name, message }),
        }
    }

    /// Its targets that are of this host.
    ///
    /// # Errors
    /// [`ConfigError::File`] with the group when one of its labels is wrong.
    pub fn targets(
        &self,
        is_of_host: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(Place, TargetSettings)>, ConfigError> {
        let mut targets = Vec::new();
        for (group, number) in self.groups.iter().zip(1..) {
            let place = Place::Group {
                name: self.name.clone(),
                source: self.source,
                number,
            };
            targets.extend(group.settings(&place, is_of_host)?);
        }
        Ok(targets)
    }
}

impl Group {
    fn settings(
        &self,
        place: &Place,
        is_of_host: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<(Place, TargetSettings)>, ConfigError> {
        let mut targets = Vec::new();
        if !self.labels.contains_key(&format!("{OWN}listen")) {
            return Ok(targets);
        }
        for page in &self.targets {
            let settings = settings(page, &self.labels).map_err(|message| ConfigError::File {
                place: place.clone(),
                message,
            })?;
            // What is in another network namespace has an address that is not the observer's.
            if settings.is_elsewhere() || is_of_host(host(page)) {
                targets.push((place.clone(), settings));
            }
        }
        Ok(targets)
    }
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

    fn read(name: &str, text: &str) -> Result<Vec<(Place, TargetSettings)>, ConfigError> {
        List::of_text(name, Source::File, text)?.targets(&is_here)
    }

    #[test]
    fn what_a_prometheus_scrapes_is_a_list_with_its_pages() {
        let answer = r#"{"status": "success", "data": {"activeTargets": [
            {"discoveredLabels": {"__address__": "10.0.0.7:9090", "__plumbline_listen": ":3000",
                                  "job": "before"},
             "labels": {"job": "chat", "instance": "10.0.0.7:9090"}, "scrapePool": "chat",
             "scrapeUrl": "http://10.0.0.7:9090/m?x=y", "health": "up", "lastError": ""},
            {"discoveredLabels": {"__address__": "10.9.9.9:9090", "__plumbline_listen": ":3000"},
             "labels": {"job": "chat"}, "scrapeUrl": "http://10.9.9.9:9090/metrics"},
            {"discoveredLabels": {"__address__": "10.0.0.7:9100"}, "labels": {},
             "scrapeUrl": "http://10.0.0.7:9100/metrics"}
        ], "droppedTargets": []}}"#;
        let list = List::of_text("http://p/api/v1/targets", Source::Prometheus, answer).unwrap();
        let targets = list.targets(&is_here).unwrap();
        let [(place, chat)] = &targets[..] else {
            panic!("{targets:?}")
        };
        assert_eq!(place.to_string(), "http://p/api/v1/targets, group 1");
        let written = r#"
            listen = ":3000"
            gauge-url = "http://10.0.0.7:9090/m?x=y"
            labels = { job = "chat", instance = "10.0.0.7:9090" }
        "#;
        let expected: TargetSettings = toml::from_str(written).unwrap();
        assert_eq!(*chat, expected);
        for wrong in ["[]", "{\"status\": \"error\"}", "<html>"] {
            let error = List::of_text("http://p/", Source::Prometheus, wrong).unwrap_err();
            assert!(
                error.to_string().contains("is it a Prometheus server?"),
                "{error}"
            );
        }
    }

    fn refused(labels: &str) -> String {
        let list = format!(
            r#"[{{"targets": ["[::1]:1"], "labels": {{"__plumbline_listen": ":3000", {labels}}}}}]"#
        );
        let refused = read("x.json", &list);
        refused.unwrap_err().to_string()
    }

    #[test]
    fn groups_that_say_where_they_listen_are_targets_where_they_are_of_this_host() {
        let targets = read("x.json", LIST).unwrap();
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
        let targets = read("x.yml", yaml).unwrap();
        let expected = "listen = ':3000'\ngauge-url = 'http://[::1]:9090/metrics'";
        let expected: TargetSettings = toml::from_str(expected).unwrap();
        assert_eq!(targets[0].1, expected);
        let wrong = read("x.yml", "a: [").unwrap_err();
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
        let error = read("x.json", "{}").unwrap_err();
        assert!(error.to_string().starts_with("x.json: "), "{error}");
    }
}
