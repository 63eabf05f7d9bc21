//! The gallery: one server for each bug that gauges have in the field, and some that are no liars but
//! whose gauge is not what it seems.
//!
//! `liar NAME --public-address=… --management-address=…` serves as the module of that name.

use std::env;

use anyhow::{Result, bail};

mod carried_over_restart;
mod counts_after_handshake;
mod counts_at_accept;
mod counts_at_close;
mod counts_both_directions;
mod counts_busy_only;
mod counts_its_readers;
mod counts_keep_alives;
mod counts_names;
mod dead_worker_stays;
mod decrement_at_last_write;
mod decrement_on_rejection;
mod double_decrement_on_error;
mod double_increment_on_upgrade;
mod half_open;
mod hijacked_is_terminal;
mod honest_endings;
mod increment_before_limit;
mod label_changed;
mod no_decrement_after_upgrade;
mod no_decrement_on_abort;
mod no_decrement_on_early_return;
mod no_decrement_on_panic;
mod one_family_only;
mod one_worker_lost;
mod reset_while_open;
mod stale_cache;
mod to_order;

/// Serves as the liar that is named, or says which there are.
macro_rules! serve {
    ($name:expr; $($liar:ident)*) => {
        match $name {
            $(stringify!($liar) => $liar::run().await,)*
            other => bail!(
                "no liar is called {other:?}; there are {}",
                [$(stringify!($liar)),*].join(", ")
            ),
        }
    };
}

#[tokio::main]
async fn main() -> Result<()> {
    let name = env::args().nth(1).unwrap_or_default();
    serve! {
        name.as_str();
        carried_over_restart
        counts_after_handshake
        counts_at_accept
        counts_at_close
        counts_both_directions
        counts_busy_only
        counts_its_readers
        counts_keep_alives
        counts_names
        dead_worker_stays
        decrement_at_last_write
        decrement_on_rejection
        double_decrement_on_error
        double_increment_on_upgrade
        half_open
        honest_endings
        hijacked_is_terminal
        increment_before_limit
        label_changed
        no_decrement_after_upgrade
        no_decrement_on_abort
        no_decrement_on_early_return
        no_decrement_on_panic
        one_family_only
        one_worker_lost
        reset_while_open
        stale_cache
        to_order
    }
}
