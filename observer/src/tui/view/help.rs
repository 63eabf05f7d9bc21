//! The keys: all of them on a page, and the most used ones in the last line.

use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Block, Borders, Paragraph},
};

use crate::tui::{palette::Palette, state::View};

const KEYS: &str = "\
 up, down, k, j    select           PgUp, PgDn, Home, End as well
 enter             look closer: target, then its sockets
 esc               back; in the list of targets, no filter
 o                 the sockets of the selected target
 tab               last checks, suspects, reasoning
 /                 filter the list; enter keeps it, esc drops it
 s                 sort the list by something else
 p, space          freeze the screen, and go on
 ?                 this page; any key leaves it
 q, ctrl-c         quit

 =  agree      the claim is what an honest service could have said
 ▲  over       it is surely too much
 ▼  under      it is surely too little
 ~  unsettled  a drift that has not stood for long enough
 ?  blind      nothing can be said; the sentence says why

 In the chart ░ is what the kernel allows, ● the claim in it.";

/// Draws the page.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, palette: Palette) {
    let block = Block::new()
        .borders(Borders::TOP)
        .title("Help")
        .title_style(palette.heading());
    frame.render_widget(Paragraph::new(KEYS).block(block), area);
}

/// The last line.
pub(super) fn hints(view: View) -> Line<'static> {
    Line::from(match view {
        View::Targets => "enter detail  o sockets  / filter  s sort  p freeze  ? help  q quit",
        View::Detail => {
            "esc back  enter sockets  tab pane  / filter  s sort  p freeze  ? help  q quit"
        }
        View::Sockets => "esc back  / filter  s sort  p freeze  ? help  q quit",
    })
}
