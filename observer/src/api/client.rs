//! A running observer, asked over its API by the commands that look at it.
//!
//! It knows the paths and the types. What it costs at most is the fetcher's business.

use std::time::Duration;

use clap::ValueEnum;
use serde::de::DeserializeOwned;
use url::Url;

use super::{HistoryReport, SocketList, TargetList, TargetReport};
use crate::{
    claim::{Access, FetchError, Fetcher, Limits},
    sockets::Query,
};

/// What one answer may cost: an observer of 256 targets says some megabytes.
const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(30),
    body: 16 << 20,
};

/// Asks one observer.
pub struct Client {
    base: Url,
    targets: Fetcher,
}

/// Why an observer has not answered.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no answer.
    #[error("no answer from {url}")]
    Fetch {
        /// What was asked.
        url: Url,
        /// Why.
        #[source]
        source: Box<FetchError>,
    },
    /// The answer is not an observer's.
    #[error("what {url} answers is not the API of an observer")]
    Malformed {
        /// What was asked.
        url: Url,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Whether nobody listens there.
    #[must_use]
    pub fn is_nobody_there(&self) -> bool {
        matches!(self, Self::Fetch { source, .. } if matches!(**source, FetchError::Connect(_)))
    }
}

impl Client {
    /// A client of the observer whose status page is `base`.
    ///
    /// # Errors
    /// When the URL is of no use.
    pub fn new(base: &Url) -> Result<Self, ClientError> {
        Ok(Self {
            base: base.clone(),
            targets: fetcher(&path(base, &[]))?,
        })
    }

    /// Whom it asks.
    #[must_use]
    pub const fn base(&self) -> &Url {
        &self.base
    }

    /// Every target.
    ///
    /// # Errors
    /// When there is no answer, or it is not an observer's.
    pub async fn targets(&mut self) -> Result<Vec<TargetReport>, ClientError> {
        let list: TargetList = get(&mut self.targets).await?;
        Ok(list.targets)
    }

    /// The last checks of a target.
    ///
    /// # Errors
    /// As [`Self::targets`].
    pub async fn history(&self, name: &str) -> Result<HistoryReport, ClientError> {
        get(&mut fetcher(&path(&self.base, &[name, "history"]))?).await
    }

    /// The open sockets of a target.
    ///
    /// # Errors
    /// As [`Self::targets`].
    pub async fn sockets(&self, name: &str, query: Query) -> Result<SocketList, ClientError> {
        let mut url = path(&self.base, &[name, "sockets"]);
        let pairs = [
            ("class", query.class.as_ref().and_then(value_name)),
            ("sort", query.sort.as_ref().and_then(value_name)),
            ("limit", query.limit.map(|limit| limit.to_string())),
        ];
        for (key, value) in pairs {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, &value);
            }
        }
        get(&mut fetcher(&url)?).await
    }
}

/// The name of a value, as the API and the command line have it.
fn value_name(value: &impl ValueEnum) -> Option<String> {
    let value = value.to_possible_value()?;
    Some(value.get_name().to_owned())
}

/// `/api/v1/targets`, and below it.
fn path(base: &Url, below: &[&str]) -> Url {
    let mut url = base.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        // A page in a folder, as behind a proxy, is told from the folder by its last slash.
        segments.pop_if_empty().extend(["api", "v1", "targets"]);
        segments.extend(below);
    }
    url
}

fn fetcher(url: &Url) -> Result<Fetcher, ClientError> {
    Fetcher::new(url, &Access::default(), LIMITS).map_err(|error| failed(url, error))
}

fn failed(url: &Url, error: FetchError) -> ClientError {
    ClientError::Fetch {
        url: url.clone(),
        source: Box::new(error),
    }
}

async fn get<T: DeserializeOwned>(fetcher: &mut Fetcher) -> Result<T, ClientError> {
    let url = fetcher.url().clone();
    let scrape = match fetcher.fetch().await {
        Ok(scrape) => scrape,
        Err(error) => return Err(failed(&url, error)),
    };
    serde_json::from_slice(&scrape.body).map_err(|source| ClientError::Malformed { url, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_an_answer_have_a_limit() {
        let check = r#"{"at":"","verdict":"","rule":""}"#;
        let history = |count: usize| {
            let checks = vec![check; count].join(",");
            let text = format!(r#"{{"name":"x","checks":[{checks}]}}"#);
            serde_json::from_str::<HistoryReport>(&text)
        };
        let most = crate::check::History::MOST;
        assert_eq!(history(most).unwrap().checks.len(), most);
        let error = history(most + 1).unwrap_err().to_string();
        assert!(error.contains("a list of at most 720"), "{error}");
    }

    #[test]
    fn paths_are_below_the_page() {
        let at = |base: &str, below: &[&str]| path(&base.parse().unwrap(), below).to_string();
        assert_eq!(at("http://h:1", &[]), "http://h:1/api/v1/targets");
        assert_eq!(
            at("http://h/observer/", &["a b", "sockets"]),
            "http://h/observer/api/v1/targets/a%20b/sockets"
        );
        assert_eq!(at("http://h/o", &[]), "http://h/o/api/v1/targets");
    }
}
