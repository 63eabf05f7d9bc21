//! One target: the sentence, the figures, the classes, and in panes the chart, the suspects and the
//! reasoning: side by side where there is room, else one at a time.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::{Line, Span},
    widgets::{Block, Borders, Cell, Paragraph},
};

use super::{chart, prose, table, targets};
use crate::{
    api::TargetReport,
    sockets,
    tui::{
        palette::{Palette, symbol},
        poll::Row,
        state::{Pane, State},
    },
};

/// From here on all panes are shown.
const WIDE: u16 = 120;
const HIGH: u16 = 30;
/// Lines of the sentence at most.
const SENTENCE: u16 = 4;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let Some(row) = state.selected() else {
        frame.render_widget("This target is no longer there; esc goes back.", area);
        return;
    };
    let report = &row.report;
    let figures = figures(report);
    let has_all = area.width >= WIDE && area.height >= HIGH;
    let [name, said, numbers, panes] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(sentence_height(&report.sentence, area.width)),
        Constraint::Length(figures.len() as u16),
        Constraint::Min(0),
    ])
    .areas(area);
    frame.render_widget(heading(report, palette), name);
    frame.render_widget(prose(&report.sentence), said);
    frame.render_widget(Paragraph::new(figures), numbers);
    if has_all {
        let [above, below] =
            Layout::vertical([Constraint::Percentage(45), Constraint::Min(0)]).areas(panes);
        let [left, right] = Layout::horizontal([Constraint::Percentage(50); 2]).areas(below);
        pane(frame, above, "Last checks", |frame, area| {
            chart::draw(frame, area, &row.trend);
        });
        pane(frame, left, &suspects_title(report), |frame, area| {
            suspects(frame, area, state, report, palette);
        });
        pane(frame, right, "Reasoning", |frame, area| {
            reasoning(frame, area, row);
        });
        return;
    }
    let tab = |pane: Pane, name: &str| {
        if pane == state.pane {
            format!("[{name}] ")
        } else {
            format!(" {name}  ")
        }
    };
    let title = tab(Pane::Chart, "Last checks")
        + &tab(Pane::Suspects, &suspects_title(report))
        + &tab(Pane::Reasoning, "Reasoning");
    pane(frame, panes, title.trim_end(), |frame, area| {
        match state.pane {
            Pane::Chart => chart::draw(frame, area, &row.trend),
            Pane::Suspects => suspects(frame, area, state, report, palette),
            Pane::Reasoning => reasoning(frame, area, row),
        }
    });
}

/// A pane below its title.
fn pane(frame: &mut Frame<'_>, area: Rect, title: &str, draw: impl FnOnce(&mut Frame<'_>, Rect)) {
    let block = Block::new().borders(Borders::TOP).title(title.to_owned());
    let inner = block.inner(area);
    frame.render_widget(block, area);
    draw(frame, inner);
}

fn sentence_height(sentence: &str, width: u16) -> u16 {
    // Breaking at words may need a line more than the characters do.
    let lines = sentence.chars().count() / usize::from(width.max(1)) + 1;
    u16::try_from(lines + 1).map_or(SENTENCE, |lines| lines.min(SENTENCE))
}

fn heading<'a>(report: &TargetReport, palette: Palette) -> Line<'a> {
    let verdict = &report.verdict;
    Line::from(vec![
        Span::styled(format!("{}  ", report.name), palette.heading()),
        Span::styled(
            format!("{} {verdict}", symbol(verdict)),
            palette.verdict(verdict),
        ),
        Span::raw(format!(
            "  counts {}  listens on {}  by {}  {} checks",
            report.counts, report.listen, report.backend, report.checks
        )),
    ])
}

fn figures(report: &TargetReport) -> Vec<Line<'static>> {
    let number = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let claim = report
        .claim
        .map_or_else(|| "-".to_owned(), |n| n.to_string());
    let band = targets::band(report).unwrap_or_else(|| "-".to_owned());
    let mut compared = format!("claim {claim}   kernel {band}");
    if let Some((low, high)) = report.drift_low.zip(report.drift_high) {
        compared += &if low == high {
            format!("   drift {low:+}")
        } else {
            format!("   drift {low:+} to {high:+}")
        };
    }
    if let (Some(since), Some(stood)) = (&report.since, targets::duration(report)) {
        compared += &format!("   since {since} ({stood})");
    }
    let mut classes = match report.connections {
        None => "classes unknown".to_owned(),
        Some(connections) => format!(
            "websocket {}   http {}   unclassified {}   closing {}",
            number(connections.websocket),
            number(connections.http),
            connections.unclassified,
            connections.closing
        ),
    };
    classes += &format!(
        "   unaccepted {}   held {}",
        number(report.unaccepted),
        number(report.held)
    );
    let mut lines = vec![Line::from(compared), Line::from(classes)];
    lines.extend(likely(report).map(Line::from));
    if let Some(failure) = &report.failure {
        lines.push(Line::from(format!("last failure: {failure}")));
    }
    lines
}

/// What is likely beside what is sure, and what would not show, where either is known.
fn likely(report: &TargetReport) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(likely) = report.likely {
        parts.push(format!("likely drift {likely}"));
    }
    if let Some(lag) = report.lag {
        parts.push(format!("lag: {lag}"));
    }
    if let Some(resolution) = report.resolution.filter(|resolution| *resolution > 0) {
        parts.push(format!("would not show: up to {resolution}"));
    }
    (!parts.is_empty()).then(|| parts.join("   "))
}

fn suspects_title(report: &TargetReport) -> String {
    match &report.suspects {
        None => "Suspects".to_owned(),
        Some(suspects) => format!("Suspects ({})", suspects.total),
    }
}

fn suspects(
    frame: &mut Frame<'_>,
    area: Rect,
    state: &State,
    report: &TargetReport,
    palette: Palette,
) {
    let Some(suspects) = &report.suspects else {
        frame.render_widget(prose("No socket is suspected."), area);
        return;
    };
    let whence = match (&suspects.failure, &*suspects.from) {
        (Some(failure), _) => format!("They cannot be named: {failure}"),
        (None, "connections") => {
            "By comparing the service's own list with the kernel's.".to_owned()
        }
        (None, _) => "What looks odd in the kernel; the service lists no connections.".to_owned(),
    };
    let [said, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Line::from(whence), said);
    let shown = state.suspects();
    let keys: Vec<_> = shown.iter().map(|suspect| suspect.peer.as_str()).collect();
    let columns = [
        ("KIND", Constraint::Length(10)),
        ("PEER", Constraint::Min(15)),
        ("CLASS", Constraint::Length(12)),
        ("STATE", Constraint::Length(10)),
        ("     AGE", Constraint::Length(8)),
        ("  SILENT", Constraint::Length(8)),
    ];
    let time = |seconds| super::number(Some(sockets::readable(seconds)));
    let rows = shown.iter().map(|suspect| {
        [
            Cell::new(&*suspect.kind),
            Cell::new(suspect.peer.as_str()),
            Cell::new(suspect.class.as_deref().unwrap_or("-")),
            Cell::new(suspect.state.as_deref().unwrap_or("-")),
            time(suspect.age_seconds),
            time(suspect.silence_seconds),
        ]
    });
    let selected = state.suspects.position(&keys);
    table(frame, list, palette, columns, rows.collect(), selected);
}

fn reasoning(frame: &mut Frame<'_>, area: Rect, row: &Row) {
    let text = match &row.report.reasoning {
        Some(reasoning) => reasoning.to_string(),
        None => "Nothing was checked yet.".to_owned(),
    };
    // The lines have columns of their own, which trimming would break.
    let wrap = ratatui::widgets::Wrap { trim: false };
    frame.render_widget(Paragraph::new(text).wrap(wrap), area);
}
