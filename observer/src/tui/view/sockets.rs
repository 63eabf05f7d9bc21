//! The open sockets of one target, as `observer sockets` lists them.

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::Cell,
};

use super::{number, table};
use crate::{
    sockets::readable,
    tui::{palette::Palette, state::State},
};

/// From here on every column is shown.
const WIDE: u16 = 108;

/// Draws the view.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State, palette: Palette) {
    let [summary, list] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let shown = state.socket_list();
    let name = state.selected().map_or("", |row| row.report.name.as_str());
    let text = match &state.snapshot.sockets {
        Some((of, list)) if of == name => format!(
            "{name}: {} open, {} listed, {} shown, by {}",
            list.total,
            list.sockets.len(),
            shown.len(),
            state.order()
        ),
        _ => format!("{name}: asking for its sockets"),
    };
    frame.render_widget(Line::from(text), summary);

    let keys: Vec<_> = shown.iter().map(|socket| socket.peer.as_str()).collect();
    let selected = state.sockets.position(&keys);
    let peer = ("PEER", Constraint::Min(21));
    let class = ("CLASS", Constraint::Length(12));
    let tcp = ("STATE", Constraint::Length(10));
    let age = ("     AGE", Constraint::Length(8));
    let silent = ("  SILENT", Constraint::Length(8));
    let time = |seconds| number(Some(readable(seconds)));
    if area.width >= WIDE {
        let columns = [
            peer,
            class,
            tcp,
            age,
            silent,
            ("ACCEPTED", Constraint::Length(8)),
            ("    RECEIVED", Constraint::Length(12)),
            ("       ACKED", Constraint::Length(12)),
        ];
        let rows = shown.iter().map(|socket| {
            [
                Cell::new(socket.peer.as_str()),
                Cell::new(socket.class.as_str()),
                Cell::new(socket.state.as_str()),
                time(socket.age_seconds),
                time(socket.silence_seconds),
                Cell::new(if socket.is_accepted { "yes" } else { "no" }),
                number(socket.bytes_received),
                number(socket.bytes_acked),
            ]
        });
        table(frame, list, palette, columns, rows.collect(), selected);
    } else {
        let rows = shown.iter().map(|socket| {
            [
                Cell::new(socket.peer.as_str()),
                Cell::new(socket.class.as_str()),
                Cell::new(socket.state.as_str()),
                time(socket.age_seconds),
                time(socket.silence_seconds),
            ]
        });
        let columns = [peer, class, tcp, age, silent];
        table(frame, list, palette, columns, rows.collect(), selected);
    }
}
