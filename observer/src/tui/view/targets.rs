//! All targets: a line each, and the sentence of the selected one.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Block, Borders, Cell},
};

use super::{SMALL, number, prose, table};
use crate::{
    api::TargetReport,
    sockets,
    tui::{
        palette::{Palette, symbol},
        poll::Row,
        state::State,
        trend::sparkline,
    },
};

/// Lines of the sentence, with the rule above it.
const SENTENCE: u16 = 5;
/// Of the marker and the columns between name and trend, with their gaps.
const FIXED: u16 = 53;
/// Narrowest name and narrowest trend.
const NARROW: u16 = 12;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let sentence = if area.height >= SMALL { SENTENCE } else { 0 };
    let [list, said] =
        Layout::vertical([Constraint::Min(0), Constraint::Length(sentence)]).areas(area);
    let rows = state.rows();
    let keys: Vec<_> = rows.iter().map(|row| row.report.name.as_str()).collect();
    let selected = state.targets.position(&keys);
    lines(frame, list, palette, &rows, selected);
    let text = match selected {
        Some(selected) => rows[selected].report.sentence.as_str(),
        None if state.updated.is_none() => "",
        None => "No target matches the filter.",
    };
    frame.render_widget(prose(text).block(Block::new().borders(Borders::TOP)), said);
}

fn lines(
    frame: &mut Frame<'_>,
    area: Rect,
    palette: Palette,
    rows: &[&Row],
    selected: Option<usize>,
) {
    let name = ("TARGET", Constraint::Min(NARROW));
    let verdict = ("VERDICT", Constraint::Length(11));
    let claim = ("   CLAIM", Constraint::Length(8));
    let drift = ("  DRIFT", Constraint::Length(7));
    if area.width >= FIXED + 2 * NARROW {
        let longest = rows.iter().map(|row| row.report.name.chars().count()).max();
        let longest = longest.and_then(|length| u16::try_from(length).ok());
        let left = area.width - FIXED;
        let name = longest.unwrap_or(0).clamp(NARROW, left / 2);
        let trend = left - name;
        let columns = [
            ("TARGET", Constraint::Length(name)),
            verdict,
            claim,
            ("       KERNEL", Constraint::Length(13)),
            drift,
            ("   FOR", Constraint::Length(6)),
            ("LAST CHECKS", Constraint::Length(trend)),
        ];
        let cells = rows.iter().map(|row| {
            let report = &row.report;
            [
                Cell::new(report.name.as_str()),
                word(report, palette),
                number(report.claim),
                number(band(report)),
                number(sign(report)),
                number(duration(report)),
                Cell::new(sparkline(&row.trend, usize::from(trend))),
            ]
        });
        table(frame, area, palette, columns, cells.collect(), selected);
    } else if area.width >= 48 {
        let cells = rows.iter().map(|row| {
            let report = &row.report;
            [
                Cell::new(report.name.as_str()),
                word(report, palette),
                number(report.claim),
                number(sign(report)),
            ]
        });
        let columns = [name, verdict, claim, drift];
        table(frame, area, palette, columns, cells.collect(), selected);
    } else {
        let cells = rows
            .iter()
            .map(|row| [word(&row.report, palette), Cell::new(&*row.report.name)]);
        let columns = [verdict, name];
        table(frame, area, palette, columns, cells.collect(), selected);
    }
}

/// The verdict as a sign and a word.
pub(super) fn word<'a>(report: &TargetReport, palette: Palette) -> Cell<'a> {
    let verdict = &report.verdict;
    let text = format!("{} {verdict}", symbol(verdict));
    Cell::new(Line::from(Span::styled(text, palette.verdict(verdict))))
}

/// What an honest service could have claimed.
pub(super) fn band(report: &TargetReport) -> Option<String> {
    let (low, high) = report.low.zip(report.high)?;
    Some(if low == high {
        low.to_string()
    } else {
        format!("{low}–{high}")
    })
}

/// The sure part of the drift, where there is one.
fn sign(report: &TargetReport) -> Option<String> {
    report.drift.map(|drift| match drift {
        0 => "0".to_owned(),
        drift => format!("{drift:+}"),
    })
}

/// How long the drift has stood at the last check, by one and the same clock.
pub(super) fn duration(report: &TargetReport) -> Option<String> {
    let time = |text: &Option<String>| humantime::parse_rfc3339(text.as_deref()?).ok();
    let (since, checked) = (time(&report.since)?, time(&report.checked_at)?);
    let stood = checked.duration_since(since).unwrap_or(Duration::ZERO);
    Some(sockets::readable(Some(stood.as_secs_f64())))
}
