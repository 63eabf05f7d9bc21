//! What the observer reads of others, under coverage-guided bytes: expositions, lists of
//! connections, netlink datagrams, and what a service sends, which the programs read in the kernel.
//!
//! The first byte says which reader gets the rest. A reader may refuse; it may not panic, and what
//! it takes has to be within its limits.

#![no_main]

use std::time::SystemTime;

use libfuzzer_sys::fuzz_target;
use observer::{
    claim::{Format, MAX_LISTED, MAX_VALUE, Selector, read_claim, read_list},
    sock_diag::parse_datagram,
};
use observer_ebpf::{
    Alone, Life, Slice, Socket, TCP_CLOSE, TCP_ESTABLISHED, Tally, observe, steps,
};

fuzz_target!(|input: &[u8]| {
    let Some((reader, bytes)) = input.split_first() else {
        return;
    };
    match reader % 5 {
        0 => exposition(bytes, Format::Text),
        1 => exposition(bytes, Format::OpenMetrics),
        2 => {
            if let Ok(list) = read_list(bytes, SystemTime::UNIX_EPOCH) {
                assert!(list.len() <= MAX_LISTED.min(bytes.len()));
            }
        }
        3 => {
            let mut entries = 0;
            let _ = parse_datagram(bytes, |_| entries += 1);
            assert!(entries <= bytes.len());
        }
        _ => sent(bytes),
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

fn exposition(bytes: &[u8], format: Format) {
    let selector = Selector::parse("g{a=~\"x.*\"}").expect("a selector");
    if let Ok(claim) = read_claim(bytes, format, &selector) {
        assert!(claim.value.abs() <= MAX_VALUE, "{claim:?}");
        assert!(claim.series >= 1);
    }
}
