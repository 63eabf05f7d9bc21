//! Prints the recipes: a table of all, or one of them as a part of a configuration file.

use std::fmt::Write as _;

use anyhow::Context as _;
use observer::{
    args::Output,
    recipes::{self, Recipe},
};

/// The recipe of this name, or else all.
///
/// # Errors
/// When there is no such recipe.
pub(crate) fn list(name: Option<&str>, output: Output) -> anyhow::Result<String> {
    match (name, output) {
        (Some(name), Output::Table) => Ok(recipes::find(name)?.to_toml()),
        (Some(name), Output::Json) => json(recipes::find(name)?),
        (None, Output::Table) => Ok(table(recipes::all())),
        (None, Output::Json) => json(recipes::all()),
    }
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(value).context("write JSON")? + "\n")
}

fn table(recipes: &[Recipe]) -> String {
    let claims: Vec<_> = recipes
        .iter()
        .map(|recipe| recipe.read().claim.to_string())
        .collect();
    let mut text = format!("{:<16} {:<48} COUNTS\n", "NAME", "GAUGE");
    for (recipe, claim) in recipes.iter().zip(claims) {
        let Recipe { name, counts, .. } = recipe;
        let _ = writeln!(text, "{name:<16} {claim:<48} {counts}");
    }
    text
}
