//! `observer top`: the targets on a terminal, live.
//!
//! `source` and `poll` get what is shown, `state` is what the keys make of it, `view` draws a state
//! and knows neither clock nor network, `screen` is the terminal. This file is the loop that joins
//! them. It judges nothing: every word about a target is the API's.

mod list;
mod order;
mod palette;
mod poll;
mod screen;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod trend;
mod view;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ratatui::crossterm::event::Event;
use tokio::sync::{mpsc, watch};

use palette::Palette;
use poll::{Update, Want};
use screen::Screen;
use state::{Next, State};

use crate::watch::Tasks;

pub use screen::{NoTerminal, require_terminal};
pub use source::{Source, SourceError};

/// Between two drawings at least, however many keys are pressed.
const FRAME: Duration = Duration::from_millis(200);
/// Between two drawings at most: the age of what is shown is shown.
const BEAT: Duration = Duration::from_secs(1);
/// Updates that wait to be shown.
const UPDATES: usize = 1;

/// Shows `source` until a key or `stop` ends it. `tasks` are what the source lives by.
///
/// # Errors
/// When the terminal fails, or a part of the source has ended. The terminal is as it was before.
pub async fn run(
    source: Source,
    mut tasks: Tasks,
    stop: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let mut state = State::new(source.label());
    let (wants, wanted) = watch::channel(Want::default());
    let (sender, mut updates) = mpsc::channel::<Update>(UPDATES);
    tasks.spawn("asks for what is shown", poll::poll(source, wanted, sender));

    let palette = Palette::of_environment();
    let mut screen = Screen::open().context("take over the terminal")?;
    let mut events = screen::events();
    let mut beat = tokio::time::interval(BEAT);
    let mut drawn: Option<Instant> = None;
    let mut is_due = true;
    let mut stop = std::pin::pin!(stop);
    loop {
        let now = Instant::now();
        let next = drawn.map_or(now, |drawn| drawn + FRAME);
        if is_due && next <= now {
            screen
                .draw(|frame| view::draw(frame, &state, palette, now))
                .context("draw on the terminal")?;
            (drawn, is_due) = (Some(now), false);
        }
        tokio::select! {
            () = &mut stop => return Ok(()),
            event = events.recv() => match event {
                Some(Ok(Event::Key(key))) => {
                    if state.press(key) == Next::Quit {
                        return Ok(());
                    }
                    wants.send_if_modified(|want| {
                        let wanted = state.want();
                        let is_new = *want != wanted;
                        *want = wanted;
                        is_new
                    });
                    is_due = true;
                }
                // Anything else that a terminal reports may have changed its size.
                Some(Ok(_)) => is_due = true,
                Some(Err(error)) => return Err(error).context("read the keys"),
                None => bail!("the terminal can be read no longer"),
            },
            Some(update) = updates.recv() => {
                state.update(update, Instant::now());
                is_due = true;
            }
            _ = beat.tick() => is_due = true,
            () = tokio::time::sleep_until(next.into()), if is_due => {}
            ended = tasks.ended() => return Err(ended.into()),
        }
    }
}
