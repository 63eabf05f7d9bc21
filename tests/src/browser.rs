//! A headless Chromium, met as people meet a page: by what it shows, by keys, by pictures.
//!
//! Node and playwright-core drive it (`browser/driver.js`): a command a line, an answer a line. It
//! judges nothing, and knows no page.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{foreign, skip, wait};

/// Longest time for one command, on a machine that is busy with other tests.
const BOUND: Duration = Duration::from_secs(60);

/// How wide a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// A desktop's window.
    Wide,
    /// A phone.
    Narrow,
}

/// A browser with one page. It ends with the value.
#[derive(Debug)]
pub struct Browser {
    driver: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Browser {
    /// Nothing where there is no browser or no driver; the skip is recorded.
    ///
    /// # Errors
    /// The driver cannot be started.
    pub async fn start_or_skip() -> Result<Option<Self>> {
        let modules = foreign::installed("node/node_modules");
        let Some(chromium) = find_chromium() else {
            skip("needs Chromium");
            return Ok(None);
        };
        let needs = ["playwright-core", "axe-core"];
        if !needs.iter().all(|needed| modules.join(needed).is_dir()) {
            skip("needs playwright-core and axe-core in $PLUMBLINE_FOREIGN/node");
            return Ok(None);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser/driver.js");
        let mut driver = Command::new("node")
            .arg(script)
            .env("NODE_PATH", modules)
            .env("CHROMIUM", chromium)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start node")?;
        let commands = driver.stdin.take().context("its stdin is a pipe")?;
        let answers = driver.stdout.take().context("its stdout is a pipe")?;
        Ok(Some(Self {
            driver,
            commands,
            answers: BufReader::new(answers).lines(),
        }))
    }

    /// Opens `url` in a browser with an empty profile; with `scripts`, or as if there were none.
    ///
    /// # Errors
    /// The page does not load.
    pub async fn open(&mut self, url: &str, size: Size, scripts: bool) -> Result<()> {
        let size = match size {
            Size::Wide => "wide",
            Size::Narrow => "narrow",
        };
        let open = json!({ "do": "open", "url": url, "size": size, "scripts": scripts });
        self.ask(open).await.map(drop)
    }

    /// The text of every element that the selector finds and that is shown.
    ///
    /// # Errors
    /// The browser is gone, or does not know the selector.
    pub async fn texts(&mut self, selector: &str) -> Result<Vec<String>> {
        let texts = self
            .ask(json!({ "do": "texts", "selector": selector }))
            .await?;
        serde_json::from_value(texts).context("texts")
    }

    /// The text of the only element that the selector finds and that is shown.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub async fn text(&mut self, selector: &str) -> Result<String> {
        let texts = self.texts(selector).await?;
        match <[String; 1]>::try_from(texts) {
            Ok([text]) => Ok(text),
            Err(texts) => bail!("{selector} has {} elements: {texts:?}", texts.len()),
        }
    }

    /// The cells of a table's rows, as far as they are shown.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn rows(&mut self, table: &str) -> Result<Vec<Vec<String>>> {
        let rows = self.ask(json!({ "do": "rows", "selector": table })).await?;
        serde_json::from_value(rows).context("rows")
    }

    /// The title of the page, as its tab shows it.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn title(&mut self) -> Result<String> {
        let title = self.ask(json!({ "do": "title" })).await?;
        serde_json::from_value(title).context("title")
    }

    /// Puts the focus on an element.
    ///
    /// # Errors
    /// There is none.
    pub async fn focus(&mut self, selector: &str) -> Result<()> {
        let focus = json!({ "do": "focus", "selector": selector });
        self.ask(focus).await.map(drop)
    }

    /// Presses a key, and tells where the focus is then: an id, a link's address or an element.
    ///
    /// # Errors
    /// There is no such key.
    pub async fn press(&mut self, key: &str) -> Result<String> {
        let focus = self.ask(json!({ "do": "press", "key": key })).await?;
        serde_json::from_value(focus).context("where the focus is")
    }

    /// Writes into a field.
    ///
    /// # Errors
    /// There is none.
    pub async fn fill(&mut self, selector: &str, text: &str) -> Result<()> {
        let fill = json!({ "do": "fill", "selector": selector, "text": text });
        self.ask(fill).await.map(drop)
    }

    /// Keeps pictures of the page in `target/screenshots`: light and dark, wide and narrow. Names
    /// those that are wider than their window.
    ///
    /// # Errors
    /// They cannot be written.
    pub async fn pictures(&mut self, name: &str) -> Result<Vec<String>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        let pictures = json!({ "do": "pictures", "folder": folder, "name": name });
        let overflowing = self.ask(pictures).await?;
        serde_json::from_value(overflowing).context("pictures")
    }

    /// What axe finds to be inaccessible, in light and in dark.
    ///
    /// # Errors
    /// It cannot be run.
    pub async fn axe(&mut self) -> Result<Vec<String>> {
        let found = self.ask(json!({ "do": "axe" })).await?;
        serde_json::from_value(found).context("violations")
    }

    /// Errors on the console, violated policies, requests to other hosts: since this was last asked.
    ///
    /// # Errors
    /// The browser is gone.
    pub async fn problems(&mut self) -> Result<Vec<String>> {
        let problems = self.ask(json!({ "do": "problems" })).await?;
        serde_json::from_value(problems).context("problems")
    }

    /// Closes the browser and waits until its driver has ended.
    ///
    /// # Errors
    /// It does not end.
    pub async fn close(mut self) -> Result<()> {
        drop(self.commands);
        let ended = tokio::time::timeout(BOUND, self.driver.wait()).await;
        let status = ended.context("the driver does not end")??;
        anyhow::ensure!(status.success(), "the driver: {status}");
        Ok(())
    }

    async fn ask(&mut self, command: Value) -> Result<Value> {
        let bound = BOUND * wait::slowness();
        let answer = tokio::time::timeout(bound, async {
            let line = format!("{command}\n");
            self.commands.write_all(line.as_bytes()).await?;
            self.answers.next_line().await
        });
        let line = answer
            .await
            .with_context(|| format!("no answer to {command}"))??;
        let line = line.with_context(|| format!("the driver ended at {command}"))?;
        let mut answer: Value = serde_json::from_str(&line).context("parse the answer")?;
        if let Some(failure) = answer["failed"].as_str() {
            bail!("{failure}");
        }
        Ok(answer["done"].take())
    }
}

fn find_chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|chromium| chromium.is_file())
}
