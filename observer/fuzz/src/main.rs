//! What the observer reads of others, under coverage-guided bytes: expositions, lists of
//! connections, netlink datagrams.
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

fuzz_target!(|input: &[u8]| {
    let Some((reader, bytes)) = input.split_first() else {
        return;
    };
    match reader % 4 {
        0 => exposition(bytes, Format::Text),
        1 => exposition(bytes, Format::OpenMetrics),
        2 => {
            if let Ok(list) = read_list(bytes, SystemTime::UNIX_EPOCH) {
                assert!(list.len() <= MAX_LISTED.min(bytes.len()));
            }
        }
        _ => {
            let mut entries = 0;
            let _ = parse_datagram(bytes, |_| entries += 1);
            assert!(entries <= bytes.len());
        }
    }
});

fn exposition(bytes: &[u8], format: Format) {
    let selector = Selector::parse("g{a=~\"x.*\"}").expect("a selector");
    if let Ok(claim) = read_claim(bytes, format, &selector) {
        assert!(claim.value.abs() <= MAX_VALUE, "{claim:?}");
        assert!(claim.series >= 1);
    }
}
