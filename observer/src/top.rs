//! `observer top`: the terminal, over what this process measures or another observer says.

use std::io::IsTerminal as _;
use std::sync::Arc;

use anyhow::Context as _;
use observer::{
    args::Sources,
    config::{HttpUrl, Text},
    privileges,
    tui::{self, Source},
    watch::{Start, Tasks},
};

use crate::run;

/// Shows the targets until told to stop.
///
/// # Errors
/// When there is no terminal, no observer answers, or the kernel refuses.
pub(crate) fn top(sources: Sources, url: Option<Text<HttpUrl>>) -> anyhow::Result<()> {
    tui::require_terminal()?;
    if let Some(url) = sources.observer(url) {
        // What another observer answers is read without any capability.
        privileges::drop_after_attach(false)?;
        return run::block_on(async {
            let source = Source::there(&url).await.with_context(|| {
                format!(
                    "cannot ask an observer at {url}; hint: start observer run, name another with \
                     --url, or give a target to measure here (--listen, --gauge-url)"
                )
            })?;
            tui::run(source, Tasks::default(), run::stopped()?).await
        });
    }
    let config = sources.load()?;
    // On the terminal itself a log would be drawn over.
    if !std::io::stderr().is_terminal() {
        run::init_log(config.log);
    }
    let watch = Arc::new(run::open(&config)?);
    run::block_on(async {
        let tasks = watch.spawn(Start::AtOnce)?;
        tui::run(Source::Here(watch), tasks, run::stopped()?).await
    })
}
