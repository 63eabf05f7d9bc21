//! Pages that are lists of targets: asked for at intervals, and remembered while they do not answer.
//!
//! What is remembered is what a list says, not its text: a Prometheus server's account of its targets is
//! another one after each scrape.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{sync::Notify, task::JoinHandle, time::sleep};

use super::{LoadError, MAX_FILE};
use crate::{
    chain::Chain,
    claim::{Expected, Fetcher, Limits},
    config::{Config, Discovery, List, Page, Source},
};

/// What pages said when they last answered.
#[derive(Debug, Clone, Default)]
pub struct Pages(Arc<Mutex<Vec<List>>>);

impl Pages {
    /// What a page said, if it ever answered.
    pub(super) fn list(&self, page: &Page) -> Option<List> {
        let lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |list: &&List| (list.source, &*list.name) == (page.source, page.url.as_str());
        lists.iter().find(is_its).cloned()
    }

    /// Remembers what a page says. Whether that is something else than before.
    fn keep(&self, list: List) -> bool {
        let mut lists = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_its = |other: &&mut List| (other.source, &other.name) == (list.source, &list.name);
        match lists.iter_mut().find(is_its) {
            Some(before) if *before == list => return false,
            Some(before) => *before = list,
            None => lists.push(list),
        }
        true
    }

    /// Asks a page. Whether it says something else than before.
    async fn ask(&self, page: &Page) -> Result<bool, LoadError> {
        let failed = |source| LoadError::Page {
            url: page.url.to_string(),
            source,
        };
        let limits = Limits {
            body: MAX_FILE as usize,
            ..Limits::default()
        };
        let fetcher = Fetcher::new(&page.url, &page.access, limits).map_err(failed)?;
        let scrape = fetcher.expecting(Expected::Json).fetch().await;
        let body = scrape.map_err(failed)?.body;
        let text = String::from_utf8_lossy(&body);
        let list = List::of_text(page.url.as_str(), page.source, &text)?;
        Ok(self.keep(list))
    }

    /// Asks all pages, one after the other, and blocks until they have answered.
    pub(super) fn ask_all<'a>(
        &self,
        pages: impl Iterator<Item = &'a Page>,
    ) -> Result<(), LoadError> {
        let mut pages = pages.peekable();
        if pages.peek().is_none() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::Runtime)?;
        runtime.block_on(async {
            for page in pages {
                self.ask(page).await?;
            }
            Ok(())
        })
    }
}

/// The pages of a configuration.
pub(super) fn pages_of(discovery: &[Discovery]) -> impl Iterator<Item = &Page> {
    discovery.iter().filter_map(|discovery| match discovery {
        Discovery::Page(page) => Some(page),
        Discovery::Files(_) => None,
    })
}

/// Asks the pages of a configuration again and again.
pub struct Refresher {
    pages: Pages,
    changed: Arc<Notify>,
    tasks: Vec<(Page, Refreshing)>,
    failed: Failed,
}

/// Is told of each page that does not answer.
type Failed = Arc<dyn Fn(Source) + Send + Sync>;

/// A page that is asked until this is dropped.
#[derive(Debug)]
struct Refreshing(JoinHandle<()>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Refresher {
    /// Asks nobody yet. `failed` is told of each page that does not answer; `pages` keep what they say.
    #[must_use]
    pub fn new(pages: Pages, failed: impl Fn(Source) + Send + Sync + 'static) -> Self {
        Self {
            pages,
            changed: Arc::default(),
            tasks: Vec::new(),
            failed: Arc::new(failed),
        }
    }

    /// What the pages said.
    #[must_use]
    pub fn pages(&self) -> Pages {
        self.pages.clone()
    }

    /// The pages are those of `config` from now on. Where one has never answered, it is asked at once.
    pub fn follow(&mut self, config: &Config) {
        let wanted: Vec<&Page> = pages_of(&config.discovery).collect();
        self.tasks.retain(|(page, _)| wanted.contains(&page));
        for page in wanted {
            if self.tasks.iter().all(|(other, _)| other != page) {
                let (changed, failed) = (Arc::clone(&self.changed), Arc::clone(&self.failed));
                let refresh = refresh(page.clone(), self.pages(), changed, failed);
                self.tasks
                    .push((page.clone(), Refreshing(tokio::spawn(refresh))));
            }
        }
    }

    /// Returns once a page says something else.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// A failure is logged once, until the page answers again.
async fn refresh(page: Page, pages: Pages, changed: Arc<Notify>, failed: Failed) {
    let mut answers = true;
    loop {
        match pages.ask(&page).await {
            Ok(is_other) => {
                if !answers {
                    tracing::info!(url = %page.url, "the list of targets answers again");
                }
                answers = true;
                if is_other {
                    changed.notify_one();
                }
            }
            Err(error) => {
                failed(page.source);
                if answers {
                    let error = Chain(&error);
                    tracing::warn!(%error, "a list of targets does not answer, and what it said stays");
                }
                answers = false;
            }
        }
        sleep(page.refresh_interval).await;
    }
}
