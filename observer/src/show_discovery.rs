//! Prints what `discover` found.

use anyhow::Context as _;
use observer::{
    args::Output,
    config::{HttpUrl, Text},
    discover::{self, Only},
};

use crate::run;

/// A configuration file with what was found as comments, or rows of JSON.
///
/// # Errors
/// When nothing can be looked at.
pub(crate) fn show(
    only: Option<Only>,
    pages: Vec<Text<HttpUrl>>,
    output: Output,
) -> anyhow::Result<String> {
    let pages = pages.into_iter().map(|Text(HttpUrl(url))| url).collect();
    let found = run::block_on(async { Ok(discover::discover(only, pages).await?) })?;
    match output {
        Output::Table => Ok(found.to_toml()),
        Output::Json => {
            let rows = serde_json::to_string_pretty(&found.rows());
            Ok(rows.context("write JSON")? + "\n")
        }
    }
}
