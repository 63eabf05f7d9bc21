//! What the keys and the updates make of the screen: which view, which list, what is frozen.
//!
//! Pure: it is given keys, updates and `now`.

use std::cmp::Reverse;
use std::time::Instant;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::list::{List, Order as _};
use super::order::{SuspectOrder, TargetOrder};
use super::poll::{Row, Snapshot, Update, Want};
use crate::api::{SocketReport, SuspectReport};
use crate::sockets::{Query, Sort};

/// Most sockets that are listed.
const SOCKETS: usize = 500;
/// Entries that a page key moves by.
const PAGE: isize = 10;

/// What is on the screen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum View {
    /// All targets.
    #[default]
    Targets,
    /// The selected target.
    Detail,
    /// The sockets of the selected target.
    Sockets,
}

/// What a small screen shows of a target, one at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Pane {
    /// Claim and band over time.
    #[default]
    Chart,
    /// The sockets that may be behind a drift.
    Suspects,
    /// Why the last check came out as it did.
    Reasoning,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Quit,
}

/// Everything that is drawn.
#[derive(Debug)]
pub(super) struct State {
    /// What the source is called.
    pub(super) source: String,
    /// What is shown.
    pub(super) snapshot: Snapshot,
    /// When that came; nothing has yet, else.
    pub(super) updated: Option<Instant>,
    /// Why the source does not answer, and since when.
    pub(super) failure: Option<(String, Instant)>,
    /// Whether new snapshots wait instead of being shown.
    pub(super) is_frozen: bool,
    pub(super) view: View,
    pub(super) pane: Pane,
    pub(super) has_help: bool,
    /// Whether a filter is being typed.
    pub(super) is_typing: bool,
    pub(super) targets: List<TargetOrder>,
    pub(super) suspects: List<SuspectOrder>,
    pub(super) sockets: List<Sort>,
    held_back: Option<(Snapshot, Instant)>,
}

impl State {
    /// Before the first update.
    pub(super) fn new(source: String) -> Self {
        Self {
            source,
            snapshot: Snapshot::default(),
            updated: None,
            failure: None,
            is_frozen: false,
            view: View::default(),
            pane: Pane::default(),
            has_help: false,
            is_typing: false,
            targets: List::default(),
            suspects: List::default(),
            sockets: List::default(),
            held_back: None,
        }
    }

    /// Shows what has come, unless the screen is frozen.
    pub(super) fn update(&mut self, update: Update, now: Instant) {
        match update {
            Ok(snapshot) => {
                self.failure = None;
                if self.is_frozen {
                    self.held_back = Some((snapshot, now));
                } else {
                    self.show(snapshot, now);
                }
            }
            Err(text) => {
                let since = self.failure.as_ref().map_or(now, |(_, since)| *since);
                self.failure = Some((text, since));
            }
        }
    }

    fn show(&mut self, snapshot: Snapshot, now: Instant) {
        self.snapshot = snapshot;
        self.updated = Some(now);
    }

    /// What is to be asked for.
    pub(super) fn want(&self) -> Want {
        let sockets = match (self.view, self.selected()) {
            (View::Sockets, Some(row)) => {
                let query = Query {
                    sort: Some(self.sockets.order),
                    limit: Some(SOCKETS),
                    ..Query::default()
                };
                Some((row.report.name.clone(), query))
            }
            _ => None,
        };
        Want { sockets }
    }

    /// The targets that the filter lets pass, in order.
    pub(super) fn rows(&self) -> Vec<&Row> {
        let passes = |row: &&Row| {
            let report = &row.report;
            self.targets.lets_pass(&[&report.name, &report.verdict])
        };
        let mut rows: Vec<_> = self.snapshot.targets.iter().filter(passes).collect();
        match self.targets.order {
            TargetOrder::Verdict => rows.sort_by_key(|row| row.report.rank()),
            TargetOrder::Name => rows.sort_by_key(|row| &row.report.name),
            TargetOrder::Drift => {
                rows.sort_by_key(|row| Reverse(row.report.drift.unwrap_or(0).unsigned_abs()));
            }
        }
        rows
    }

    /// The selected target.
    pub(super) fn selected(&self) -> Option<&Row> {
        let rows = self.rows();
        let keys: Vec<_> = rows.iter().map(|row| row.report.name.as_str()).collect();
        Some(rows[self.targets.position(&keys)?])
    }

    /// The suspects of the selected target that the filter lets pass, in order.
    pub(super) fn suspects(&self) -> Vec<&SuspectReport> {
        let Some(suspects) = self.selected().and_then(|row| row.report.suspects.as_ref()) else {
            return Vec::new();
        };
        let passes = |suspect: &&SuspectReport| {
            let class = suspect.class.as_deref().unwrap_or_default();
            let state = suspect.state.as_deref().unwrap_or_default();
            self.suspects
                .lets_pass(&[&suspect.kind, &suspect.peer, class, state])
        };
        let mut list: Vec<_> = suspects.list.iter().filter(passes).collect();
        let longest =
            |seconds: Option<f64>| Reverse(seconds.map_or(u64::MAX, |s| (s * 1e3) as u64));
        match self.suspects.order {
            SuspectOrder::Kind => list.sort_by(|a, b| a.kind.cmp(&b.kind)),
            SuspectOrder::Age => list.sort_by_key(|suspect| longest(suspect.age_seconds)),
            SuspectOrder::Silence => list.sort_by_key(|suspect| longest(suspect.silence_seconds)),
            SuspectOrder::Peer => list.sort_by(|a, b| a.peer.cmp(&b.peer)),
        }
        list
    }

    /// The sockets of the selected target that the filter lets pass, as the source sorted them.
    pub(super) fn socket_list(&self) -> Vec<&SocketReport> {
        let selected = self.selected().map(|row| row.report.name.as_str());
        let Some((name, list)) = &self.snapshot.sockets else {
            return Vec::new();
        };
        if selected != Some(name) {
            return Vec::new();
        }
        let passes = |socket: &&SocketReport| {
            self.sockets
                .lets_pass(&[&socket.peer, &socket.class, &socket.state])
        };
        list.sockets.iter().filter(passes).collect()
    }

    /// Follows a key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Go;
        }
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        if is_control && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.is_typing {
            self.type_in(key.code);
            return Next::Go;
        }
        if self.has_help {
            self.has_help = false;
            return Next::Go;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Char('?') | KeyCode::F(1) => self.has_help = true,
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => self.turn(),
            KeyCode::Char(' ' | 'p') => self.freeze(),
            KeyCode::Char('o') => self.view = View::Sockets,
            KeyCode::Up | KeyCode::Char('k') => self.step(-1),
            KeyCode::Down | KeyCode::Char('j') => self.step(1),
            KeyCode::PageUp => self.step(-PAGE),
            KeyCode::PageDown => self.step(PAGE),
            KeyCode::Home => self.step(isize::MIN),
            KeyCode::End => self.step(isize::MAX),
            KeyCode::Enter => match self.view {
                View::Targets => self.view = View::Detail,
                View::Detail | View::Sockets => self.view = View::Sockets,
            },
            KeyCode::Esc => match self.view {
                View::Targets => self.targets.filter.clear(),
                View::Detail => self.view = View::Targets,
                View::Sockets => self.view = View::Detail,
            },
            KeyCode::Tab if self.view == View::Detail => {
                self.pane = match self.pane {
                    Pane::Chart => Pane::Suspects,
                    Pane::Suspects => Pane::Reasoning,
                    Pane::Reasoning => Pane::Chart,
                };
            }
            _ => {}
        }
        Next::Go
    }

    fn freeze(&mut self) {
        self.is_frozen = !self.is_frozen;
        if let Some((snapshot, at)) = self.held_back.take() {
            self.show(snapshot, at);
        }
    }

    fn type_in(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter_mut().clear();
            }
            KeyCode::Backspace => {
                self.filter_mut().pop();
            }
            KeyCode::Char(typed) => match self.view {
                View::Targets => self.targets.type_in(typed),
                View::Detail => self.suspects.type_in(typed),
                View::Sockets => self.sockets.type_in(typed),
            },
            _ => {}
        }
    }

    fn filter_mut(&mut self) -> &mut String {
        match self.view {
            View::Targets => &mut self.targets.filter,
            View::Detail => &mut self.suspects.filter,
            View::Sockets => &mut self.sockets.filter,
        }
    }

    /// The filter of the list on the screen.
    pub(super) fn filter(&self) -> &str {
        match self.view {
            View::Targets => &self.targets.filter,
            View::Detail => &self.suspects.filter,
            View::Sockets => &self.sockets.filter,
        }
    }

    /// What the list on the screen is sorted by.
    pub(super) fn order(&self) -> &'static str {
        match self.view {
            View::Targets => self.targets.order.name(),
            View::Detail => self.suspects.order.name(),
            View::Sockets => self.sockets.order.name(),
        }
    }

    fn turn(&mut self) {
        match self.view {
            View::Targets => self.targets.turn(),
            View::Detail => self.suspects.turn(),
            View::Sockets => self.sockets.turn(),
        }
    }

    fn step(&mut self, by: isize) {
        let keys: Vec<String> = match self.view {
            View::Targets => {
                let rows = self.rows();
                rows.iter().map(|row| row.report.name.clone()).collect()
            }
            View::Detail => self.suspects().iter().map(|one| one.peer.clone()).collect(),
            View::Sockets => {
                let list = self.socket_list();
                list.iter().map(|socket| socket.peer.clone()).collect()
            }
        };
        let keys: Vec<_> = keys.iter().map(String::as_str).collect();
        match self.view {
            View::Targets => self.targets.step(&keys, by),
            View::Detail => self.suspects.step(&keys, by),
            View::Sockets => self.sockets.step(&keys, by),
        }
    }
}
