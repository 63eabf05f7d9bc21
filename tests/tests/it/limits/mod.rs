//! What the observer costs at most, whatever its targets and its clients do: threads, memory, time.
//!
//! `sock_diag` alone counts here: what is bounded has nothing to do with programs.

mod answers;
mod lists;
mod spread;
mod threads;

use std::fs;

use tests::observer::Observer;

/// A field of `/proc/PID/status`: a number, of kB where it is a size.
fn status(observer: &Observer, field: &str) -> u64 {
    let file = format!("/proc/{}/status", observer.process.id());
    let text = fs::read_to_string(file).expect("it runs");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let value = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    value.expect(field).parse().expect("a number")
}
