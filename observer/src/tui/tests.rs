//! Rendering: a state and a size make exactly this screen.

use std::time::{Duration, Instant};

use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    style::Color,
};
use serde_json::json;

use super::{
    palette::Palette,
    poll::{Row, Snapshot},
    state::{Next, State, View},
    trend::Trend,
    view,
};
use crate::api::{HistoryReport, LagReport, LikelyReport, SocketList, TargetReport};

/// A report as the API would say it.
fn report(name: &str, verdict: &str, claim: i64, low: i64) -> TargetReport {
    let drift = claim - low;
    let is_wrong = drift != 0;
    let suspect = |number: u16| {
        json!({
            "kind": if number.is_multiple_of(2) { "phantom" } else { "held" },
            "peer": format!("127.0.0.1:{number}"), "class": null, "state": null,
            "age_seconds": f64::from(number), "silence_seconds": null,
        })
    };
    let list: Vec<_> = (1..=6).map(suspect).collect();
    serde_json::from_value(json!({
        "name": name,
        "sentence": format!("{name}: the gauge says {claim}, the kernel counts {low}."),
        "verdict": verdict, "reason": null, "failure": null,
        "claim": claim, "low": low, "high": low,
        "drift": drift, "drift_low": drift, "drift_high": drift,
        "since": is_wrong.then_some("2026-01-02T03:00:00.000Z"),
        "shape": null, "cause": null,
        "checked_at": "2026-01-02T03:04:00.000Z",
        "counts": "websocket", "backend": "ebpf", "listen": ":3000", "checks": 7,
        "connections": {"websocket": low, "http": 2, "unclassified": 0, "closing": 1},
        "unaccepted": 0, "held": 1, "witness_disagreement": 0,
        "reasoning": null,
        "suspects": is_wrong.then(|| json!({
            "from": "connections", "total": 6, "failure": null, "list": list,
        })),
    }))
    .unwrap()
}

fn row(report: TargetReport) -> Row {
    let check = |at: i32, claim: i64, verdict: &str| {
        json!({
            "at": at.to_string(), "claim": claim, "low": 12, "high": 12,
            "drift_low": 0, "drift_high": 0,
            "verdict": verdict, "reason": null, "rule": "within",
        })
    };
    let checks = [
        check(1, 12, "agree"),
        check(2, 12, "blind"),
        check(3, 14, "over"),
        check(4, 9, "under"),
    ];
    let history = json!({"name": "any", "checks": checks});
    let history: HistoryReport = serde_json::from_value(history).unwrap();
    let mut trend = Trend::default();
    trend.extend(&history.checks);
    trend.note(&report);
    Row { report, trend }
}

/// Four targets, and the sockets of one of them.
fn state(now: Instant) -> State {
    let targets = vec![
        row(report("honest", "agree", 12, 12)),
        row(report("relay", "over", 4612, 4600)),
        row(report("api", "unsettled", 3, 4)),
        row(report("blind-one", "blind", 0, 0)),
    ];
    let socket = json!({
        "peer": "[2001:db8::1]:443", "local": "[::1]:3000", "state": "ESTAB",
        "class": "websocket", "is_tracked": true, "is_accepted": true,
        "age_seconds": 30.0, "upgraded_seconds": null, "silence_seconds": 7300.0,
        "rtt_seconds": null, "bytes_received": 12345, "bytes_acked": 1,
        "recv_queue": 0, "send_queue": 0, "cookie": 1,
    });
    let list = json!({"total": 9, "matching": 9, "sockets": [socket]});
    let list: SocketList = serde_json::from_value(list).unwrap();
    let mut state = State::new("http://127.0.0.1:10090/".to_owned());
    let sockets = Some(("relay".to_owned(), list));
    state.update(Ok(Snapshot { targets, sockets }), now);
    state
}

fn terminal(width: u16, height: u16, state: &State, palette: Palette) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now = state.updated.unwrap_or_else(Instant::now) + Duration::from_secs(2);
    terminal
        .draw(|frame| view::draw(frame, state, palette, now))
        .unwrap();
    terminal
}

/// The screen, without what is blank at the end of its lines.
fn screen(width: u16, height: u16, state: &State) -> Vec<String> {
    let terminal = terminal(width, height, state, Palette::of("", ""));
    let cells = &terminal.backend().buffer().content;
    let lines = cells.chunks(usize::from(width));
    let text = |line: &[ratatui::buffer::Cell]| {
        let text: String = line.iter().map(|cell| cell.symbol()).collect();
        text.trim_end().to_owned()
    };
    lines.map(text).collect()
}

fn press(state: &mut State, codes: &[KeyCode]) {
    for code in codes {
        assert_eq!(
            state.press(KeyEvent::new(*code, KeyModifiers::NONE)),
            Next::Go
        );
    }
}

#[test]
fn the_targets_at_80_by_24() {
    let state = state(Instant::now());
    let screen = screen(80, 24, &state);
    let expected = [
        "1 over  1 unsettled  1 blind  1 agree  observer top  http://127.0.0.1:10090/  2",
        "  TARGET       VERDICT        CLAIM        KERNEL   DRIFT    FOR LAST CHECKS",
        "> relay        ▲ over          4612          4600     +12   4.0m ▁?▲▼▲",
        "  api          ~ unsettled        3             4      -1   4.0m ▇?▲▼▼",
        "  blind-one    ? blind            0             0       0      - ▇?▲▼?",
        "  honest       = agree           12            12       0      - ▅?▲▼▅",
    ];
    assert_eq!(screen[..6], expected, "{screen:#?}");
    assert!(screen[18].starts_with("────"), "{screen:#?}");
    assert_eq!(
        screen[19],
        "relay: the gauge says 4612, the kernel counts 4600."
    );
    assert!(screen[23].contains("q quit"), "{screen:#?}");
}

#[test]
fn one_target_at_both_sizes() {
    let mut state = state(Instant::now());
    press(&mut state, &[KeyCode::Enter]);
    for (width, height) in [(80, 24), (200, 50)] {
        let screen = screen(width, height, &state).join("\n");
        for text in [
            "relay  ▲ over  counts websocket  listens on :3000  by ebpf  7 checks",
            "claim 4612   kernel 4600   drift +12   since 2026-01-02T03:00:00.000Z (4.0m)",
            "websocket 4600   http 2   unclassified 0   closing 1   unaccepted 0   held 1",
            "Last checks",
            "Suspects (6)",
        ] {
            assert!(screen.contains(text), "{width}: no {text:?} in\n{screen}");
        }
        // A large screen has all panes at once.
        assert_eq!(screen.contains("127.0.0.1:2"), width == 200, "{screen}");
    }
    press(&mut state, &[KeyCode::Tab]);
    let small = screen(80, 24, &state).join("\n");
    assert!(small.contains("[Suspects (6)]"), "{small}");
    assert!(small.contains("> held       127.0.0.1:1"), "{small}");
}

#[test]
fn what_is_likely_is_beside_what_is_sure() {
    let mut state = state(Instant::now());
    let mut target = report("likely", "agree", 12, 12);
    target.likely = Some(LikelyReport {
        drift: 5,
        low: 3,
        high: 7,
        checks: 60,
    });
    target.lag = Some(LagReport {
        openings_seconds: 0.0,
        closings_seconds: 0.05,
    });
    target.resolution = Some(9);
    let targets = vec![row(report("honest", "agree", 12, 12)), row(target)];
    let sockets = None;
    state.update(Ok(Snapshot { targets, sockets }), Instant::now());
    // Worse than an agreement, it is selected at first.
    press(&mut state, &[KeyCode::Home, KeyCode::Enter]);
    let screen = screen(200, 50, &state).join("\n");
    let line = "likely drift +5 (+3 to +7), by 60 checks   lag: openings 0s, closings 50ms   \
                would not show: up to 9";
    assert!(screen.contains(line), "{screen}");
}

#[test]
fn suspects_are_sorted_and_filtered() {
    let mut state = state(Instant::now());
    let peers = |state: &State| -> Vec<String> {
        let suspects = state.suspects();
        let ports = suspects.iter().map(|one| one.peer.rsplit_once(':'));
        ports.map(|port| port.unwrap().1.to_owned()).collect()
    };
    press(&mut state, &[KeyCode::Enter, KeyCode::Tab]);
    assert_eq!(peers(&state), ["1", "3", "5", "2", "4", "6"], "by kind");
    press(&mut state, &[KeyCode::Char('s')]);
    assert_eq!(peers(&state), ["6", "5", "4", "3", "2", "1"], "by age");
    let typed: Vec<_> = "/phan".chars().map(KeyCode::Char).collect();
    press(&mut state, &typed);
    assert_eq!(peers(&state), ["6", "4", "2"]);
    // While a filter is typed, q is a letter.
    press(&mut state, &[KeyCode::Char('q')]);
    assert!(peers(&state).is_empty());
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(peers(&state).len(), 6);
}

#[test]
fn the_sockets_at_both_sizes() {
    let mut state = state(Instant::now());
    press(&mut state, &[KeyCode::Char('o')]);
    assert_eq!(state.want().sockets.unwrap().0, "relay");
    let small = screen(80, 24, &state);
    assert_eq!(small[1], "relay: 9 open, 1 listed, 1 shown, by age");
    let line = "> [2001:db8::1]:443";
    assert!(small[3].starts_with(line), "{small:#?}");
    assert!(
        small[3].ends_with("websocket    ESTAB         30.0s     2.0h"),
        "{small:#?}"
    );
    let large = screen(200, 50, &state);
    assert!(
        large[3].contains("yes") && large[3].ends_with('1'),
        "{large:#?}"
    );
    press(&mut state, &[KeyCode::Esc, KeyCode::Esc]);
    assert_eq!((state.view, state.want().sockets), (View::Targets, None));
}

#[test]
fn a_frozen_screen_keeps_what_it_shows() {
    let now = Instant::now();
    let mut state = state(now);
    press(&mut state, &[KeyCode::Char('p')]);
    state.update(Ok(Snapshot::default()), now);
    assert_eq!(state.snapshot.targets.len(), 4);
    assert!(screen(80, 24, &state)[1].contains("FROZEN"));
    press(&mut state, &[KeyCode::Char(' ')]);
    assert!(state.snapshot.targets.is_empty());
}

#[test]
fn what_is_old_is_said_to_be() {
    let now = Instant::now();
    let mut state = state(now);
    state.update(Err("no answer".to_owned()), now - Duration::from_secs(5));
    state.update(Err("refused".to_owned()), now);
    let screen = screen(80, 24, &state);
    assert!(screen[1].contains("DISCONNECTED 7 s"), "{screen:#?}");
    assert!(screen[1].contains("refused"), "{screen:#?}");
    assert!(screen[3].contains("relay"), "{screen:#?}");
    state.update(Ok(Snapshot::default()), now);
    assert!(state.failure.is_none());
}

#[test]
fn every_view_fits_every_size() {
    let mut states = vec![State::new("s".repeat(300))];
    for codes in [
        &[][..],
        &[KeyCode::Enter],
        &[KeyCode::Enter, KeyCode::Tab],
        &[KeyCode::Char('o')],
        &[KeyCode::Char('?')],
        &[KeyCode::Char('/'), KeyCode::Char('x')],
    ] {
        let mut state = state(Instant::now());
        press(&mut state, codes);
        states.push(state);
    }
    for state in &states {
        for width in (0..20).chain((20..220).step_by(23)) {
            for height in (0..12).step_by(2).chain([24, 31, 50]) {
                terminal(width, height, state, Palette::of("", ""));
            }
        }
    }
}

#[test]
fn a_small_screen_says_what_matters_most() {
    let state = state(Instant::now());
    let screen = screen(30, 6, &state);
    assert!(screen[0].starts_with("1 over"), "{screen:#?}");
    assert!(
        screen[2].contains("▲ over") && screen[2].contains("relay"),
        "{screen:#?}"
    );
}

#[test]
fn no_control_character_reaches_the_terminal() {
    let hostile = "a\u{1b}[31mb\u{7}c\u{9b}2Jd\u{202e}e\r\nf\u{200b}g\u{0}";
    let mut bad = report(hostile, hostile, 1, 0);
    bad.sentence = hostile.to_owned();
    bad.failure = Some(hostile.to_owned());
    bad.listen = hostile.to_owned();
    let mut state = State::new(hostile.to_owned());
    let targets = vec![row(bad)];
    let sockets = None;
    state.update(Ok(Snapshot { targets, sockets }), Instant::now());
    state.update(Err(hostile.to_owned()), Instant::now());
    for codes in [&[][..], &[KeyCode::Enter], &[KeyCode::Tab]] {
        press(&mut state, codes);
        let terminal = terminal(80, 24, &state, Palette::of("", ""));
        for cell in &terminal.backend().buffer().content {
            let symbol = cell.symbol();
            let is_safe =
                |char: char| !char.is_control() && !"\u{200b}\u{202e}\u{feff}".contains(char);
            assert!(symbol.chars().all(is_safe), "{symbol:?}");
        }
    }
}

#[test]
fn colours_are_the_16_and_say_nothing_alone() {
    let state = state(Instant::now());
    let colours = |palette| -> Vec<Color> {
        let terminal = terminal(80, 24, &state, palette);
        let cells = terminal.backend().buffer().content.iter();
        cells.flat_map(|cell| [cell.fg, cell.bg]).collect()
    };
    let coloured = colours(Palette::of("", "xterm"));
    assert!(coloured.contains(&Color::Red));
    let basic = [Color::Reset, Color::Red, Color::Green, Color::Magenta];
    assert!(coloured.iter().all(|colour| basic.contains(colour)));
    let plain = colours(Palette::of("1", "xterm"));
    assert!(plain.iter().all(|colour| *colour == Color::Reset));
}
