//! All targets, a row each, the worst first.

use std::time::SystemTime;

use maud::{Markup, html};

use super::{
    Row, ago,
    detail::{badge, sentence, since},
    sparkline, words,
};

/// So many targets fit a screen; with more, the list can be searched.
const SCREENFUL: usize = 8;

pub(super) fn render(rows: &[Row<'_>], shown: Option<&Row<'_>>, now: SystemTime) -> Markup {
    let shown = shown.map(|row| row.report.name.as_str());
    html! {
        section #overview aria-labelledby="overview-title" {
            h2 #overview-title { "Targets" }
            @if rows.len() > SCREENFUL {
                // It does something with scripts only, which unhide it.
                p #filter data-live="own" hidden {
                    label for="filter-text" { "Show targets whose name or verdict contains " }
                    input #filter-text type="search" autocomplete="off" spellcheck="false";
                    " " span #filter-count role="status" {}
                }
            }
            table .targets {
                thead {
                    tr {
                        th scope="col" { "Verdict" }
                        th scope="col" { "Target" }
                        th scope="col" { "What is so" }
                        th .wide .number scope="col" { "Gauge" }
                        th .wide .number scope="col" { "Kernel" }
                        th .wide .number scope="col" { "Drift" }
                        th .wide scope="col" { "For" }
                        th .wide scope="col" { "Course" }
                    }
                }
                tbody {
                    @for row in rows { (target(row, shown, now)) }
                }
            }
        }
    }
}

fn target(row: &Row<'_>, shown: Option<&str>, now: SystemTime) -> Markup {
    let report = &row.report;
    let name = report.name.as_str();
    let current = (shown == Some(name)).then_some("true");
    html! {
        tr data-key=(name) data-target=(name) data-verdict=(report.verdict) {
            td { (badge(&report.verdict)) }
            th scope="row" {
                a href={ "/?target=" (name) "#target" } aria-current=[current] { (name) }
            }
            td .what { span { (sentence(report, now)) } }
            td .wide .number { (words::claim(report)) }
            td .wide .number { (words::band(report.low, report.high).unwrap_or_default()) }
            td .wide .number { (words::drift(report.drift).unwrap_or_default()) }
            td .wide { (since(ago(report.since.as_ref(), now))) }
            td .wide { (sparkline::render(&row.target.history())) }
        }
    }
}
