//! What the observer reads of others, under coverage-guided bytes: expositions, JSON documents and
//! texts, answers of Prometheus, each with what is looked for in it; lists of connections and of targets,
//! netlink datagrams, and what a service sends, which the programs read in the kernel.
//!
//! The first byte says which reader gets the rest. What is looked for is the first line of the rest.
//! A reader may refuse; it may not panic, and what it takes has to be within its limits.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use observer::{
    claim::{
        Claim, ClaimError, Expression, Format, MAX_LISTED, MAX_SERIES, MAX_VALUE, Selection,
        read_list,
    },
    config::{List, Source},
    sock_diag::parse_datagram,
};
use observer_ebpf::{
    Alone, Life, Slice, Socket, TCP_CLOSE, TCP_ESTABLISHED, Tally, observe, steps,
};

fuzz_target!(|input: &[u8]| {
    let Some((reader, bytes)) = input.split_first() else {
        return;
    };
    match reader % 12 {
        0 => exposition(bytes, Format::Text),
        1 => exposition(bytes, Format::OpenMetrics),
        2 => {
            if let Ok(list) = read_list(bytes, SystemTime::UNIX_EPOCH) {
                assert!(list.len() <= MAX_LISTED.min(bytes.len()));
            }
        }
        3 => {
            let mut entries = 0;
            let number = bytes.get(8..12).and_then(|number| number.try_into().ok());
            let number = number.map_or(0, u32::from_ne_bytes);
            let _ = parse_datagram(bytes, number, |_| entries += 1);
            assert!(entries <= bytes.len());
        }
        4 => sent(bytes),
        5 => selected(bytes, |text| text.parse().map(Selection::Series).ok()),
        6 => selected(bytes, |text| text.parse().map(Selection::Nodes).ok()),
        7 => selected(bytes, |text| text.parse().map(Selection::Match).ok()),
        8 => selected(bytes, |text| text.parse().map(Selection::Query).ok()),
        9 => targets("list.json", Source::File, bytes),
        10 => targets("list.yml", Source::File, bytes),
        _ => targets("http://p/api/v1/targets", Source::Prometheus, bytes),
    }
});

/// A service sends the bytes, in segments of sizes that the bytes decide; the socket is counted once.
fn sent(bytes: &[u8]) {
    let Some((&first, mut rest)) = bytes.split_first() else {
        return;
    };
    let mut tally = Tally::default();
    let mut socket = match first % 2 {
        0 => Socket::opened(0, 1),
        _ => Socket::found(0, TCP_ESTABLISHED),
    };
    Life::<Alone>::of(&mut socket, &mut tally).opened();
    let mut seq = u32::MAX - 50;
    let mut is_first = first & 2 == 0;
    while let Some((&size, behind)) = rest.split_first() {
        let (segment, behind) = behind.split_at(usize::from(size / 2).min(behind.len()));
        rest = behind;
        let is_seen = size % 2 == 0;
        if is_seen && !segment.is_empty() {
            let mut life = Life::<Alone>::of(&mut socket, &mut tally);
            let segment = Slice { seq, bytes: segment, is_first };
            observe(&mut life, &segment, steps);
        }
        is_first = false;
        seq = seq.wrapping_add(segment.len() as u32);
        let classes = [
            tally.unknown_entered - tally.unknown_left,
            tally.http_entered - tally.http_left,
            tally.upgraded - tally.websocket_left,
        ];
        assert!(classes.iter().sum::<u64>() <= 1, "{tally:?}");
    }
    let mut life = Life::<Alone>::of(&mut socket, &mut tally);
    life.left(TCP_CLOSE);
    life.closed();
    assert_eq!(tally.unknown_entered, tally.unknown_left);
    assert_eq!(tally.http_entered, tally.http_left);
    assert_eq!(tally.upgraded, tally.websocket_closed);
    assert_eq!(tally.upgraded, tally.websocket_ended);
    assert_eq!(tally.lost_entered, tally.lost_left);
}

/// A list of targets, whose addresses are all of this host.
fn targets(name: &str, source: Source, bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let list = List::of_text(name, source, text);
    match list.and_then(|list| list.targets(&|_| true)) {
        Ok(targets) => assert!(targets.len() <= bytes.len()),
        Err(error) => assert!(error.to_string().len() < 65_536, "{error}"),
    }
}

fn exposition(bytes: &[u8], format: Format) {
    let expression: Expression = "g{a=~\"x.*\"}".parse().expect("an expression");
    check(Selection::Series(expression).read(bytes, format));
}

/// The first line says what is looked for in the rest.
fn selected(bytes: &[u8], parse: impl Fn(&str) -> Option<Selection>) {
    let mut parts = bytes.splitn(2, |&byte| byte == b'\n');
    let text = parts.next().and_then(|text| std::str::from_utf8(text).ok());
    if let (Some(selection), Some(page)) = (text.and_then(&parse), parts.next()) {
        // What it is shown as is what it is read from.
        assert_eq!(parse(&selection.to_string()).as_ref(), Some(&selection));
        check(selection.read(page, Format::Text));
        check(selection.read(page, Format::OpenMetrics));
    }
}

fn check(read: Result<Claim, ClaimError>) {
    match read {
        Ok(claim) => {
            assert!(claim.value.abs() <= MAX_VALUE, "{claim:?}");
            assert!((1..=MAX_SERIES).contains(&claim.series), "{claim:?}");
        }
        Err(error) => assert!(error.to_string().len() < 16_384, "{error}"),
    }
}
