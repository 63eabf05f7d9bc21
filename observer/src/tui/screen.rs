//! The terminal: taken over, read, and given back as it was, however this ends.

use std::io::{self, IsTerminal as _};
use std::thread;

use ratatui::crossterm::event::{self, Event};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

/// Keys that wait to be handled.
const EVENTS: usize = 64;

/// There is no terminal to draw on.
#[derive(Debug, thiserror::Error)]
#[error(
    "observer top needs a terminal, and {stream} is none\n\
     hint: observer check gives a verdict without one, for programs with --output json"
)]
pub struct NoTerminal {
    stream: &'static str,
}

/// The terminal, until it is dropped.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

/// Fails where keys cannot be read or nothing can be drawn.
///
/// # Errors
/// Standard input or output is not a terminal.
pub fn require_terminal() -> Result<(), NoTerminal> {
    if !io::stdin().is_terminal() {
        return Err(NoTerminal {
            stream: "standard input",
        });
    }
    if !io::stdout().is_terminal() {
        return Err(NoTerminal {
            stream: "standard output",
        });
    }
    Ok(())
}

impl Screen {
    /// Takes the terminal over. A panic, of any thread, gives it back before it says anything.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(super) fn open() -> io::Result<Self> {
        match ratatui::try_init() {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                ratatui::restore();
                Err(error)
            }
        }
    }

    /// Draws one frame.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The cursor was hidden by drawing.
        let _ = self.terminal.show_cursor();
        ratatui::restore();
    }
}

/// What the terminal reports. Reading blocks, and so it has a thread of its own, which ends with the
/// process.
pub(super) fn events() -> mpsc::Receiver<io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(EVENTS);
    thread::spawn(move || {
        loop {
            let event = event::read();
            let is_over = event.is_err();
            if sender.blocking_send(event).is_err() || is_over {
                return;
            }
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    /// Set where this test runs once more, on a terminal.
    const ON_A_TERMINAL: &str = "PLUMBLINE_PANIC_ON_A_TERMINAL";

    /// What the harness calls it.
    const NAME: &str =
        "tui::screen::tests::a_panic_of_any_thread_gives_the_terminal_back_and_is_then_told";

    #[test]
    fn a_panic_of_any_thread_gives_the_terminal_back_and_is_then_told() {
        if env::var_os(ON_A_TERMINAL).is_some() {
            let _screen = Screen::open().unwrap();
            let panicked = thread::spawn(|| panic!("on purpose")).join();
            assert!(panicked.is_err());
            return;
        }
        let test = env::current_exe().unwrap();
        let again = format!("{} --exact {NAME} --nocapture", test.display());
        // Of util-linux: it runs a command on a terminal of its own.
        let output = Command::new("script")
            .args(["-qec", &again, "/dev/null"])
            .env(ON_A_TERMINAL, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let place = |text: &str| {
            said.find(text)
                .unwrap_or_else(|| panic!("{text:?}: {said:?}"))
        };
        let [taken, given_back] = ["\u{1b}[?1049h", "\u{1b}[?1049l"].map(place);
        assert!(
            taken < given_back && given_back < place("on purpose"),
            "{said:?}"
        );
    }
}
