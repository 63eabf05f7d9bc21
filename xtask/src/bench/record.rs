//! `bench.toml`: the ratios that were last measured, for `--quick` to compare with.
//!
//! It knows the file; what a ratio means is for people to read in `BENCHMARKS.md`.

use std::fs;

use anyhow::{Context as _, Result};
use toml::{Table, Value};

use super::figure::{Ratio, Spread, short};
use crate::workspace;

const FILE: &str = "bench.toml";

const HEAD: &str = "# Written by `cargo xtask bench`, read by `cargo xtask bench --quick`.\n\n";

/// Puts ratios in the place of those with the same names.
///
/// # Errors
/// The file cannot be read or written.
pub(super) fn keep(ratios: &[Ratio]) -> Result<()> {
    let mut table = read()?;
    for ratio in ratios {
        table.insert(ratio.name.to_owned(), Value::Table(entry(ratio)));
    }
    let text = toml::to_string(&table).context("write TOML")?;
    fs::write(workspace::root().join(FILE), format!("{HEAD}{text}")).context("write bench.toml")
}

/// Those ratios that are worse than recorded by more than the recorded spread, in words.
///
/// # Errors
/// The file cannot be read.
pub(super) fn worsened(ratios: &[Ratio]) -> Result<Vec<String>> {
    let table = read()?;
    Ok(ratios
        .iter()
        .filter_map(|ratio| judge(ratio, &recorded(&table, ratio.name)?))
        .collect())
}

fn judge(ratio: &Ratio, recorded: &Spread) -> Option<String> {
    let worsening = ratio.goal.worsening(recorded.median, ratio.spread.median);
    // What is no number is worse than any.
    let is_bad = worsening.is_nan() || worsening > recorded.width();
    is_bad.then(|| {
        format!(
            "{}: {}, recorded {} with a spread of {}",
            ratio.name,
            ratio.spread,
            recorded,
            short(recorded.width())
        )
    })
}

fn read() -> Result<Table> {
    let file = workspace::root().join(FILE);
    if !file.exists() {
        return Ok(Table::new());
    }
    let text = fs::read_to_string(file).context("read bench.toml")?;
    text.parse().context("parse bench.toml")
}

fn entry(ratio: &Ratio) -> Table {
    let Spread {
        median,
        least,
        most,
    } = ratio.spread;
    let mut table = Table::new();
    for (key, number) in [("median", median), ("least", least), ("most", most)] {
        table.insert(key.to_owned(), Value::Float(number));
    }
    table.insert("goal".to_owned(), Value::String(ratio.goal.to_string()));
    table
}

fn recorded(table: &Table, name: &str) -> Option<Spread> {
    let entry = table.get(name)?;
    let number = |key| entry.get(key)?.as_float();
    Some(Spread {
        median: number("median")?,
        least: number("least")?,
        most: number("most")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::figure::Goal;

    fn ratio(rounds: &[f64]) -> Ratio {
        Ratio::new("a / b", Spread::of(rounds), Goal::AtMost(3.0))
    }

    #[test]
    fn only_what_is_worse_by_more_than_the_spread_is_told() {
        let before = ratio(&[1.0, 2.0, 3.0]);
        let table: Table = [("a / b".to_owned(), Value::Table(entry(&before)))]
            .into_iter()
            .collect();
        let kept = recorded(&table, "a / b").expect("it was put there");
        assert_eq!(kept, before.spread);
        assert_eq!(judge(&ratio(&[4.0]), &kept), None);
        assert_eq!(judge(&ratio(&[0.5]), &kept), None);
        let said = judge(&ratio(&[4.1]), &kept).expect("it is worse");
        assert!(said.contains("a / b"), "{said}");
        assert!(judge(&ratio(&[f64::NAN]), &kept).is_some());
    }
}
