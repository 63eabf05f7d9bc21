//! Drawing: a state, a size and a moment make a screen, and nothing else does.

mod chart;
mod detail;
mod help;
mod sockets;
mod targets;

use std::time::Instant;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, TableState, Wrap},
};

use super::{
    palette::Palette,
    state::{State, View},
};
use crate::printable::is_control;

/// Below this, only what matters most is drawn.
const SMALL: u16 = 12;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, palette: Palette, now: Instant) {
    let area = frame.area();
    let [header, notice, body, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::from(has_notice(state))),
        Constraint::Min(0),
        Constraint::Length(u16::from(area.height >= SMALL)),
    ])
    .areas(area);
    frame.render_widget(title(state, palette, header.width, now), header);
    frame.render_widget(note(state, palette, now), notice);
    if state.has_help {
        help::draw(frame, body, palette);
    } else {
        match state.view {
            View::Targets => targets::draw(frame, body, state, palette),
            View::Detail => detail::draw(frame, body, state, palette),
            View::Sockets => sockets::draw(frame, body, state, palette),
        }
    }
    frame.render_widget(help::hints(state.view), keys);
    scrub(frame.buffer_mut());
}

/// Nothing that a service or a file has said moves the cursor, changes a colour or turns the text
/// around: what is not a printable character does not leave this process.
fn scrub(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().contains(is_unprintable) {
            cell.set_symbol("\u{fffd}");
        }
    }
}

/// In a cell nothing may be without width, nor end a line, besides what no terminal is to obey.
fn is_unprintable(char: char) -> bool {
    is_control(char)
        || matches!(char, '\u{200b}'..='\u{200d}' | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2065}' | '\u{feff}')
}

fn title<'a>(state: &'a State, palette: Palette, width: u16, now: Instant) -> Line<'a> {
    let age = match state.updated {
        None => "waiting for the first answer".to_owned(),
        Some(at) => format!("{} s ago", now.saturating_duration_since(at).as_secs()),
    };
    let left = format!("observer top  {}  {age}", state.source);
    let mut spans = vec![Span::styled(left, palette.heading())];
    let mut counts = Vec::new();
    for verdict in ["over", "under", "unsettled", "blind", "agree"] {
        let rows = state.snapshot.targets.iter();
        let count = rows.filter(|row| row.report.verdict == verdict).count();
        if count > 0 {
            let text = format!("  {count} {verdict}");
            counts.push(Span::styled(text, palette.verdict(verdict)));
        }
    }
    let taken: usize = spans.iter().chain(&counts).map(Span::width).sum();
    if taken <= usize::from(width) {
        spans.push(Span::raw(" ".repeat(usize::from(width) - taken)));
        spans.append(&mut counts);
    } else {
        // What is wrong matters more than where it was read.
        counts.append(&mut spans);
        counts[0] = Span::styled(counts[0].content.trim().to_owned(), counts[0].style);
        counts.insert(counts.len() - 1, Span::raw("  "));
        spans = counts;
    }
    Line::from(spans)
}

fn has_notice(state: &State) -> bool {
    state.failure.is_some() || state.is_frozen || state.is_typing || !state.filter().is_empty()
}

/// What makes the screen other than it would be.
fn note<'a>(state: &State, palette: Palette, now: Instant) -> Line<'a> {
    let mut spans = Vec::new();
    if let Some((text, since)) = &state.failure {
        let age = now.saturating_duration_since(*since).as_secs();
        let text = format!(" DISCONNECTED {age} s, what is shown is old: {text} ");
        spans.push(Span::styled(text, palette.alarm()));
    }
    if state.is_frozen {
        spans.push(Span::styled(" FROZEN, p goes on ", palette.selected()));
    }
    if state.is_typing || !state.filter().is_empty() {
        let cursor = if state.is_typing { "_" } else { "" };
        spans.push(Span::raw(format!(" filter: {}{cursor}", state.filter())));
    }
    Line::from(spans)
}

/// A table whose selected row has a marker and stays in sight.
fn table<const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    palette: Palette,
    columns: [(&str, Constraint); N],
    rows: Vec<[Cell<'_>; N]>,
    selected: Option<usize>,
) {
    let header = Row::new(columns.map(|(name, _)| name)).style(palette.heading());
    let widths = columns.map(|(_, width)| width);
    let table = Table::new(rows.into_iter().map(Row::new), widths)
        .header(header)
        .highlight_symbol("> ")
        .row_highlight_style(palette.selected());
    frame.render_stateful_widget(table, area, &mut TableState::new().with_selected(selected));
}

/// Text that breaks where it must.
fn prose(text: &str) -> Paragraph<'_> {
    Paragraph::new(text).wrap(Wrap { trim: true })
}

/// A number at the right of its column, or `-`.
fn number(number: Option<impl ToString>) -> Cell<'static> {
    let text = number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    Cell::new(Line::from(text).right_aligned())
}
