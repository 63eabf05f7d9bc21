//! What the observer says, held against what was really done to the kernel's sockets.

mod bad_input;
mod classes;
mod cleanup;
mod exactness;
mod privileges;

use tests::honest::Honest;
use tests::observer::Watched;

/// The relay's two gauges, watched on one port: its WebSockets and its connections.
fn both_gauges(relay: &Honest) -> [Watched; 2] {
    let target = |name| Watched::new(name, &relay.listen(), &relay.gauge_url());
    [
        target("websockets"),
        target("connections")
            .with("gauge", "http_open_connections{port=\"public\"}")
            .with("counts", "established"),
    ]
}
